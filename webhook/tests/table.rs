//! What the migration guide says of each annotation of Vault's injector is what happens: to the pod, or in a word about it.

use serde_json::{Value, json};

use crate::mutated;

const PAGE: &str = include_str!("../../docs/how-to/migrate-from-vault-k8s.md");

/// Rows of the guide.
fn rows() -> impl Iterator<Item = &'static str> {
    let (_, table) = PAGE.split_once("## Annotation by annotation").unwrap();
    table.lines().filter(|line| line.starts_with("| `"))
}

/// Values that ask for something else than what is so anyway. `NAME` is `db`.
const VALUES: &[(&str, &str)] = &[
    ("agent-auto-auth-exit-on-err", "true"),
    ("agent-cache-enable", "true"),
    ("agent-cache-exit-on-err", "true"),
    ("agent-cache-listener-port", "8300"),
    ("agent-cache-use-auto-auth-token", "force"),
    ("agent-configmap", "mine"),
    ("agent-copy-volume-mounts", "app"),
    ("agent-disable-idle-connections", "caching"),
    ("agent-disable-keep-alives", "caching"),
    ("agent-enable-quit", "true"),
    ("agent-extra-secret", "more"),
    ("agent-image", "evil:1"),
    ("agent-init-first", "true"),
    ("agent-init-json-patch", "[{\"op\":\"add\",\"path\":\"/securityContext/privileged\",\"value\":true}]"),
    ("agent-inject", "false"),
    ("agent-inject-command-NAME", "kill -HUP $(pidof nginx)"),
    ("agent-inject-containers", "app"),
    ("agent-inject-default-template", "json"),
    ("agent-inject-file-NAME", "other"),
    ("agent-inject-perms-NAME", "0400"),
    ("agent-inject-secret-NAME", "kv/data/other"),
    ("agent-inject-status", "injected"),
    ("agent-inject-template-NAME", "mine"),
    ("agent-inject-template-file-NAME", "/vault/custom/t"),
    ("agent-inject-token", "true"),
    ("agent-json-patch", "[{\"op\":\"add\",\"path\":\"/securityContext/privileged\",\"value\":true}]"),
    ("agent-limits-cpu", "1"),
    ("agent-limits-ephemeral", "1Mi"),
    ("agent-limits-mem", "1Gi"),
    ("agent-pre-populate", "false"),
    ("agent-pre-populate-only", "true"),
    ("agent-request-namespace", "shop"),
    ("agent-requests-cpu", "1"),
    ("agent-requests-ephemeral", "1Mi"),
    ("agent-requests-mem", "1Gi"),
    ("agent-revoke-grace", "9"),
    ("agent-revoke-on-shutdown", "true"),
    ("agent-run-as-group", "7"),
    ("agent-run-as-same-user", "true"),
    ("agent-run-as-user", "7"),
    ("agent-service-account-token-volume-name", "mine"),
    ("agent-set-security-context", "false"),
    ("agent-share-process-namespace", "true"),
    ("agent-telemetry-PARAM", "x"),
    ("agent-template-left-delim-NAME", "<<"),
    ("agent-template-right-delim-NAME", ">>"),
    ("auth-config-PARAM", "/vault/custom/role"),
    ("auth-max-backoff", "1m"),
    ("auth-min-backoff", "1m"),
    ("auth-path", "auth/other"),
    ("auth-type", "jwt"),
    ("ca-cert", "/ca"),
    ("ca-key", "/ca"),
    ("client-cert", "/c"),
    ("client-key", "/k"),
    ("client-max-retries", "9"),
    ("client-timeout", "9s"),
    ("error-on-missing-key-NAME", "true"),
    ("go-max-procs", "2"),
    ("log-format", "json"),
    ("log-level", "trace"),
    ("namespace", "team"),
    ("preserve-secret-case", "true"),
    ("preserve-secret-case-NAME", "true"),
    ("proxy-address", "http://evil"),
    ("role", "orders"),
    ("secret-volume-path", "/other"),
    ("secret-volume-path-NAME", "/other"),
    ("service", "http://evil"),
    ("template-config-exit-on-retry-failure", "false"),
    ("template-lease-renewal-threshold", "0.5"),
    ("template-max-connections-per-host", "9"),
    ("template-static-secret-render-interval", "9s"),
    ("tls-secret", "mine"),
    ("tls-server-name", "evil"),
    ("tls-skip-verify", "true"),
];

/// What must be said besides for a key to have an effect.
fn beside(key: &str) -> Vec<(&'static str, &'static str)> {
    match key {
        "agent-template-left-delim-NAME" | "agent-template-right-delim-NAME" => {
            vec![("agent-inject-template-Db", "mine")]
        }
        "agent-cache-listener-port" | "agent-cache-use-auto-auth-token" => vec![("agent-cache-enable", "true")],
        "auth-config-PARAM" => vec![
            ("auth-type", "approle"),
            ("auth-config-role-id-file-path", "/vault/custom/x"),
            ("auth-config-secret-id-file-path", "/vault/custom/y"),
        ],
        _ => Vec::new(),
    }
}

fn pod(annotations: &[(&str, &str)]) -> Value {
    let mut all = json!({
        "vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-secret-Db": "kv/data/db",
    });
    for (key, value) in annotations {
        let key = key.replace("NAME", "Db").replace("PARAM", "role-id-file-path");
        all[format!("vault.hashicorp.com/{key}")] = json!(value);
    }
    json!({
        "metadata": { "annotations": all },
        "spec": {
            "containers": [
                { "name": "app", "image": "a", "securityContext": { "runAsUser": 5 },
                  "volumeMounts": [{ "name": "data", "mountPath": "/data" }] },
                { "name": "b", "image": "b" },
            ],
            "initContainers": [{ "name": "first", "image": "c" }],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        },
    })
}

/// What becomes of the pod besides its annotations, and the warnings; or the denial.
fn outcome(annotations: &[(&str, &str)]) -> Result<(Value, Vec<String>), String> {
    let pod = pod(annotations);
    Ok(match mutated(&pod)? {
        None => (pod["spec"].clone(), Vec::new()),
        Some((warnings, patched)) => (patched["spec"].clone(), warnings),
    })
}

/// The second column of the guide for a key.
fn said(key: &str) -> Option<&'static str> {
    let mut cells = rows().map(|row| row.split(" | ").collect::<Vec<_>>());
    let group = key.rsplit_once('-').map_or_else(String::new, |(_, end)| format!("`-{end}`"));
    let stem = key.rsplit_once('-').map_or("", |(stem, _)| stem);
    let written = |first: &str| {
        let short = (key.starts_with("agent-limits-") || key.starts_with("agent-requests-"))
            && first.contains(&format!("`{stem}-"))
            && first.contains(&group);
        first.contains(&format!("`{key}`")) || short
    };
    cells.find(|cells| written(cells[0])).map(|cells| cells[1])
}

#[test]
fn every_row_of_the_guide_is_what_happens() {
    let mut wrong = Vec::new();
    for (key, value) in VALUES {
        let base = outcome(&beside(key)).unwrap();
        let with = outcome(&[beside(key), vec![(*key, *value)]].concat());
        let full = format!("vault.hashicorp.com/{key}").replace("NAME", "Db").replace("PARAM", "role-id-file-path");
        let (what, warned) = match &with {
            Err(error) => ("unsupported", error.contains(&full)),
            Ok((spec, warnings)) => {
                let new: Vec<_> = warnings.iter().filter(|warning| !base.1.contains(warning)).collect();
                let about = |word: &str| new.iter().any(|text| text.starts_with(&format!("{full}: {word}")));
                match (*spec == base.0, about("refused: "), about("has no effect: ")) {
                    (true, true, false) => ("refused", true),
                    (true, false, true) => ("moot", true),
                    (false, false, false) => ("works", true),
                    (true, false, false) if new.is_empty() => ("silent", true),
                    _ => ("mixed", false),
                }
            }
        };
        let want = match *key {
            // Set by Vault's webhook; here there is nothing that it could change.
            "agent-request-namespace" => "silent",
            // Each works for values that a pod may ask for; see below.
            "agent-set-security-context" | "service" => "refused",
            key => said(key).unwrap_or_else(|| panic!("{key} is not in the guide")),
        };
        if what != want || !warned {
            wrong.push(format!("{key}: the guide says {want}, it is {what}: {:?}", with.map(|(_, warnings)| warnings)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_row_of_the_guide_is_left_out() {
    let names = rows().flat_map(|row| row.split(" | ").next().unwrap_or_default().split('`').skip(1).step_by(2));
    let mut seen = 0;
    for name in names.filter(|name| !name.starts_with('-')) {
        assert!(VALUES.iter().any(|(key, _)| *key == name), "{name} has no value to try");
        seen += 1;
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn values_that_ask_for_what_is_so_anyway_are_no_mistakes() {
    let base = outcome(&[]).unwrap();
    for (key, value) in [
        ("agent-set-security-context", "true"),
        ("tls-skip-verify", "false"),
        ("service", "https://holdfast.holdfast.svc:8200"),
        ("agent-image", ""),
    ] {
        assert_eq!(outcome(&[(key, value)]).unwrap(), base, "{key}");
    }
    let both = [("agent-inject-template-Db", "mine"), ("agent-inject-template-file-Db", "/vault/custom/t")];
    let (spec, warnings) = outcome(&both).unwrap();
    assert_eq!(spec, outcome(&both[..1]).unwrap().0, "an inline template goes before a file");
    assert_eq!(
        warnings,
        ["vault.hashicorp.com/agent-inject-template-file-Db: has no effect beside \
          vault.hashicorp.com/agent-inject-template-Db"]
    );
}

#[test]
fn what_our_own_annotations_must_not_say_has_no_effect_and_is_named() {
    let outcome = |key: Option<(&str, &str)>| {
        let mut annotations = json!({ "holdfast.dev/inject": "true", "holdfast.dev/secret.db": "kv/data/db" });
        if let Some((key, value)) = key {
            annotations[format!("holdfast.dev/{key}")] = json!(value);
        }
        let pod = json!({
            "metadata": { "annotations": annotations }, "spec": { "containers": [{ "name": "app", "image": "a" }] },
        });
        let (warnings, patched) = mutated(&pod).unwrap().unwrap();
        (patched["spec"].clone(), warnings)
    };
    let (base, none) = outcome(None);
    assert!(none.is_empty(), "{none:?}");
    for (key, value) in [
        ("tls-skip-verify", "true"),
        ("tls-server-name", "evil"),
        ("json-patch", "[]"),
        ("security-context", "{\"privileged\":true}"),
    ] {
        let (spec, warnings) = outcome(Some((key, value)));
        assert_eq!(spec, base, "{key}");
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(&format!("holdfast.dev/{key}: refused: ")),
            "{warnings:?}"
        );
    }
}
