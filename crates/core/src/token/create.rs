//! The rules of `auth/token/create*`: what a token may give to its children.

use std::{collections::BTreeMap, time::Duration};

use holdfast_identity::Login;
use holdfast_logical::{Fields, MountInfo, PolicyName};
use holdfast_policy::{DEFAULT, ROOT};
use holdfast_secret::SecretString;

use super::{Created, NewToken, renew::Lifetime, roles::Role};
use crate::{Error, call::Call};

/// Which of the create paths was called.
pub(super) enum Way {
    Plain,
    Orphan,
    Role(Box<Role>),
}

/// Makes a child of the caller's token; answers it with warnings.
pub(super) async fn create(call: &Call, way: Way) -> Result<(Created, Vec<String>), Error> {
    let (holder, fields) = (call.holder()?, &call.request.fields);
    let parent = &holder.token;
    if parent.uses.is_some() {
        return Err(Error::invalid("restricted use token cannot generate child tokens"));
    }
    if parent.batch {
        return Err(Error::invalid("batch tokens cannot create more tokens"));
    }
    let role = match &way {
        Way::Role(role) => Some(role.as_ref()),
        Way::Plain | Way::Orphan => None,
    };
    let batch = is_wanted_as_batch(fields, role)?;
    let policies = policies(call, role)?;
    let root = policies.iter().any(|policy| policy == ROOT);
    if root && !parent.is_root() {
        return Err(Error::invalid("root tokens may not be created without parent token being root"));
    }
    let orphan = match &way {
        Way::Orphan => true,
        Way::Role(role) => role.orphan,
        Way::Plain if fields.bool("no_parent") == Some(true) => {
            need_sudo(call, "root or sudo privileges required to create orphan token")?;
            true
        }
        Way::Plain => false,
    };
    let entity_id = match alias_asked_for(call, role).await? {
        Some(entity) => entity,
        // An orphan is nobody's, and the entities of another namespace are unknown there.
        None if orphan || parent.namespace != call.namespace().id => String::new(),
        None => parent.entity_id.clone(),
    };
    let mut warnings = call.open.policies.missing(call.namespace(), &policies).await?;
    let num_uses = u64::try_from(fields.int("num_uses").unwrap_or(0))
        .map_err(|_| Error::invalid("number of uses cannot be negative"))?;
    let new = NewToken {
        id: chosen_id(call)?,
        parent: (!orphan && !holder.hash.is_empty()).then(|| holder.hash.clone()),
        num_uses: match role.map_or(0, |role| role.token_num_uses) {
            0 => num_uses,
            most if num_uses == 0 => most,
            most => num_uses.min(most),
        },
        path: match role {
            Some(role) if !role.path_suffix.is_empty() => format!("{}/{}", call.full_path(), role.path_suffix),
            _ => call.full_path(),
        },
        metadata: fields.string_map("meta").filter(|meta| !meta.is_empty()),
        display_name: display_name(fields),
        renewable: fields.bool("renewable").unwrap_or(true) && role.is_none_or(|role| role.renewable),
        bound_cidrs: match role {
            Some(role) if !role.token_bound_cidrs.is_empty() => role.token_bound_cidrs.clone(),
            _ => parent.bound_cidrs.clone(),
        },
        entity_id,
        role: role.map_or_else(String::new, |role| role.name.clone()),
        mount: call.request.mount.uuid.clone(),
        batch,
        policies,
        ..NewToken::of(call.request.mount.namespace.clone())
    };
    let new = with_lifetime(call, role, new, root, &mut warnings)?;
    let created = call.open.tokens.create(new).await?;
    Ok((created, warnings))
}

/// The entity of `entity_alias`, an alias at the token mount itself; found or made, if the role allows it.
async fn alias_asked_for(call: &Call, role: Option<&Role>) -> Result<Option<String>, Error> {
    let alias = call.request.fields.string("entity_alias").unwrap_or_default().trim();
    if alias.is_empty() {
        return Ok(None);
    }
    let Some(role) = role else {
        return Err(Error::invalid("'entity_alias' is only allowed in combination with token role"));
    };
    if !role.allows_alias(alias) {
        return Err(Error::invalid("invalid 'entity_alias' value"));
    }
    let mount = &call.request.mount;
    let identity = call.open.identity(&mount.namespace.id).ok_or_else(Error::denied)?;
    let login = Login { accessor: &mount.accessor, alias, metadata: &BTreeMap::new(), groups: &[] };
    Ok(Some(identity.login(login).await?))
}

/// The role decides, or with `default-…` its creator; without a role or a word it is a service token.
fn is_wanted_as_batch(fields: &Fields, role: Option<&Role>) -> Result<bool, Error> {
    let asked = match fields.string("type").unwrap_or_default() {
        "" => None,
        "service" => Some(false),
        "batch" => Some(true),
        other => return Err(Error::invalid(format!("invalid 'type' value {other:?}: use service or batch"))),
    };
    let batch = match role.map(|role| role.token_type.as_str()) {
        Some("batch") => true,
        Some("service") => false,
        Some("default-batch") => asked.unwrap_or(true),
        _ => asked.unwrap_or(false),
    };
    let refused = ["explicit_max_ttl", "period"]
        .into_iter()
        .find(|name| batch && fields.duration(name).is_some_and(|duration| !duration.is_zero()));
    match refused {
        Some(name) => Err(Error::invalid(format!("batch tokens cannot have {name:?} set"))),
        None => Ok(batch),
    }
}

/// Wanted policies, or those of the role or the parent, within what these allow.
fn policies(call: &Call, role: Option<&Role>) -> Result<Vec<String>, Error> {
    let (parent, fields) = (&call.holder()?.token, &call.request.fields);
    let asked_for = PolicyName::list(fields.list("policies").unwrap_or_default());
    let mut wanted: Vec<String> = asked_for.iter().map(|name| name.as_str().to_owned()).collect();
    let asked = !wanted.is_empty();
    if !asked {
        wanted = match role {
            Some(role) if role.limits_policies() => role.allowed_policies.clone(),
            _ => parent.policies.clone(),
        };
    }
    if let Some(role) = role
        && let Some(forbidden) = wanted.iter().find(|policy| !role.allows(policy))
    {
        // What was inherited and not asked for is left out silently.
        if asked {
            return Err(Error::invalid(match role.forbids(forbidden) {
                true => format!("token policy {forbidden:?} is disallowed by this role"),
                false => format!(
                    "token policies ({wanted:?}) must be subset of the role's allowed policies ({:?})",
                    role.allowed_policies
                ),
            }));
        }
        wanted.retain(|policy| role.allows(policy));
    }
    // The same name in another namespace is another policy, so nothing of the parent's is inherited from there.
    let foreign = parent.namespace != call.namespace().id;
    if foreign && !asked && role.is_none() && !parent.is_root() {
        wanted.clear();
    }
    // A role that names no policies, allowed or not, widens nothing.
    let free = call.sudo || parent.is_root() || role.is_some_and(Role::names_policies);
    if !free && wanted.iter().any(|policy| foreign || !parent.policies.contains(policy)) {
        return Err(Error::invalid("child policies must be subset of parent"));
    }
    if wanted.iter().any(|policy| policy == ROOT) {
        return Ok(vec![ROOT.to_owned()]);
    }
    let inherits = role.is_some() || call.sudo || parent.is_root() || parent.policies.iter().any(|own| own == DEFAULT);
    let unwanted = fields.bool("no_default_policy") == Some(true)
        || role.is_some_and(|role| role.token_no_default_policy || role.forbids(DEFAULT));
    if inherits && !unwanted && !wanted.iter().any(|policy| policy == DEFAULT) {
        wanted.push(DEFAULT.to_owned());
    } else if unwanted && !asked {
        wanted.retain(|policy| policy != DEFAULT);
    }
    Ok(wanted)
}

fn with_lifetime(
    call: &Call,
    role: Option<&Role>,
    mut new: NewToken,
    root: bool,
    warnings: &mut Vec<String>,
) -> Result<NewToken, Error> {
    let (parent, fields, mount) = (&call.holder()?.token, &call.request.fields, &call.request.mount);
    let wanted = fields.duration("ttl").or_else(|| fields.duration("lease")).filter(|ttl| !ttl.is_zero());
    let period = fields.duration("period").filter(|period| !period.is_zero());
    if period.is_some() && role.is_none_or(|role| role.token_period == 0) {
        need_sudo(call, "root or sudo privileges required to create periodic token")?;
    }
    let role_period = role.map_or(0, |role| role.token_period);
    new.period = if role_period > 0 { role_period } else { period.map_or(0, |period| period.as_secs()) };
    let explicit = fields.duration("explicit_max_ttl").unwrap_or_default().as_secs();
    new.explicit_max_ttl = match role.map_or(0, |role| role.token_explicit_max_ttl) {
        0 => explicit,
        most if explicit == 0 => most,
        most => explicit.min(most),
    };
    if root && wanted.is_none() && new.period == 0 {
        if parent.expires.is_some() {
            return Err(Error::invalid("expiring root tokens cannot create non-expiring root tokens"));
        }
        return Ok(new);
    }
    new.ttl = Some(first_ttl(mount, wanted, &new, warnings));
    Ok(new)
}

fn first_ttl(mount: &MountInfo, wanted: Option<Duration>, new: &NewToken, warnings: &mut Vec<String>) -> Duration {
    let lifetime = Lifetime {
        wanted,
        default: mount.default_ttl,
        mount_max: mount.max_ttl,
        period: Some(Duration::from_secs(new.period)),
        explicit_max: Some(Duration::from_secs(new.explicit_max_ttl)),
        ..Lifetime::default()
    };
    lifetime.ttl().map_or(mount.default_ttl, |capped| {
        warnings.extend(capped.warnings);
        capped.ttl
    })
}

fn chosen_id(call: &Call) -> Result<Option<SecretString>, Error> {
    let Some(id) = call.request.fields.string("id").filter(|id| !id.is_empty()) else { return Ok(None) };
    need_sudo(call, "root or sudo privileges required to specify token id")?;
    if id.contains('.') || id.starts_with("hvs") || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::invalid(
            "custom token ID cannot have the 'hvs.', 's.' or 'b.' prefix, a dot or white space",
        ));
    }
    Ok(Some(SecretString::new(id)))
}

fn need_sudo(call: &Call, text: &str) -> Result<(), Error> {
    if call.sudo || call.holder()?.token.is_root() { Ok(()) } else { Err(Error::invalid(text)) }
}

/// `token`, or `token-<name>` with anything but letters, digits and dashes replaced.
fn display_name(fields: &Fields) -> String {
    let Some(name) = fields.string("display_name").filter(|name| !name.is_empty()) else { return "token".to_owned() };
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("token-{}", name.trim_end_matches('-'))
}
