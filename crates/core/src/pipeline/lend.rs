//! The lease step: a credential gets its lease, a login gets its token.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_logical::{Check, Grant, Issue, Operation, Txn};
use holdfast_policy::DEFAULT;

use super::{admit::Task, parse::Parsed};
use crate::{
    Error,
    binding::{self, Held},
    call::{Holder, LeaseShown, Reply},
    cidr,
    lease::{Binding, IssueContext, Leased},
    mounts::{Mounted, live_key},
    open::Open,
    rights::granted,
    token::{Lifetime, NewToken, auth_info, seconds_up},
};

/// What the step needs of a request.
pub struct Lend<'r> {
    parsed: &'r Parsed,
    mounted: &'r Mounted,
    holder: Option<&'r Holder>,
    binding: Option<Result<Binding, Error>>,
    reads: bool,
}

impl<'r> Lend<'r> {
    /// Of a request that is to be carried out.
    pub fn new(
        parsed: &'r Parsed,
        task: &Task,
        mounted: &'r Mounted,
        holder: Option<&'r Holder>,
        binding: Option<Result<Binding, Error>>,
    ) -> Self {
        Self { parsed, mounted, holder, binding, reads: task.request.operation == Operation::Read }
    }

    /// What must hold when something is made: that token and mount are still there.
    fn guards(&self, open: &Open) -> Txn {
        let mut guards = self.holder.as_ref().map(|holder| open.tokens.guard_of(holder)).unwrap_or_default();
        guards.check(live_key(&self.mounted.record.uuid), Check::Exists);
        guards
    }

    /// The credential that the item of a read has already: then the engine, and what is behind it, is not asked.
    pub async fn found(&self, open: &Arc<Open>) -> Result<Option<Box<Reply>>, Error> {
        let (Some(Ok(binding)), true) = (&self.binding, self.reads) else { return Ok(None) };
        if binding::check(binding).is_err() {
            return Ok(None);
        }
        let held = open.leases.held(binding, self.parsed.local(), self.parsed.raw.replace.as_deref()).await;
        match held.map_err(holdfast_logical::Error::from)? {
            Held::Found(leased) => Ok(Some(leased_reply(Box::default(), *leased))),
            Held::Free(_) => Ok(None),
        }
    }

    /// Makes the lease or the token that the answer asks for.
    pub async fn lend(self, open: &Arc<Open>, mut reply: Box<Reply>) -> Result<Box<Reply>, Error> {
        if reply.response.status.is_some_and(|status| status >= 400) {
            return Err(Error::internal("the plug-in refuses and grants at once"));
        }
        if let Some(issue) = reply.response.issue.take() {
            return Box::pin(self.lease(open, reply, issue)).await;
        }
        if let Some(grant) = reply.response.grant.take() {
            return Box::pin(self.login(open, reply, grant)).await;
        }
        Ok(reply)
    }

    async fn lease(self, open: &Arc<Open>, reply: Box<Reply>, issue: Issue) -> Result<Box<Reply>, Error> {
        let guards = self.guards(open);
        let binding = self.binding.transpose()?;
        let last_use = self.holder.as_ref().is_some_and(|holder| holder.token.uses == Some(0));
        if last_use && binding.is_none() {
            return Err(Error::invalid(
                "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.",
            ));
        }
        let mut context = IssueContext {
            mount: self.mounted.info.clone(),
            request_id: self.parsed.raw.id.clone(),
            request_path: self.parsed.local().to_owned(),
            not_after: self.holder.as_ref().and_then(|holder| holder.token.expires.filter(|_| holder.token.batch)),
            token_hash: self.holder.as_ref().map(|holder| holder.owner().to_owned()).filter(|hash| !hash.is_empty()),
            binding,
            replace: self.parsed.raw.replace.clone(),
            guards,
        };
        let root = self.holder.as_ref().is_some_and(|holder| holder.token.is_root());
        let reserved = match root {
            true => None,
            false => {
                let path = context.mount.namespace.full_path(&context.request_path);
                open.reserve_lease(&path, &context.mount.full_path()).await?
            }
        };
        if let Some(reserved) = &reserved {
            context.guards.delete(reserved.key.clone());
        }
        let begin = Instant::now();
        let outcome = open.leases.issue(issue, context).await;
        if outcome.as_ref().is_ok_and(|leased| !leased.found) {
            open.config.metrics.vault.register.observe(begin.elapsed());
            open.config.metrics.vault.lease_creation.inc();
        }
        if let Some(reserved) = reserved
            && outcome.as_ref().map_or(true, |leased| leased.found)
        {
            open.release_lease(&reserved).await;
        }
        Ok(leased_reply(reply, outcome.map_err(holdfast_logical::Error::from)?))
    }

    async fn login(self, open: &Arc<Open>, mut reply: Box<Reply>, grant: Grant) -> Result<Box<Reply>, Error> {
        let mut policies = granted(&grant.policies)?;
        let batch = self.mounted.record.tuning.makes_batch(grant.kind);
        cidr::check(&grant.bound_cidrs)?;
        let mount = &self.mounted.info;
        let seconds = |duration: Option<Duration>| duration.map_or(0, |duration| duration.as_secs());
        let lifetime = Lifetime {
            wanted: grant.ttl,
            default: mount.default_ttl,
            max: grant.max_ttl,
            mount_max: mount.max_ttl,
            period: grant.period,
            explicit_max: grant.explicit_max_ttl,
            age: Duration::ZERO,
        };
        let capped = lifetime.ttl().ok_or_else(|| Error::invalid("the TTL of the token would be zero"))?;
        if !grant.no_default_policy {
            policies.push(DEFAULT.to_owned());
        }
        let entity_id = open.log_in(self.mounted, &grant).await?;
        let identity_policies = open.identity_policies(&mount.namespace.id, &entity_id).await?;
        let begin = Instant::now();
        let created = open
            .tokens
            .create(NewToken {
                policies,
                entity_id,
                path: self.parsed.local().to_owned(),
                metadata: (!grant.metadata.is_empty()).then(|| grant.metadata.clone()),
                display_name: display_name(&mount.name(), &grant.display_name),
                num_uses: grant.num_uses,
                ttl: Some(capped.ttl),
                explicit_max_ttl: seconds(grant.explicit_max_ttl),
                period: seconds(grant.period),
                renewable: grant.renewable,
                batch,
                bound_cidrs: grant.bound_cidrs.clone(),
                mount: self.mounted.record.uuid.clone(),
                pod: grant.pod.clone(),
                grant: Some(grant),
                with: self.guards(open),
                ..NewToken::of(mount.namespace.clone())
            })
            .await?;
        open.config.metrics.tokens_created.inc();
        open.config.metrics.vault.register_auth.observe(begin.elapsed());
        reply.response.warnings.extend(capped.warnings);
        reply.auth = Some(auth_info(&created.id, &created.token, &identity_policies, open.tokens.now()));
        reply.made.tokens.extend(Some(created.hash).filter(|hash| !hash.is_empty()));
        reply.display_name = created.token.display_name;
        Ok(reply)
    }
}

/// The answer with the credential in it. One that was found was not made by this request, so nothing takes it back.
fn leased_reply(mut reply: Box<Reply>, leased: Leased) -> Box<Reply> {
    reply.response.data = Some(leased.data);
    reply.response.warnings.extend(leased.warnings);
    reply.made.lease = (!leased.found).then(|| leased.lease_id.clone());
    reply.lease =
        Some(LeaseShown { id: leased.lease_id, seconds: seconds_up(leased.ttl), renewable: leased.renewable });
    reply
}

/// Where somebody logged in, and who it is: `kubernetes-shop-orders`, `team-users-ada`.
fn display_name(mount: &str, name: &str) -> String {
    if name.is_empty() { mount.to_owned() } else { format!("{mount}-{name}") }
}
