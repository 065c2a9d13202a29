//! What an administrator decides about injection: servers, and profiles that say what pods get by default, what they may
//! say themselves and how strictly they are read. One JSON document, which the chart makes from its values.
//!
//! A pod's own word goes before the defaults of its namespace, those before the profile's, and those before the release's.

mod document;

use std::collections::BTreeMap;

pub use self::document::{Document, Profile, Server};
use crate::{
    annotations::{self, Annotations, Choices, Error, Findings, HOLDFAST, Plan, VAULT, bytes_or_cores},
    mutate::Settings,
};

/// Profile of pods and namespaces that name none; it need not be in the document.
pub const DEFAULT: &str = "default";
/// Annotation of a namespace: the profile of its pods, which they then cannot leave.
pub const NAMESPACE_PROFILE: &str = "holdfast.dev/injection-profile";
/// Prefix of annotations of a namespace: what its pods get unless they say otherwise.
pub const NAMESPACE_DEFAULTS: &str = "defaults.holdfast.dev/";
/// Keys that a pod may say only where its profile allows them by name.
const RESERVED: &[&str] = &["image"];

/// A plan after the administrator's word.
#[derive(Debug)]
pub struct Ruled {
    /// With all defaults.
    pub plan: Plan,
    /// With the server and the image of this pod.
    pub settings: Settings,
    /// Mistakes are denials.
    pub strict: bool,
}

/// A namespace as far as it concerns its pods.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its annotations.
    pub annotations: Annotations,
}

/// Lays the administrator's word over what the pod asks for.
///
/// # Errors
/// When the pod says what its profile does not let it say, or an administrator's default makes no sense.
pub fn rule(
    document: &Document,
    settings: &Settings,
    namespace: &Namespace,
    mut plan: Plan,
    findings: &mut Findings,
) -> Result<Ruled, Error> {
    let (name, profile) = chosen(document, namespace, &plan)?;
    may_say(&name, &profile, &plan)?;
    let by_namespace = namespace_defaults(namespace)?;
    let by_profile = profile.choices(&name)?;

    let mut settings = settings.clone();
    if let Some(server) = server(document, &profile, &settings, &plan, by_namespace.server.as_deref(), findings)? {
        server.apply(&mut settings);
    }
    if let Some(image) = &plan.choices.image {
        image_is_allowed(&profile, &name, &plan, image)?;
    }
    // A server that only looks like one of the document must not come back by the defaults.
    plan.choices.server = None;
    plan.choices = plan.choices.over(by_namespace).over(by_profile);
    plan.format_items();
    if let Some(image) = &plan.choices.image {
        settings.image.clone_from(image);
    }
    within_maximum(&profile, &name, &plan)?;
    Ok(Ruled { plan, settings, strict: profile.strict })
}

fn chosen(document: &Document, namespace: &Namespace, plan: &Plan) -> Result<(String, Profile), Error> {
    let inject = format!("{HOLDFAST}inject");
    let pinned = namespace.annotations.get(NAMESPACE_PROFILE).map(|name| name.trim().to_owned());
    let name = match (pinned, &plan.profile) {
        (Some(pinned), Some(own)) if pinned != *own => {
            let reason = format!("namespace {} has the profile {pinned:?}; use \"true\"", namespace.name);
            return Err(wrong(&inject, reason));
        }
        (Some(pinned), _) => {
            let profile =
                document.profiles.get(&pinned).cloned().or_else(|| (pinned == DEFAULT).then(Profile::default));
            let profile = profile.ok_or_else(|| {
                let reason = format!("there is no profile {pinned:?}; ask an administrator");
                wrong(&format!("{NAMESPACE_PROFILE} of namespace {}", namespace.name), reason)
            })?;
            return Ok((pinned, profile));
        }
        (None, Some(own)) => own,
        (None, None) => DEFAULT,
    };
    match document.profiles.get(name) {
        Some(profile) if name == DEFAULT || profile.is_for(&namespace.name) => Ok((name.to_owned(), profile.clone())),
        None if name == DEFAULT => Ok((name.to_owned(), Profile::default())),
        // The same text for both: what profiles there are is no business of a namespace.
        _ => Err(wrong(&inject, format!("there is no profile {name:?} for namespace {}", namespace.name))),
    }
}

fn may_say(name: &str, profile: &Profile, plan: &Plan) -> Result<(), Error> {
    for (key, annotation) in &plan.said {
        let listed = |keys: &[String]| keys.iter().any(|listed| listed == key);
        let allowed = match &profile.allow {
            Some(allow) => listed(allow),
            None => !RESERVED.contains(key) || (*key == "image" && !profile.images.is_empty()),
        };
        if !allowed || listed(&profile.deny) {
            return Err(wrong(annotation, format!("profile {name:?} does not let pods say it; remove it")));
        }
    }
    Ok(())
}

fn namespace_defaults(namespace: &Namespace) -> Result<Choices, Error> {
    let origin = format!("{NAMESPACE_DEFAULTS} of namespace {}: ", namespace.name);
    let entries = namespace.annotations.iter();
    annotations::defaults(
        &origin,
        entries.filter_map(|(key, value)| Some((key.strip_prefix(NAMESPACE_DEFAULTS)?, value.as_str()))),
    )
}

/// The server of the pod: its own word if that is in reach, or else the namespace's, the profile's; `None` leaves it to
/// the release.
fn server<'d>(
    document: &'d Document,
    profile: &Profile,
    settings: &Settings,
    plan: &Plan,
    by_namespace: Option<&str>,
    findings: &mut Findings,
) -> Result<Option<&'d Server>, Error> {
    let administrators = match by_namespace.or(profile.server.as_deref()) {
        None => None,
        Some(name) => Some(document.servers.get(name).ok_or_else(|| {
            wrong(&format!("{NAMESPACE_DEFAULTS}server"), format!("there is no server {name:?}; ask an administrator"))
        })?),
    };
    let Some(own) = &plan.choices.server else { return Ok(administrators) };
    let same = |address: &str| address.trim_end_matches('/') == own.trim_end_matches('/');
    match administrators {
        Some(server) if same(&server.address) => return Ok(Some(server)),
        None if same(&settings.server) => return Ok(None),
        _ => {}
    }
    let reachable = profile.servers.iter().filter_map(|name| Some((name, document.servers.get(name)?)));
    if let Some((_, server)) = reachable.into_iter().find(|(name, server)| *name == own || same(&server.address)) {
        return Ok(Some(server));
    }
    let annotation = plan.said.get("server").cloned().unwrap_or_default();
    if plan.vault {
        findings.mistakes.push(format!("{annotation}: refused: only an administrator names servers, and not {own}"));
        return Ok(administrators);
    }
    Err(wrong(
        &annotation,
        format!("{own:?} is none of the servers that an administrator names for this pod; remove it"),
    ))
}

fn image_is_allowed(profile: &Profile, name: &str, plan: &Plan, image: &str) -> Result<(), Error> {
    let fits = |allowed: &String| match allowed.strip_suffix('*') {
        Some(start) => image.starts_with(start),
        None => image == allowed,
    };
    if profile.images.iter().any(fits) {
        return Ok(());
    }
    let annotation = plan.said.get("image").cloned().unwrap_or_default();
    Err(wrong(&annotation, format!("profile {name:?} has no image {image:?}")))
}

fn within_maximum(profile: &Profile, name: &str, plan: &Plan) -> Result<(), Error> {
    for (resource, maximum) in &profile.max_resources {
        let asked = plan.choices.resources.get(resource);
        let (Some(asked), Some(maximum_number)) = (asked, bytes_or_cores(maximum)) else { continue };
        // Empty takes the limit away, which is more than any.
        if asked.is_empty() || bytes_or_cores(asked).is_some_and(|asked| asked > maximum_number) {
            let default = format!("{}{}", if plan.vault { VAULT } else { HOLDFAST }, "resources");
            let annotation = plan.said.get("resources").unwrap_or(&default);
            return Err(wrong(annotation, format!("{resource} is at most {maximum} in profile {name:?}")));
        }
    }
    Ok(())
}

fn wrong(annotation: &str, reason: impl Into<String>) -> Error {
    Error { annotation: annotation.to_owned(), reason: reason.into() }
}

/// `a=1,b=2` as a map; for flags.
///
/// # Errors
/// Names the pair without `=`.
pub fn pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, amount) = pair.split_once('=').ok_or_else(|| format!("{pair:?} has no ="))?;
            Ok((name.to_owned(), amount.to_owned()))
        })
        .collect()
}
