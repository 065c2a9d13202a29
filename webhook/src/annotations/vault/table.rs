//! The complete table of `vault.hashicorp.com/*` (vault-k8s 1.7), and what becomes of each key here.

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// As documented there. The name in our own vocabulary, by which a profile allows and denies it.
    Works(&'static str),
    /// Nothing to do here, and why: a note.
    Moot(&'static str),
    /// Not to be said by a pod, and why: no effect, or a denial where the profile is strict.
    Refused(&'static str),
    /// The pod cannot get what it asks for: a denial.
    Unsupported(&'static str),
}
use Effect::{Moot, Refused, Unsupported, Works};

/// Keys of a pod.
pub(super) const KEYS: &[(&str, Effect)] = &[
    ("agent-auto-auth-exit-on-err", Moot("the agent ends with a reason when its first login fails")),
    ("agent-cache-enable", Works("proxy")),
    ("agent-cache-exit-on-err", Moot("there is no cache to restore")),
    ("agent-cache-listener-port", Works("proxy")),
    ("agent-cache-use-auto-auth-token", Works("proxy-token")),
    (
        "agent-configmap",
        Unsupported(
            "a configuration of one's own is not supported; say what it renders by agent-inject-secret-NAME and \
             agent-inject-template-NAME",
        ),
    ),
    ("agent-copy-volume-mounts", Works("copy-mounts")),
    ("agent-disable-idle-connections", Moot("the agent keeps one connection")),
    ("agent-disable-keep-alives", Moot("the agent keeps one connection")),
    ("agent-enable-quit", Works("quit")),
    ("agent-extra-secret", Works("extra-secret")),
    ("agent-image", Refused("the cluster's administrator chooses the image")),
    ("agent-init-first", Works("order")),
    ("agent-init-json-patch", Refused("a patch could add any privilege")),
    ("agent-inject", Works("inject")),
    ("agent-inject-containers", Works("containers")),
    ("agent-inject-default-template", Works("format")),
    ("agent-inject-status", Works("inject")),
    ("agent-inject-token", Works("token")),
    ("agent-json-patch", Refused("a patch could add any privilege")),
    ("agent-limits-cpu", Works("resources")),
    ("agent-limits-ephemeral", Works("resources")),
    ("agent-limits-mem", Works("resources")),
    ("agent-pre-populate", Works("wait")),
    ("agent-pre-populate-only", Works("mode")),
    ("agent-request-namespace", Works("inject")),
    ("agent-requests-cpu", Works("resources")),
    ("agent-requests-ephemeral", Works("resources")),
    ("agent-requests-mem", Works("resources")),
    ("agent-revoke-grace", Moot("a native sidecar ends after the application")),
    ("agent-revoke-on-shutdown", Works("revoke-on-exit")),
    ("agent-run-as-group", Works("run-as-group")),
    ("agent-run-as-same-user", Works("run-as-same-user")),
    ("agent-run-as-user", Works("run-as-user")),
    ("agent-service-account-token-volume-name", Moot("the agent has a token of its own with audience holdfast")),
    ("agent-set-security-context", Works("inject")),
    ("agent-share-process-namespace", Works("share-process-namespace")),
    ("auth-max-backoff", Moot("the agent's waits grow to half a minute and are random")),
    ("auth-min-backoff", Moot("the agent's waits grow to half a minute and are random")),
    ("auth-path", Works("auth-path")),
    ("auth-type", Works("auth-type")),
    ("ca-cert", Moot("the webhook delivers the server's CA")),
    ("ca-key", Moot("the webhook delivers the server's CA")),
    ("client-cert", Moot("the agent logs in with the pod's token")),
    ("client-key", Moot("the agent logs in with the pod's token")),
    ("client-max-retries", Moot("the agent tries again until init-timeout, and while it runs for ever")),
    ("client-timeout", Works("client-timeout")),
    ("go-max-procs", Moot("the agent has one thread")),
    ("log-format", Works("log-format")),
    ("log-level", Works("log-level")),
    ("namespace", Works("namespace")),
    ("preserve-secret-case", Works("file")),
    ("proxy-address", Refused("the agent speaks to the server directly")),
    ("role", Works("role")),
    ("secret-volume-path", Works("mount-path")),
    ("service", Works("server")),
    (
        "template-config-exit-on-retry-failure",
        Moot("the agent ends with a reason in init, and keeps what it has later"),
    ),
    ("template-lease-renewal-threshold", Moot("leases are renewed at two thirds")),
    ("template-max-connections-per-host", Moot("the agent keeps one connection")),
    ("template-static-secret-render-interval", Works("refresh")),
    ("tls-secret", Moot("the webhook delivers the server's CA")),
    ("tls-server-name", Refused("it belongs to a server of the administrator's list")),
    ("tls-skip-verify", Refused("the agent always checks the server's certificate")),
];

/// Keys that are followed by the name of a secret. Longer ones first where one begins another.
pub(super) const NAMED: &[(&str, Effect)] = &[
    ("agent-inject-template-file-", Works("template-file")),
    ("agent-inject-command-", Works("on-change")),
    ("agent-inject-file-", Works("file")),
    ("agent-inject-perms-", Works("mode")),
    ("agent-inject-secret-", Works("secret")),
    ("agent-inject-template-", Works("template")),
    ("agent-template-left-delim-", Works("delimiters")),
    ("agent-template-right-delim-", Works("delimiters")),
    ("error-on-missing-key-", Works("error-on-missing-key")),
    ("preserve-secret-case-", Works("file")),
    ("secret-volume-path-", Works("mount-path")),
];

/// Keys that are followed by the name of a parameter.
pub(super) const PREFIXES: &[(&str, Effect)] =
    &[("agent-telemetry-", Moot("the agent has no telemetry to configure")), ("auth-config-", Works("auth-config"))];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_migration_guide() {
        let guide = include_str!("../../../../docs/how-to/migrate-from-vault-k8s.md");
        let exact = KEYS.iter().map(|(key, _)| (*key).to_owned());
        let named = NAMED.iter().map(|(stem, _)| format!("{stem}NAME"));
        for key in exact.chain(named).chain(PREFIXES.iter().map(|(prefix, _)| format!("{prefix}PARAM"))) {
            let short = key.rsplit_once('-').map_or_else(String::new, |(_, end)| format!("`-{end}`"));
            let written = guide.contains(&format!("`{key}`"))
                || (key.starts_with("agent-limits-") || key.starts_with("agent-requests-")) && guide.contains(&short);
            assert!(written, "{key} is not in the guide");
        }
    }
}
