//! What Vault's API has that is not served, and what is served in another way. Kept by hand; a test holds that nothing
//! stands here that is served after all.

/// Paths of Vault and OpenBao that are not served, and why.
pub const NOT_SERVED: &[(&[&str], &str)] = &[
    (&["sys/license/status", "sys/license/*"], "there is no licence"),
    (&["sys/managed-keys/:type/:name"], "Vault Enterprise; the seals keep keys outside"),
    (&["sys/sync/*"], "Vault Enterprise; the operator writes Kubernetes Secrets instead (SecretEngine targets)"),
    (&["sys/policies/rgp/:name", "sys/policies/egp/:name"], "Vault Enterprise (Sentinel)"),
    (
        &["sys/control-group/authorize", "sys/control-group/request"],
        "Vault Enterprise and OpenBao; no approvals by several people yet",
    ),
    (&["sys/mfa/*", "identity/mfa/*"], "login MFA comes later"),
    (
        &["identity/oidc/provider/*", "identity/oidc/client/*", "identity/oidc/scope/*", "identity/oidc/assignment/*"],
        "the OIDC provider comes later",
    ),
    (
        &["sys/replication/dr/*", "sys/replication/performance/*"],
        "Vault Enterprise; replicas share one store. The status is answered",
    ),
    (
        &["sys/storage/raft/join", "sys/storage/raft/remove-peer", "sys/storage/raft/autopilot/*"],
        "there is no raft: etcd has its members",
    ),
    (
        &["sys/storage/raft/snapshot-auto/*"],
        "Vault Enterprise; run `holdfast operator raft snapshot save` on a schedule",
    ),
    (&["sys/pprof/*"], "profiles hold memory, and with it secrets"),
    (
        &["sys/config/group-policy-application", "sys/seal-backend-status", "sys/config/ui/custom-messages/*"],
        "Vault Enterprise",
    ),
    (&["sys/internal/inspect/*"], "the router is shown by sys/mounts, the rest by sys/raw when it is on"),
    (&["sys/internal/counters/activity/*", "sys/internal/counters/config"], "no client counting: nothing is billed"),
    (
        &["sys/plugins/pins/*", "sys/plugins/runtimes/catalog/*", "sys/plugins/reload/:type/:name"],
        "plug-ins are compiled in",
    ),
    (&["sys/experiments", "sys/config/state/feature-flags"], "there are no experiments"),
    (
        &[
            "auth/aws",
            "auth/azure",
            "auth/gcp",
            "auth/oci",
            "auth/alicloud",
            "auth/cf",
            "auth/github",
            "auth/okta",
            "auth/radius",
            "auth/kerberos",
            "auth/ldap",
            "auth/saml",
        ],
        "methods that come later, or never: what is mounted is above",
    ),
    (
        &[
            "transit",
            "pki",
            "ssh",
            "totp",
            "aws",
            "azure",
            "gcp",
            "consul",
            "nomad",
            "rabbitmq",
            "kubernetes",
            "ldap",
            "terraform",
            "transform",
            "kmip",
            "keymgmt",
        ],
        "engines that come later, or never: what can be mounted is above",
    ),
];

/// Shares of keys without a token.
const DOORS: &str = "needs a token, as in OpenBao, unless the listener has `disable_unauthed_rekey_endpoints = false`";
const DOORS_OF_ROOT: &str =
    "needs a token, as in OpenBao, unless the listener has `disable_unauthed_generate_root_endpoints = false`";

/// Logins through a browser.
const BROWSER: &str = "always refused: logins through a browser come later";

/// What differs, by type of mount and pattern of the row.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("system", "plugins/catalog/:type/:name", "plug-ins are compiled in; a registration is refused"),
    ("system", "plugins/reload/backend", "accepted; there is nothing to reload"),
    ("system", "config/ui/headers/:header", "kept and shown; there is no user interface to send them with"),
    ("system", "config/reload/:subsystem", "`all` does what SIGHUP does"),
    (
        "system",
        "quotas/lease-count/:name",
        "in every edition; leases of secrets are counted exactly over all replicas, tokens are not counted; no `role`",
    ),
    (
        "system",
        "quotas/rate-limit/:name",
        "a quota with a role counts beside the one of the path; `group_by` is `ip` or `none`; an IPv6 client is its /64",
    ),
    ("system", "step-down", "every replica serves: answered, nothing happens"),
    ("system", "leader", "each replica says that it leads"),
    (
        "system",
        "metrics",
        "names of Vault where there is a like of what they measure; `barrier.get` has the time of what memory did not answer; `route` is told of the 1000 busiest; buckets are in the Prometheus format only",
    ),
    ("system", "host-info", "no disks"),
    ("system", "monitor", "what the server's own modules say, not what libraries do"),
    ("system", "internal/counters/:what", "`requests` is an empty list, `activity` always 204: nothing is billed"),
    ("system", "mounts/*path", "`plugin_version` is not looked at: plug-ins are compiled in"),
    ("system", "auth/*path", "`plugin_version` is not looked at: plug-ins are compiled in"),
    ("system", "rekey/init", DOORS),
    ("system", "rekey/update", DOORS),
    ("system", "rekey/verify", DOORS),
    ("system", "rekey-recovery-key/init", DOORS),
    ("system", "rekey-recovery-key/update", DOORS),
    ("system", "rekey-recovery-key/verify", DOORS),
    ("system", "generate-root/attempt", DOORS_OF_ROOT),
    ("system", "generate-root/update", DOORS_OF_ROOT),
    ("jwt", "oidc/auth_url", BROWSER),
    ("jwt", "oidc/callback", BROWSER),
    ("jwt", "oidc/poll", BROWSER),
    ("oidc", "oidc/auth_url", BROWSER),
    ("oidc", "oidc/callback", BROWSER),
    ("oidc", "oidc/poll", BROWSER),
    ("system", "version-history", "versions of Holdfast"),
    ("system", "fsck", "Holdfast's own: reads and decrypts everything"),
];

/// What differs on the wire.
pub const WIRE: &[&str] = &[
    "`X-Vault-Wrap-Format: jwt` is not looked at: wrapping tokens are ordinary ones.",
    "`X-Vault-Policy-Override`, `X-Vault-Forward`, `X-Vault-Index` and `X-Vault-Inconsistent` are not looked at: every replica reads its own writes.",
    "`X-Vault-Inline-Auth-*` (OpenBao) is not served.",
    "A body may nest 64 deep and have 100000 values (`max_json_depth`, `max_json_values`), without a token 1 MiB and 1000 values (`max_anonymous_request_size`, `max_anonymous_json_values`); a path may be 1024 bytes long (414).",
    "When all bodies together take 112 MiB, more of them are a 503 with `Retry-After`.",
    "`pagination_limit` and `expiration` (OpenBao) of stanzas count; of two limits for one path the smaller.",
    "A policy with `mfa_methods`, `control_group` or `list_scan_response_keys_filter_path` in a stanza, or with the capability `recover`, is refused when it is written: each narrows what the stanza grants, and what is not served must not be dropped.",
    "`after` and `limit` (OpenBao) page through every list.",
];

/// How a row differs from Vault's.
pub fn difference(kind: &str, pattern: &str) -> Option<&'static str> {
    let found = DIFFERENCES.iter().find(|(of, row, _)| *of == kind && *row == pattern);
    found.map(|(_, _, how)| *how)
}

/// The rows that [`difference`] knows: type and pattern.
pub fn differing() -> impl Iterator<Item = (&'static str, &'static str)> {
    DIFFERENCES.iter().map(|(kind, pattern, _)| (*kind, *pattern))
}
