//! One request from top to bottom.
//!
//! parse → seal check → resolve → token → policy → audit the request → engine → lease → wrap → release → audit the answer →
//! answer. Each step takes what the step before it made; login is the same function. What was denied or malformed is
//! audited like the rest, and an answer that may not be released or cannot be audited takes back what was made for it.

mod admit;
mod common;
mod decision;
mod finish;
mod lend;
mod parse;
mod release;
mod serial;
mod trail;
mod wrap;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use holdfast_logical::{Namespace, Operation, Response};

#[cfg(feature = "fuzzing")]
pub use self::parse::is_canonical;
use self::{
    admit::{Admitted, Ground, Handler, Task, admit},
    common::Common,
    parse::Parsed,
    trail::Trail,
};
pub(crate) use self::{
    admit::{entitled, route},
    decision::{Route, explain},
    parse::parse,
    serial::serial,
    wrap::wrapped,
};
use crate::{
    Answer, Class, Core, Error, Raw,
    call::{Call, Holder, Reply},
    lifecycle,
    mounts::Mounted,
    open::Open,
    openapi,
    raw::is_login,
    reference::rows,
    within,
};

/// An engine has this long; the client has given up by then.
const DEADLINE: Duration = Duration::from_secs(90);

impl Core {
    /// Serves one request. Whoever may go away before the answer runs it as [`unbroken`](crate::unbroken::unbroken) work.
    pub async fn handle(self: &Arc<Self>, raw: impl Into<Box<Raw>>) -> Answer {
        let mut raw = raw.into();
        let (verb, login) = (raw.verb, is_login(&raw.path));
        let started = self.config().clock.boottime();
        let flying = self.in_flight().enter(&raw, self.config().clock.now());
        let permit = raw.permit.take();
        let work = AssertUnwindSafe(holdfast_barrier::one_request(self.answer(raw))).catch_unwind();
        // The hook has told where.
        let answer = work.await.unwrap_or_else(|_| Answer::Error(Error::internal("the request was aborted")));
        if let Answer::Error(error) = &answer
            && error.is_ours()
        {
            match release::is_for_nobody(error) {
                true => tracing::debug!(request_id = flying.id, path = flying.path, %error, "a request was given up"),
                false => tracing::warn!(request_id = flying.id, path = flying.path, %error, "a request failed"),
            }
        }
        drop((flying, permit));
        let took = self.config().clock.boottime().saturating_sub(started);
        match login {
            true => self.metrics().handle_login_request.observe(took),
            false => self.metrics().handle_request.observe(took),
        }
        self.metrics().request(verb, &answer);
        answer
    }

    async fn answer(self: &Arc<Self>, raw: Box<Raw>) -> Answer {
        // In a box, as what few requests need would be part of the size of each.
        let early = match lifecycle::paths::concerns(&raw) {
            true => Box::pin(lifecycle::paths::serve(self, &raw)).await,
            false => None,
        };
        if let Some(answer) = early {
            return release::bare(answer.unwrap_or_else(Answer::Error)).await;
        }
        let Some(open) = self.open() else { return Answer::Error(Error::Sealed) };
        match open.limit_role(&raw).await {
            None => serve(&open, parse(raw), None).await,
            Some(refusal) => release::bare(Answer::Error(refusal)).await,
        }
    }
}

/// Serves a request of an unsealed server. `server` is the server itself, which needs no token. The steps are in boxes, as
/// a future is as large as all that it awaits together, and is moved into the box of its request.
pub(crate) async fn serve(open: &Arc<Open>, mut parsed: Parsed, server: Option<Arc<Holder>>) -> Answer {
    let ground = match Box::pin(Ground::read(open, &parsed)).await {
        Ok(ground) => ground,
        Err(error) => return release::bare(Answer::Error(error.into())).await,
    };
    parsed.settle(ground.router.namespaces());
    let mut trail = Trail::new(&parsed);
    let admitted = Box::pin(admit(open, &parsed, ground, server, &mut trail)).await;
    if let Err(error) = trail.request(open, admitted.as_ref().err()).await {
        return Answer::Error(error);
    }
    let mut outcome = match admitted {
        Ok(admitted) => match AssertUnwindSafe(Box::pin(carry_out(open, &parsed, admitted))).catch_unwind().await {
            Ok(outcome) => outcome,
            // The hook has told where. It is answered and audited like any other failure.
            Err(_) => Err(Error::internal("internal error")),
        },
        Err(error) => Err(error),
    };
    outcome = Box::pin(release::release(open, &parsed, outcome)).await;
    let events = outcome.as_mut().map(|reply| std::mem::take(&mut reply.response.events)).unwrap_or_default();
    let answer = Box::pin(finish::finish(open, &trail, outcome)).await;
    if let Some(mounted) = trail.mounted.as_ref().filter(|_| !events.is_empty())
        && !matches!(answer, Answer::Error(_))
    {
        open.events.tell(mounted, events).await;
    }
    answer
}

/// engine → lease → wrap. The reply is in a box, as each step would move it on otherwise.
async fn carry_out(open: &Arc<Open>, parsed: &Parsed, admitted: Admitted) -> Result<Box<Reply>, Error> {
    let Admitted { task, holder, mounted, binding } = admitted;
    let lend = lend::Lend::new(parsed, &task, &mounted, holder.as_deref(), binding);
    // A body that is still on its way takes as long as it takes; the listener knows the limit.
    let deadline = if parsed.stream.lock().is_some() { DEADLINE * 40 } else { DEADLINE };
    // Takes the time of the handler, whatever it answers.
    let timed = async {
        let (operation, begin) = (task.request.operation, Instant::now());
        let reply = engine(open, parsed, task, &mounted, holder.as_ref()).await;
        mounted.times.answered(operation, begin.elapsed());
        reply
    };
    let reply = match Box::pin(lend.found(open)).await? {
        Some(reply) => reply,
        None => match within(deadline, Box::pin(timed)).await {
            Some(Ok(reply)) if reply.lends() => Box::pin(lend.lend(open, reply)).await?,
            Some(reply) => reply?,
            None => return Err(holdfast_logical::Error::Unavailable("request deadline exceeded".to_owned()).into()),
        },
    };
    // What is open to all is no secret, and nobody may fill the store without a token or a login.
    match wrap::wanted(parsed).filter(|_| holder.is_some() || reply.auth.is_some()) {
        Some(ttl) => Box::pin(wrap::wrap(open, parsed, ttl, reply)).await,
        None => Ok(reply),
    }
}

/// Runs the handler: the only step with code of plug-ins.
async fn engine(
    open: &Arc<Open>,
    parsed: &Parsed,
    task: Task,
    mounted: &Mounted,
    holder: Option<&Arc<Holder>>,
) -> Result<Box<Reply>, Error> {
    let Task { request, handler, sudo, page } = task;
    let read = matches!(request.operation, Operation::Read | Operation::List | Operation::Scan);
    let common = Common::of(&request, page);
    let mut reply = Box::new(match handler {
        Handler::Help(row) => {
            let response = Response::data(openapi::help(&request.mount.kind, row));
            Reply { response, bare: Some(200), ..Reply::default() }
        }
        Handler::Contents => {
            let response = Response::data(openapi::contents(&request.mount.path, &request.mount.kind, &rows(mounted)));
            Reply { response, bare: Some(200), ..Reply::default() }
        }
        Handler::Engine(backend) if logs_in(mounted, holder.map(Arc::as_ref)) => {
            Reply::from(Box::pin(open.lockout.guarded(mounted, backend.as_ref(), request)).await?)
        }
        Handler::Engine(backend) => Reply::from(backend.handle(request).await?),
        Handler::Core(noun) => {
            let presented = parsed.raw.token.as_ref().map(holdfast_secret::SecretString::duplicate);
            let (metrics, begin) = (&open.config.metrics.vault, Instant::now());
            let (route, operation) = (request.route, request.operation);
            let (open, holder, wrap_ttl) = (open.clone(), holder.cloned(), parsed.raw.wrap_ttl);
            let stream = parsed.stream.lock().take();
            let reply = (noun.handle)(Call { open, request, holder, sudo, wrap_ttl, presented, stream }).await?;
            metrics.called(&mounted.record.kind, route, operation, begin.elapsed());
            reply
        }
    });
    if read && reply.is_empty() && reply.response.status.is_none() {
        return Err(Error::not_found());
    }
    common.apply(&mut reply);
    Ok(reply)
}

/// May the request be a login? Those come without a token.
fn logs_in(mounted: &Mounted, holder: Option<&Holder>) -> bool {
    mounted.record.class == Class::Auth && holder.is_none()
}

/// Writes a request that was refused before its body was read to the audit devices, without token and body.
pub(crate) async fn audit_refusal(open: &Arc<Open>, raw: &Raw, refusal: Option<&Error>) {
    let mut told = Raw::new(raw.id.clone(), raw.verb, raw.path.clone());
    told.namespace.clone_from(&raw.namespace);
    told.connection = raw.connection.clone();
    let parsed = parse(told);
    let (trail, Some(refusal)) = (Trail::new(&parsed), refusal) else { return };
    // It is refused either way.
    if trail.request(open, Some(refusal)).await.is_ok() {
        let _ = trail.response(open, trail::Told::default(), Some(refusal)).await;
    }
}

/// A request of the server to itself, as root: the steps of `initialize`.
pub(crate) async fn serve_own(open: &Arc<Open>, raw: Raw) -> Answer {
    match open.policies.set(&Namespace::root(), &[holdfast_policy::ROOT.to_owned()]).await {
        Ok(policies) => serve(open, parse(raw), Some(Arc::new(Holder::server(policies, open.tokens.now())))).await,
        Err(error) => Answer::Error(error.into()),
    }
}
