//! VaultPolicy: a policy below the namespace's prefix, and the auth roles of its subjects.
//!
//! Two kinds of roles are written: one for the policy (`role: orders` of a pod), and one for every service account, with
//! all policies of the namespace that name it (a pod that names no role). The second is a union over several objects, so
//! it is computed anew from all of them whenever one changes.

mod render;
mod roles;

use std::time::Duration;

use holdfast_crd_types::{SecretEngine, VaultPolicy, VaultPolicyStatus, names};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};

use crate::{
    context::Context,
    failure::{Failure, While},
    ledger::Entry,
    object::{Managed, Settled, Work},
};

/// Between two looks for an engine that a rule names and that is not there.
const ENGINE_PAUSE: Duration = Duration::from_secs(30);

impl Managed for VaultPolicy {
    type Status = VaultPolicyStatus;
    const KIND: &'static str = "VaultPolicy";

    fn status(&self) -> VaultPolicyStatus {
        self.status.clone().unwrap_or_default()
    }

    fn conditions(status: &VaultPolicyStatus) -> &[Condition] {
        &status.conditions
    }

    fn observe(status: &mut VaultPolicyStatus, conditions: Vec<Condition>, generation: Option<i64>) {
        status.conditions = conditions;
        status.observed_generation = generation;
    }

    async fn apply(work: &mut Work<'_, Self>) -> Result<Settled, Failure> {
        let (namespace, name) = (work.namespace(), work.object.name_any());
        // What a former object of this name left to be taken back is written anew here.
        forget_former(work, &namespace, &name).await?;
        let keeps = work.status.policy.is_some();
        let unsound = |failure: Failure| match keeps {
            true => Failure { message: format!("{failure}; until then the former policy stays in force"), ..failure },
            false => failure,
        };
        let policy = render::policy(&namespace, &work.object.spec).map_err(unsound)?;
        let token_ttl = roles::token_ttl(&work.object.spec).map_err(unsound)?;
        let new = work.status.observed_generation != work.object.metadata.generation;

        let policy_name = names::policy_name(&namespace, &name);
        let known = work.status.policy.is_some() && !new;
        work.status.rules = i64::try_from(policy.paths).ok();
        work.status.subjects = i64::try_from(work.object.spec.subjects.len()).ok();
        if write_policy(work.ctx, &policy_name, &policy.text).await? && known {
            work.repaired(format!("policy {policy_name} was changed on the server; put back")).await;
        }
        work.status.policy = Some(policy_name.clone());

        let role_name = names::policy_role(&namespace, &name);
        let subjects = roles::subjects(&work.object.spec);
        let former = std::mem::take(&mut work.status.service_accounts);
        let touched = roles::touched(&former, &subjects);
        // Known before the roles are written, so that a crash leaves none behind.
        work.status.service_accounts = touched.clone();
        work.status.role = Some(role_name.clone());
        work.save().await?;

        let role = roles::policy_role(&namespace, &name, &subjects, token_ttl);
        if sync_role(work.ctx, &role_name, role.as_ref()).await? && known {
            work.repaired(format!("auth role {role_name} was changed on the server; put back")).await;
        }
        if sync_service_accounts(work.ctx, &namespace, &touched, None).await? && known {
            work.repaired("an auth role of a subject was changed on the server; put back".to_owned()).await;
        }
        work.status.service_accounts = subjects.clone();
        if new {
            work.event("Written", format!("policy {policy_name} for {} subject(s)", subjects.len())).await;
        }
        let message = format!("policy {policy_name}: {} path(s), {} subject(s)", policy.paths, subjects.len());
        let absent = render::absent(&work.object.spec, &engines(work.ctx, &namespace).await?);
        if absent.is_empty() {
            return Ok(Settled { reason: "Written", message, again: None });
        }
        let message = format!("{message}; there is no SecretEngine {} in this namespace (yet)", absent.join(", "));
        Ok(Settled { reason: "EngineNotFound", message, again: Some(ENGINE_PAUSE.min(work.ctx.resync())) })
    }

    async fn cleanup(ctx: &Context, object: &Self) -> Result<(), Failure> {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        tear_down(ctx, &namespace, &name, &carried(object)).await
    }

    fn pending(_: &Context, object: &Self) -> Option<Entry> {
        Some(Entry::Policy {
            uid: object.uid().unwrap_or_default(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            service_accounts: carried(object),
        })
    }
}

/// Service accounts whose roles may carry the policy of this object.
fn carried(object: &VaultPolicy) -> Vec<String> {
    let written = object.status.as_ref().map(|status| status.service_accounts.as_slice()).unwrap_or_default();
    roles::touched(written, &roles::subjects(&object.spec))
}

/// Takes a policy and its roles back. A VaultPolicy of the same name that lives again keeps what is its own.
pub async fn tear_down(ctx: &Context, namespace: &str, name: &str, service_accounts: &[String]) -> Result<(), Failure> {
    if living(ctx, namespace).await?.iter().any(|policy| policy.name_any() == name) {
        return sync_service_accounts(ctx, namespace, service_accounts, None).await.map(drop);
    }
    sync_service_accounts(ctx, namespace, service_accounts, Some(name)).await?;
    sync_role(ctx, &names::policy_role(namespace, name), None).await?;
    let path = format!("sys/policies/acl/{}", names::policy_name(namespace, name));
    ctx.server.delete(&path).await.doing("deleting the policy")
}

async fn forget_former(work: &Work<'_, VaultPolicy>, namespace: &str, name: &str) -> Result<(), Failure> {
    for entry in work.ctx.ledger.entries().await.doing("reading the ledger")? {
        if matches!(&entry, Entry::Policy { namespace: n, name: m, .. } if n == namespace && m == name) {
            let Entry::Policy { service_accounts, .. } = &entry else { continue };
            sync_service_accounts(work.ctx, namespace, service_accounts, None).await?;
            work.ctx.ledger.remove(&entry).await.doing("writing the ledger")?;
        }
    }
    Ok(())
}

/// Names of the SecretEngines of a namespace.
async fn engines(ctx: &Context, namespace: &str) -> Result<Vec<String>, Failure> {
    let api: Api<SecretEngine> = Api::namespaced(ctx.kube.clone(), namespace);
    let listed = api.list_metadata(&ListParams::default()).await.doing("listing the engines of the namespace")?;
    Ok(listed.items.iter().map(ResourceExt::name_any).collect())
}

/// All VaultPolicies of a namespace that are not being deleted.
async fn living(ctx: &Context, namespace: &str) -> Result<Vec<VaultPolicy>, Failure> {
    let api: Api<VaultPolicy> = Api::namespaced(ctx.kube.clone(), namespace);
    let listed = api.list(&ListParams::default()).await.doing("listing the policies of the namespace")?;
    Ok(listed.items.into_iter().filter(|policy| policy.metadata.deletion_timestamp.is_none()).collect())
}

/// Writes the policy if the server has another; was that so?
async fn write_policy(ctx: &Context, name: &str, text: &str) -> Result<bool, Failure> {
    let path = format!("sys/policies/acl/{name}");
    let found = ctx.server.read(&path).await.doing("reading the policy")?;
    if found.is_some_and(|found| found["policy"] == text) {
        return Ok(false);
    }
    ctx.server.write(&path, &json!({ "policy": text })).await.map_err(|error| {
        let failure = Failure::server("writing the policy", &error);
        // The text is ours to make and the user's to give: what the server cannot read must be edited.
        if error.status() == Some(400) { Failure::edit("PolicyNotParsed", failure.message) } else { failure }
    })?;
    Ok(true)
}

/// Writes the roles of these service accounts from all policies that name them; did the server have others?
async fn sync_service_accounts(
    ctx: &Context,
    namespace: &str,
    service_accounts: &[String],
    without: Option<&str>,
) -> Result<bool, Failure> {
    let lock = ctx.namespace_lock(namespace);
    let _held = lock.lock().await;
    let all = living(ctx, namespace).await?;
    let mut changed = false;
    for service_account in service_accounts {
        let role = roles::service_account_role(namespace, service_account, &all, without);
        let name = names::service_account_role(namespace, service_account);
        changed |= sync_role(ctx, &name, role.as_ref()).await?;
    }
    Ok(changed)
}

/// Writes or deletes a role if the server has it otherwise; was that so?
async fn sync_role(ctx: &Context, name: &str, wanted: Option<&Value>) -> Result<bool, Failure> {
    let path = format!("auth/{}/role/{name}", ctx.server.auth_mount());
    let found = ctx.server.read(&path).await.doing("reading an auth role")?;
    match (wanted, found) {
        (None, None) => Ok(false),
        (Some(wanted), Some(found)) if roles::stands(wanted, &found) => Ok(false),
        (Some(wanted), _) => ctx.server.write(&path, wanted).await.doing("writing an auth role").map(|()| true),
        (None, Some(_)) => ctx.server.delete(&path).await.doing("deleting an auth role").map(|()| true),
    }
}
