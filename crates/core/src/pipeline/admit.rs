//! resolve → token → policy: who may do this, and who does it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use holdfast_logical::{Auth, Backend, Caller, Fields, Namespace, Operation, Request, Row, StoreError, table};
use holdfast_policy::Decision;
use holdfast_secret::SecretString;

use super::{
    decision::{Route, decide},
    parse::Parsed,
    trail::Trail,
};
use crate::{
    Error, binding,
    call::{self, Holder, Noun},
    cidr,
    lease::Binding,
    mounts::{Mounted, Router, Target},
    open::Open,
    rights::Rights,
    token::Token,
};

/// A request that may be carried out.
pub struct Admitted {
    /// What is to be done.
    pub task: Task,
    /// Who asks; none on open paths.
    pub holder: Option<Arc<Holder>>,
    /// Where it goes.
    pub mounted: Arc<Mounted>,
    /// Whose credential is asked for, if a certain one is; wrong headers matter only if a credential is made.
    pub binding: Option<Result<Binding, Error>>,
}

/// What the handler of a request gets.
pub struct Task {
    /// The request as its handler sees it.
    pub request: Request,
    /// Who answers.
    pub handler: Handler,
    /// Do the policies grant `sudo`?
    pub sudo: bool,
    /// Most names that a list may answer with, by the policies.
    pub page: Option<usize>,
}

/// Who answers.
pub enum Handler {
    /// The core.
    Core(&'static Noun),
    /// A plug-in.
    Engine(Arc<dyn Backend>),
    /// The row itself.
    Help(&'static Row),
    /// All rows of the mount.
    Contents,
}

/// The row of a path, and who serves it.
type Found<'p> = (Handler, &'static Row, BTreeMap<&'static str, &'p str>);

/// What a mount has, which is help for its own path.
const CONTENTS: &Row = &Row { id: "", pattern: "", operations: &[], fields: &[], auth: Auth::Token, help: "" };

/// What the store says before anything is decided; read at once, so that the reads share their way to the store.
pub struct Ground {
    /// Namespaces and mounts.
    pub router: Arc<Router>,
    token: Option<(String, Arc<Token>)>,
}

impl Ground {
    /// Reads mounts, audit devices and the token.
    pub async fn read(open: &Open, parsed: &Parsed) -> Result<Self, StoreError> {
        let token = async {
            match &parsed.raw.token {
                Some(id) => open.tokens.find(id).await,
                None => Ok(None),
            }
        };
        let (router, (), token) = futures::try_join!(open.mounts.current(), open.audit.sync(), token)?;
        Ok(Self { router, token: token.map(|(hash, token, _)| (hash, token)) })
    }
}

/// Decides. What is found out on the way is left in `trail`, also when the answer is no.
pub async fn admit(
    open: &Arc<Open>,
    parsed: &Parsed,
    ground: Ground,
    server: Option<Arc<Holder>>,
    trail: &mut Trail<'_>,
) -> Result<Admitted, Error> {
    if let Some(refusal) = &parsed.refusal {
        return Err(refusal.duplicate());
    }
    let router = ground.router;
    let resolved = router.resolve(&parsed.path).map(|(mounted, rest)| (mounted.clone(), rest));
    let resolved = resolved.filter(|(mounted, _)| mounted.record.namespace == parsed.namespace.id);
    trail.mounted = resolved.as_ref().map(|(mounted, _)| mounted.clone());
    let found = resolved.as_ref().and_then(|(mounted, rest)| match (parsed.operation, *rest) {
        (Operation::Help, "") => Some((Handler::Contents, CONTENTS, BTreeMap::new())),
        _ => find(mounted, rest),
    });
    let needed = found.as_ref().map_or(Auth::Token, |(_, row, _)| row.auth);

    let begin = trail.begin;
    let holder = match (server, needed) {
        (Some(server), _) => Some(server),
        (None, Auth::None) => None,
        (None, _) => {
            let holder = identify(open, parsed, &router, ground.token).await?;
            open.config.metrics.vault.fetch_acl_and_token.observe(begin.elapsed());
            Some(holder)
        }
    };
    trail.holder.clone_from(&holder);

    let request = match (&resolved, &found) {
        (Some((mounted, rest)), Some((_, row, captures))) => {
            let fields = row.fields(captures, parsed.raw.body.clone());
            Some(request(parsed, mounted, rest, row, fields, holder.as_deref()))
        }
        _ => None,
    };
    let (request, malformed) = match request {
        Some((mut request, malformed)) => {
            request.operation = told_apart(request.operation, &found, &request, malformed.is_some()).await?;
            trail.operation = request.operation;
            (Some(request), malformed)
        }
        None => (None, None),
    };

    let (mut sudo, mut page) = (false, None);
    if let Some(holder) = &holder {
        let route = found.as_ref().zip(resolved.as_ref()).map(|((handler, row, _), (_, rest))| Route {
            row,
            engine: matches!(handler, Handler::Engine(_)),
            rest,
        });
        let decision = decide(&holder.policies, parsed, trail.operation, route);
        let allowed = decision.allowed && (needed != Auth::Sudo || decision.sudo);
        (sudo, page) = (decision.sudo, decision.page);
        if !allowed {
            tracing::debug!(path = %parsed.path, reason = %decision.reason, "denied");
        }
        trail.decision = Some(Decision { allowed, ..decision });
        open.config.metrics.vault.check_token.observe(begin.elapsed());
        if !allowed {
            return Err(Error::denied_by_policy());
        }
    }
    // A cubbyhole is the token's own, in the token's own namespace.
    if let (Some(holder), Some((mounted, _))) = (&holder, &resolved)
        && mounted.record.kind == "cubbyhole"
        && holder.token.namespace != mounted.record.namespace
    {
        return Err(Error::denied());
    }
    if let Some(fault) = &parsed.raw.fault {
        return Err(fault.duplicate());
    }
    let Some((mounted, _)) = resolved else {
        let text = format!("no handler for route {:?}. route entry not found.", parsed.local());
        return Err(holdfast_logical::Error::NotFound(Some(text)).into());
    };
    if let Target::Broken(reason) = &mounted.target {
        return Err(Error::internal(format!("the mount {} cannot be started: {reason}", mounted.info.path)));
    }
    let (Some((handler, row, _)), Some(request)) = (found, request) else {
        return Err(holdfast_logical::Error::NotFound(Some("unsupported path".to_owned())).into());
    };
    let handler = match request.operation {
        Operation::Help if matches!(handler, Handler::Contents) => handler,
        Operation::Help => Handler::Help(row),
        operation if !row.serves(operation) => return Err(holdfast_logical::Error::UnsupportedOperation.into()),
        _ => handler,
    };
    if let Some(malformed) = malformed {
        return Err(malformed);
    }
    let binding = binding(parsed, holder.as_deref())?;
    let task = Task { request, handler, sudo, page };
    Ok(Admitted { task, holder, mounted, binding })
}

/// Where a path below a mount leads.
pub(crate) fn route<'p>(mounted: &Mounted, rest: &'p str) -> Option<Route<'p>> {
    find(mounted, rest).map(|(handler, row, _)| Route { row, engine: matches!(handler, Handler::Engine(_)), rest })
}

fn find<'p>(mounted: &Mounted, rest: &'p str) -> Option<Found<'p>> {
    match &mounted.target {
        Target::Core(nouns) => {
            call::find(nouns, rest).map(|(noun, row, captures)| (Handler::Core(noun), row, captures))
        }
        Target::Engine(backend) => {
            table::find(backend.paths(), rest).map(|(row, captures)| (Handler::Engine(backend.clone()), row, captures))
        }
        Target::Broken(_) => None,
    }
}

/// The token: there, alive, of this namespace or one above, from where it may come, with a use left (which is taken, also if the request is denied).
async fn identify(
    open: &Arc<Open>,
    parsed: &Parsed,
    router: &Router,
    found: Option<(String, Arc<Token>)>,
) -> Result<Arc<Holder>, Error> {
    let unwraps = matches!(parsed.local(), "sys/wrapping/unwrap" | "sys/wrapping/rewrap");
    let invalid = || match unwraps {
        true => Error::invalid("wrapping token is not valid or does not exist"),
        false => Error::invalid_token(),
    };
    let Some(id) = &parsed.raw.token else { return Err(Error::denied()) };
    if id.expose().chars().any(|character| character.is_control() || character == char::REPLACEMENT_CHARACTER) {
        return Err(Error::invalid("the token has non-printable characters"));
    }
    let remote = parsed.raw.connection.remote;
    let (hash, token, rights) = entitled(open, &parsed.namespace, router, remote, found, invalid).await?;
    Ok(Arc::new(Holder::new(SecretString::duplicate(id), hash, token, rights)))
}

/// What a token that was found may do in a namespace, asked from an address. A use of it is taken.
pub(crate) async fn entitled(
    open: &Open,
    namespace: &Namespace,
    router: &Router,
    remote: Option<IpAddr>,
    found: Option<(String, Arc<Token>)>,
    invalid: impl Fn() -> Error,
) -> Result<(String, Arc<Token>, Rights), Error> {
    let Some((hash, mut token)) = found else { return Err(invalid()) };
    let own = router.namespaces().of_token(&token, namespace).ok_or_else(&invalid)?;
    if !cidr::allows(&token.bound_cidrs, remote) {
        return Err(Error::denied());
    }
    if token.uses.is_some() {
        token = Arc::new(Box::pin(open.tokens.take_use(&hash)).await?.ok_or_else(invalid)?);
    }
    let rights = open.rights(&own, &token).await?;
    Ok((hash, token, rights))
}

fn request(
    parsed: &Parsed,
    mounted: &Arc<Mounted>,
    rest: &str,
    row: &Row,
    fields: Result<Fields, holdfast_logical::Error>,
    holder: Option<&Holder>,
) -> (Request, Option<Error>) {
    let (fields, malformed) = match fields {
        Ok(fields) => (fields, None),
        Err(error) => (Fields::default(), Some(error.into())),
    };
    let request = Request {
        id: parsed.raw.id.clone(),
        operation: parsed.operation,
        path: rest.to_owned(),
        route: row.id,
        fields,
        mount: mounted.info.clone(),
        caller: holder.map(Holder::caller).unwrap_or_default(),
        connection: parsed.raw.connection.clone(),
    };
    (request, malformed)
}

/// Create, where the engine tells that there is nothing yet; else what was asked.
async fn told_apart(
    operation: Operation,
    found: &Option<Found<'_>>,
    request: &Request,
    malformed: bool,
) -> Result<Operation, Error> {
    let Some((Handler::Engine(backend), row, _)) = found else { return Ok(operation) };
    if operation != Operation::Update || malformed || !row.operations.contains(&Operation::Create) {
        return Ok(operation);
    }
    match backend.exists(request).await? {
        Some(false) => Ok(Operation::Create),
        Some(true) | None => Ok(Operation::Update),
    }
}

/// Whose credential is asked for: of the owner that the header names, which takes a permission, or of the token's pod.
fn binding(parsed: &Parsed, holder: Option<&Holder>) -> Result<Option<Result<Binding, Error>>, Error> {
    let (Some(item), Some(holder)) = (&parsed.raw.item, holder) else { return Ok(None) };
    let pod = holder.token.pod.as_ref().map(|pod| format!("pod/{}", pod.uid));
    let owner = match (&parsed.raw.owner, pod) {
        (Some(owner), Some(pod)) if *owner == pod => pod,
        (Some(owner), _) => {
            let path = parsed.namespace.full_path(&format!("sys/bindings/{owner}/{item}"));
            if !holder.policies.decide(parsed.place_of(&path), Operation::Update, &serde_json::Map::new(), None).allowed
            {
                return Err(Error::denied_by_policy());
            }
            owner.clone()
        }
        (None, Some(pod)) => pod,
        (None, None) => {
            let text = "X-Holdfast-Item needs the token of a pod (login with a bound ServiceAccount token) or X-Holdfast-Owner";
            return Ok(Some(Err(Error::invalid(text))));
        }
    };
    let owner = binding::scoped(&parsed.namespace, &owner).map_err(|error| holdfast_logical::Error::from(error).into());
    Ok(Some(owner.map(|owner| Binding { owner, item: item.clone() })))
}

impl Holder {
    /// The server itself, for `initialize`.
    pub(crate) fn server(policies: Arc<holdfast_policy::PolicySet>, now: holdfast_logical::Timestamp) -> Self {
        let rights = Rights { policies, standing: None };
        Self::new(SecretString::default(), String::new(), Arc::new(Token::server(now)), rights)
    }

    fn caller(&self) -> Caller {
        Caller {
            display_name: self.token.display_name.clone(),
            accessor: self.token.accessor.clone(),
            token_hash: self.hash.clone(),
            // Of one that was merged, the one that it was merged into.
            entity_id: self.standing.as_ref().map(|standing| standing.entity.id.clone()).unwrap_or_default(),
            policies: self.all_policies().to_vec(),
            metadata: self.token.metadata.clone().unwrap_or_default(),
            pod: self.token.pod.clone(),
        }
    }
}
