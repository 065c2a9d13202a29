//! Policies that every server has.

/// Name of the policy that may do everything. It has no text, cannot be changed and stands alone.
pub const ROOT: &str = "root";
/// Name of the policy that every token gets unless told otherwise. May be changed, not deleted.
pub const DEFAULT: &str = "default";
/// Name of the policy of wrapping tokens. Cannot be changed.
pub const RESPONSE_WRAPPING: &str = "response-wrapping";

/// May this policy be neither written nor deleted?
pub fn is_immutable(name: &str) -> bool {
    name == ROOT || name == RESPONSE_WRAPPING
}

/// First text of [`DEFAULT`].
pub const DEFAULT_TEXT: &str = r#"# What every token may do. Edit it, or create tokens without it (no_default_policy).

# Its own token.
path "auth/token/lookup-self" {
    capabilities = ["read"]
}
path "auth/token/renew-self" {
    capabilities = ["update"]
}
path "auth/token/revoke-self" {
    capabilities = ["update"]
}

# What it may do elsewhere.
path "sys/capabilities-self" {
    capabilities = ["update"]
}
path "sys/policies/explain-self" {
    capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
    capabilities = ["read"]
}
path "sys/internal/ui/mounts" {
    capabilities = ["read"]
}
path "sys/internal/ui/mounts/*" {
    capabilities = ["read"]
}

# The entity behind it.
path "identity/entity/id/{{identity.entity.id}}" {
    capabilities = ["read"]
}
path "identity/entity/name/{{identity.entity.name}}" {
    capabilities = ["read"]
}

# Leases whose id it knows; the id is the proof.
path "sys/leases/lookup" {
    capabilities = ["update"]
}
path "sys/leases/renew" {
    capabilities = ["update"]
}
path "sys/renew" {
    capabilities = ["update"]
}

# Its own cubbyhole.
path "cubbyhole/*" {
    capabilities = ["create", "read", "update", "delete", "list"]
}

# Wrapping.
path "sys/wrapping/wrap" {
    capabilities = ["update"]
}
path "sys/wrapping/lookup" {
    capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
    capabilities = ["update"]
}

# Hashes that need no key.
path "sys/tools/hash" {
    capabilities = ["update"]
}
path "sys/tools/hash/*" {
    capabilities = ["update"]
}

# Approval at an OpenID Connect provider.
path "identity/oidc/provider/+/authorize" {
    capabilities = ["read", "update"]
}
"#;

/// Text of [`RESPONSE_WRAPPING`].
pub const RESPONSE_WRAPPING_TEXT: &str = r#"path "cubbyhole/response" {
    capabilities = ["create", "read"]
}
path "sys/wrapping/unwrap" {
    capabilities = ["update"]
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    #[test]
    fn the_built_in_texts_parse() {
        assert!(Policy::parse(DEFAULT, DEFAULT_TEXT).unwrap().stanzas().len() > 10);
        assert_eq!(Policy::parse(RESPONSE_WRAPPING, RESPONSE_WRAPPING_TEXT).unwrap().stanzas().len(), 2);
    }
}
