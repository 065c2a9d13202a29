//! DynamicCredential: checks that the credential can be had, and keeps one in a Secret if the object has a target.
//!
//! What happens next is decided by [`plan::next`], one step after the other, each durable before the following. The
//! credential belongs to the object (`dcred/<uid>`), not to the operator's token or process.

mod plan;
mod resolve;
mod rollout;
mod secret;

use std::{collections::BTreeMap, time::Duration};

use holdfast_client::Client;
use holdfast_crd_types::{
    DynamicCredential, DynamicCredentialStatus, SecretTarget,
    conditions::{self, Update},
    names,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{ResourceExt, runtime::events::EventType};
use serde_json::{Map, Value, json};

use self::{
    plan::{Bound, Step, Wanted, Why},
    secret::Found,
};
use crate::{
    context::Context,
    failure::{Failure, Remedy, While},
    ledger::Entry,
    object::{Managed, Settled, Work, publish},
    server::Server,
    terms::short,
};

/// Between two looks at a rollout that goes on.
const ROLLOUT_PAUSE: Duration = Duration::from_secs(5);
/// Most steps of one reconciliation; the rest follows at once in the next.
const MOST_STEPS: usize = 12;

impl Managed for DynamicCredential {
    type Status = DynamicCredentialStatus;
    const KIND: &'static str = "DynamicCredential";

    fn status(&self) -> DynamicCredentialStatus {
        self.status.clone().unwrap_or_default()
    }

    fn conditions(status: &DynamicCredentialStatus) -> &[Condition] {
        &status.conditions
    }

    fn observe(status: &mut DynamicCredentialStatus, conditions: Vec<Condition>, generation: Option<i64>) {
        status.conditions = conditions;
        status.observed_generation = generation;
    }

    async fn apply(work: &mut Work<'_, Self>) -> Result<Settled, Failure> {
        let resolved = resolve::wanted(work.ctx, &work.object).await;
        let (wanted, trouble) = match resolved {
            Ok(wanted) => (wanted, None),
            // A credential that is out is kept alive, whatever happened to the engine meanwhile.
            Err((Some(wanted), failure)) if work.status.lease.is_some() => (wanted, Some(failure)),
            Err((_, failure)) => return Err(failure),
        };
        let Some(target) = work.object.spec.target.clone() else {
            return without_target(work, &wanted).await;
        };
        move_target(work, &target.secret).await?;
        let settled = keep(work, &wanted, &target.secret, trouble.as_ref()).await;
        say_lease(work);
        match trouble {
            Some(failure) => settled.and(Err(failure)),
            None => settled,
        }
    }

    async fn cleanup(ctx: &Context, object: &Self) -> Result<(), Failure> {
        let uid = object.uid().unwrap_or_default();
        let held = held(&ctx.server, &uid).await?;
        release(&ctx.server, &uid).await?;
        let mut left = Vec::new();
        for (item, Bound { lease_id }) in held {
            if is_there(&ctx.server, &lease_id).await {
                left.push(item.to_string());
            }
        }
        if !left.is_empty() {
            let note = format!(
                "credential {} is still valid: the server cannot revoke it now (is the database away?) and goes on trying",
                left.join(", ")
            );
            publish(ctx, object, EventType::Warning, "RevocationPending", note).await;
        }
        Ok(())
    }

    fn pending(_: &Context, object: &Self) -> Option<Entry> {
        Some(Entry::Credential {
            uid: object.uid().unwrap_or_default(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        })
    }
}

/// Revokes everything that a DynamicCredential has; nothing is made for it any more.
pub async fn release(server: &Server, uid: &str) -> Result<(), Failure> {
    server.delete(&format!("sys/bindings/{}", names::credential_owner(uid))).await.doing("revoking the credential")
}

/// CSI and injection only: nothing is made here.
async fn without_target(work: &mut Work<'_, DynamicCredential>, wanted: &Wanted) -> Result<Settled, Failure> {
    if work.status.credential.is_some() {
        for number in bound(work).await?.into_keys() {
            revoke(work, number).await?;
        }
    }
    if let Some(former) = work.status.target.take() {
        secret::delete(work.ctx, &work.object, former.trim_start_matches("secret/")).await?;
    }
    (work.status.lease, work.status.credential) = (None, None);
    work.status.previous.clear();
    work.status.path = Some(wanted.path.clone());
    Ok(Settled { reason: "Resolvable", message: format!("pods get their own from {}", wanted.path), again: None })
}

async fn move_target(work: &mut Work<'_, DynamicCredential>, target: &SecretTarget) -> Result<(), Failure> {
    let name = format!("secret/{}", target.name);
    if work.status.target.as_ref() == Some(&name) {
        return Ok(());
    }
    if let Some(former) = work.status.target.clone() {
        secret::delete(work.ctx, &work.object, former.trim_start_matches("secret/")).await?;
    }
    work.status.target = Some(name);
    Ok(())
}

async fn keep(
    work: &mut Work<'_, DynamicCredential>,
    wanted: &Wanted,
    target: &SecretTarget,
    trouble: Option<&Failure>,
) -> Result<Settled, Failure> {
    let mut bound = bound(work).await?;
    for _ in 0..MOST_STEPS {
        let now = work.ctx.clock.now();
        let step = plan::next(Some(wanted), &work.status, &bound, now);
        if let (Some(failure), Step::Begin { .. } | Step::Issue { .. }) = (trouble, &step) {
            if matches!(step, Step::Begin { why: Why::Lost, .. }) {
                work.status.lease = None;
            }
            return Err(Failure { reason: failure.reason, message: failure.message.clone(), remedy: failure.remedy });
        }
        match step {
            Step::Begin { number, why } => {
                if why == Why::Lost {
                    let lost = number - 1;
                    work.warn("Lost", format!("credential {lost} is not on the server any more; making another")).await;
                }
                plan::begun(&mut work.status, wanted, number, why, now);
                work.save().await?;
            }
            Step::Adopt { number } => {
                plan::adopted(&mut work.status, wanted, number, &bound, now);
                work.save().await?;
            }
            Step::Issue { number } => {
                let lease_id = issue(work, wanted, target, number).await?;
                bound.insert(number, Bound { lease_id });
            }
            Step::Renew { number } => renew(work, wanted, number, &bound).await?,
            Step::Revoke { number } => {
                if let Some(waiting) = rollout_waits(work).await? {
                    let message = format!("credential {number} is revoked when {waiting} has rolled out");
                    work.updates.push(Update::new(conditions::ROTATING, true, "WaitingForRollout", message));
                    return settled(work, Some(ROLLOUT_PAUSE));
                }
                revoke(work, number).await?;
                bound.remove(&number);
            }
            Step::Settle { until } => {
                repair(work, wanted, target, &bound).await?;
                let pause = until.map(|until| Duration::from_secs(plan::between(now, until).max(1)));
                let again = pause.map_or(work.ctx.resync(), |pause| pause.min(work.ctx.resync()));
                return settled(work, Some(again));
            }
        }
    }
    settled(work, Some(Duration::from_secs(1)))
}

fn settled(work: &Work<'_, DynamicCredential>, again: Option<Duration>) -> Result<Settled, Failure> {
    let number = work.status.credential.unwrap_or(0);
    let message = format!("credential {number} of role {} is in Secret {}", work.object.spec.role, target_name(work));
    Ok(Settled { reason: "Issued", message, again })
}

fn target_name(work: &Work<'_, DynamicCredential>) -> String {
    work.status.target.as_deref().unwrap_or_default().trim_start_matches("secret/").to_owned()
}

/// Has the server this lease? What cannot be found out counts as no.
async fn is_there(server: &Server, lease_id: &str) -> bool {
    let look = |client: Client| async move { client.write("sys/leases/lookup", json!({ "lease_id": lease_id })).await };
    server.with(look).await.is_ok_and(|found| found.is_some())
}

/// What the server has for this object, by number.
async fn bound(work: &Work<'_, DynamicCredential>) -> Result<BTreeMap<i64, Bound>, Failure> {
    held(&work.ctx.server, &work.object.uid().unwrap_or_default()).await
}

async fn held(server: &Server, uid: &str) -> Result<BTreeMap<i64, Bound>, Failure> {
    let owner = names::credential_owner(uid);
    let found = server.read(&format!("sys/bindings/{owner}")).await.doing("reading the credentials of the object")?;
    let Some(Value::Object(items)) = found.and_then(|mut found| found.get_mut("items").map(Value::take)) else {
        return Ok(BTreeMap::new());
    };
    Ok(items
        .into_iter()
        .filter_map(|(item, value)| {
            let lease_id = value["lease_id"].as_str().unwrap_or_default().to_owned();
            Some((item.parse().ok()?, Bound { lease_id }))
        })
        .collect())
}

/// A credential as the server answers it.
struct Answer {
    lease_id: String,
    left: u64,
    renewable: bool,
    fields: Map<String, Value>,
}

/// The credential of this number: the one that is there, or a new one.
async fn read(work: &Work<'_, DynamicCredential>, path: &str, number: i64) -> Result<Answer, Failure> {
    let owner = names::credential_owner(&work.object.uid().unwrap_or_default());
    let (item, owner) = (number.to_string(), owner.as_str());
    let answer = work.ctx.server.with(|client| {
        let item = item.clone();
        async move { client.read_bound(path, &item, Some(owner), None).await }
    });
    let envelope = answer.await.doing(&format!("reading credential {number}"))?;
    let refused = || Failure::elsewhere("RoleNotFound", format!("the server has nothing at {path}"));
    let envelope = envelope.ok_or_else(refused)?;
    Ok(Answer {
        lease_id: envelope.lease_id,
        left: envelope.lease_duration,
        renewable: envelope.renewable,
        fields: envelope.data.unwrap_or_default(),
    })
}

/// Gets the credential, puts it into the Secret, restarts what reads it, and only then remembers that all this is done.
async fn issue(
    work: &mut Work<'_, DynamicCredential>,
    wanted: &Wanted,
    target: &SecretTarget,
    number: i64,
) -> Result<String, Failure> {
    let ctx = work.ctx;
    secret::check(ctx, &work.object, target).await?;
    let answer = read(work, &wanted.path, number).await?;
    let mut left = answer.left;
    if let Some(ttl) = wanted.ttl.filter(|ttl| answer.renewable && left.abs_diff(*ttl) > 1) {
        let lease_id = answer.lease_id.as_str();
        let increment = Some(Duration::from_secs(ttl));
        let renewed = ctx.server.with(|client| async move { client.renew_lease(lease_id, increment).await }).await;
        left = renewed.doing("setting the duration of the lease")?.lease_duration;
    }
    let content = secret::render(target, &answer.fields)?;
    secret::write(ctx, &work.object, target, number, &content, false).await?;
    if number > 1 {
        restart(work, number).await?;
    }
    work.status.path = Some(wanted.path.clone());
    let now = ctx.clock.now();
    work.status.lease = Some(plan::issued(wanted, left, answer.renewable, ctx.jitter(), now));
    plan::placed(&mut work.status, wanted, number, now);
    work.save().await?;
    let role = work.object.spec.role.clone();
    let mut note = format!("credential {number} of role {role}, lease ends in {}", about(left));
    for old in &work.status.previous {
        let seconds = plan::between(ctx.clock.now(), old.revoke_at.0);
        note = format!("{note}; credential {} is revoked in {}", old.credential, short(seconds));
    }
    work.event(if number == 1 { "Issued" } else { "Rotated" }, note).await;
    Ok(answer.lease_id)
}

async fn restart(work: &Work<'_, DynamicCredential>, number: i64) -> Result<(), Failure> {
    let mark = format!("{}/{number}", work.object.name_any());
    let rollout = work.object.spec.rollout.iter();
    for target in rollout.flat_map(|rollout| &rollout.restart) {
        let name = format!("{:?} {}", target.kind, target.name);
        if rollout::restart(work.ctx, &work.namespace(), target, &mark).await? {
            work.event("Restarted", format!("{name}, for credential {number}")).await;
        } else {
            work.warn("RestartFailed", format!("{name} of spec.rollout.restart is not there")).await;
        }
    }
    Ok(())
}

async fn rollout_waits(work: &Work<'_, DynamicCredential>) -> Result<Option<String>, Failure> {
    match &work.object.spec.rollout {
        Some(rollout) => rollout::waiting(work.ctx, &work.namespace(), &rollout.restart).await,
        None => Ok(None),
    }
}

async fn renew(
    work: &mut Work<'_, DynamicCredential>,
    wanted: &Wanted,
    number: i64,
    bound: &BTreeMap<i64, Bound>,
) -> Result<(), Failure> {
    let (Some(bound), Some(lease)) = (bound.get(&number), work.status.lease.clone()) else { return Ok(()) };
    let (ctx, lease_id, increment) = (work.ctx, bound.lease_id.as_str(), wanted.ttl.map(Duration::from_secs));
    let renewed = ctx.server.with(|client| async move { client.renew_lease(lease_id, increment).await }).await;
    // Failing makes nothing new: the credential is valid until its end, and the next try is soon.
    let envelope = renewed.map_err(|error| {
        let failure = Failure::server(&format!("renewing credential {number}"), &error);
        if failure.remedy == Remedy::Wait { failure } else { Failure { reason: "RenewalFailed", ..failure } }
    })?;
    let left = envelope.lease_duration;
    work.status.lease = Some(plan::renewed(&lease, wanted, left, ctx.jitter(), ctx.clock.now()));
    work.save().await?;
    work.event("Renewed", format!("credential {number}, lease ends in {}", about(left))).await;
    Ok(())
}

async fn revoke(work: &mut Work<'_, DynamicCredential>, number: i64) -> Result<(), Failure> {
    let owner = names::credential_owner(&work.object.uid().unwrap_or_default());
    let path = format!("sys/bindings/{owner}/{number}");
    work.ctx.server.delete(&path).await.doing(&format!("revoking credential {number}"))?;
    work.status.previous.retain(|old| old.credential != number);
    work.save().await?;
    work.event("Revoked", format!("credential {number}")).await;
    Ok(())
}

/// The Secret must hold the current credential, whatever happened to it.
async fn repair(
    work: &mut Work<'_, DynamicCredential>,
    wanted: &Wanted,
    target: &SecretTarget,
    bound: &BTreeMap<i64, Bound>,
) -> Result<(), Failure> {
    // Those that the server has lost since are no concern of the overlap any more.
    work.status.previous.retain(|old| bound.contains_key(&old.credential));
    let Some(number) = work.status.credential else { return Ok(()) };
    let answer = read(work, &wanted.path, number).await?;
    if bound.get(&number).is_some_and(|known| known.lease_id != answer.lease_id) {
        // It ended between two requests and the server made another: what is new is written down anew.
        work.status.lease = None;
        work.save().await?;
    }
    let content = secret::render(target, &answer.fields)?;
    if secret::write(work.ctx, &work.object, target, number, &content, true).await? == Found::Drifted {
        work.repaired(format!("Secret {} was changed or deleted; written again", target.name)).await;
    }
    Ok(())
}

/// A duration as people say it: the second that passed on the way is not worth telling.
fn about(seconds: u64) -> String {
    short(if seconds % 60 == 59 { seconds + 1 } else { seconds })
}

/// LeaseActive and Rotating, from what the status says.
fn say_lease(work: &mut Work<'_, DynamicCredential>) {
    let now = work.ctx.clock.now();
    let active = work.status.lease.as_ref().is_some_and(|lease| lease.expires_at.0 > now);
    let (reason, message) = if active { ("Valid", "") } else { ("NoLease", "there is no valid credential") };
    work.updates.push(Update::new(conditions::LEASE_ACTIVE, active, reason, message));
    if !work.updates.iter().any(|update| update.kind == conditions::ROTATING) {
        let old: Vec<_> = work.status.previous.iter().map(|old| old.credential.to_string()).collect();
        let rotating = !old.is_empty();
        let (reason, message) = match rotating {
            true => ("Overlap", format!("credential {} is still valid", old.join(", "))),
            false => ("Settled", String::new()),
        };
        work.updates.push(Update::new(conditions::ROTATING, rotating, reason, message));
    }
}
