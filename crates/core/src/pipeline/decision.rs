//! Policy: may this be done? A path is asked about in each way in which its handler may read it, and every one of them
//! must be allowed.

use holdfast_logical::{Operation, Row};
use holdfast_policy::{Decision, Explanation, PolicySet};

use super::parse::Parsed;

/// Where a path leads.
#[derive(Clone, Copy)]
pub(crate) struct Route<'r> {
    /// The row that it matches.
    pub row: &'r Row,
    /// Is it answered by a plug-in?
    pub engine: bool,
    /// The path below the mount.
    pub rest: &'r str,
}

impl Route<'_> {
    /// Is the handler given the rest of the path as it is? It tells `name/` from `name`.
    fn takes_rest(&self) -> bool {
        self.engine && self.row.pattern.rsplit('/').next().is_some_and(|end| end.starts_with('*'))
    }
}

/// What the policies say; `sudo` holds only if it does for every spelling.
pub(crate) fn decide(
    policies: &PolicySet,
    parsed: &Parsed,
    operation: Operation,
    route: Option<Route<'_>>,
) -> Decision {
    let decide = |path: &str| policies.decide(parsed.place_of(path), operation, &parsed.raw.body, parsed.raw.wrap_ttl);
    let mut decision = decide(&parsed.path);
    for spelling in other_spellings(parsed, operation, route) {
        if !decision.allowed {
            break;
        }
        let next = decide(&spelling);
        let page = decision.page.into_iter().chain(next.page).min();
        decision = Decision { sudo: decision.sudo && next.sudo, page, ..next };
    }
    decision
}

/// The same with everything that led to it, and the spelling that it was decided by.
pub(crate) fn explain(
    policies: &PolicySet,
    parsed: &Parsed,
    operation: Operation,
    route: Option<Route<'_>>,
) -> (String, Explanation) {
    let explain =
        |path: &str| policies.explain(parsed.place_of(path), operation, &parsed.raw.body, parsed.raw.wrap_ttl);
    let (mut path, mut explanation) = (parsed.path.clone(), explain(&parsed.path));
    for spelling in other_spellings(parsed, operation, route) {
        if !explanation.decision.allowed {
            break;
        }
        let sudo = explanation.decision.sudo;
        explanation = explain(&spelling);
        explanation.decision.sudo &= sudo;
        path = spelling;
    }
    (path, explanation)
}

/// What the path is read as besides what was asked. Handlers take `name/` for `name`, so a deny of `creds/admin` is not
/// to be passed by a grant of `creds/*` and a slash; lists always end in one. Names whose case does not matter are
/// folded by their handlers, so a deny of `acl/guard` is not to be passed by a grant of `acl/*` and `acl/GUARD`.
fn other_spellings(parsed: &Parsed, operation: Operation, route: Option<Route<'_>>) -> Vec<String> {
    let lists = matches!(operation, Operation::List | Operation::Scan);
    let keeps_slash = lists || route.is_some_and(|route| route.takes_rest());
    let bare = |path: &str| {
        let bare = path.strip_suffix('/').filter(|_| !keeps_slash);
        bare.map(|bare| bare.trim_end_matches('/').to_owned())
    };
    let folded = route.and_then(|route| {
        let before = parsed.path.strip_suffix(route.rest)?;
        Some(format!("{before}{}", route.row.folded(route.rest)?))
    });
    let folded_bare = folded.as_deref().and_then(bare);
    bare(&parsed.path).into_iter().chain(folded).chain(folded_bare).collect()
}
