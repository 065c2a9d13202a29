use serde_json::{Value, json};

use crate::mutated;

fn pod(annotations: &Value, spec: &Value) -> Value {
    let mut pod = json!({
        "metadata": { "annotations": annotations },
        "spec": { "containers": [{ "name": "app", "image": "a" }] },
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

#[test]
fn wrong_values_are_denied_with_annotation_and_fix() {
    let own = |key: &str, value: &str| {
        let mut annotations = json!({ "holdfast.dev/inject": "true", "holdfast.dev/secret.db": "database/creds/ro" });
        annotations[format!("holdfast.dev/{key}")] = json!(value);
        annotations
    };
    let vault = |key: &str, value: &str| {
        let mut annotations = json!({
            "vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-secret-db": "database/creds/ro",
        });
        annotations[format!("vault.hashicorp.com/{key}")] = json!(value);
        annotations
    };
    let mut both_templates = own("template-file.db", "/x.tmpl");
    both_templates["holdfast.dev/format.db"] = json!("json");
    let mut same_port = own("metrics-port", "9442");
    same_port["holdfast.dev/proxy"] = json!("9442");
    let none = json!({});
    let on_the_node = json!({ "hostNetwork": true });
    let taken = json!({ "containers": [{ "name": "app", "image": "a", "ports": [{ "containerPort": 8200 }] }] });
    let cases = [
        (own("inject", "Yes!"), &none, "annotation holdfast.dev/inject: \"Yes!\" is neither"),
        (own("inject", "yes"), &none, "annotation holdfast.dev/inject: there is no profile \"yes\" for namespace shop"),
        (own("image", "mine:1"), &none, "annotation holdfast.dev/image: profile \"default\" does not let"),
        (
            own("server", "https://evil.example"),
            &none,
            "annotation holdfast.dev/server: \"https://evil.example\" is none",
        ),
        (own("order", "before=no"), &none, "annotation holdfast.dev/order: there is no init container \"no\""),
        (own("init-containers", "no"), &none, "annotation holdfast.dev/init-containers: there is no container \"no\""),
        (own("copy-mounts", "no"), &none, "annotation holdfast.dev/copy-mounts: there is no container \"no\""),
        (
            own("run-as-same-user", "true"),
            &none,
            "annotation holdfast.dev/run-as-same-user: the first container has no",
        ),
        (own("format.db", "raw:"), &none, "annotation holdfast.dev/format.db: \"raw:\": use lines"),
        (own("mode", "native2"), &none, "annotation holdfast.dev/mode: \"native2\": use sidecar, init or auto"),
        (own("mode.db", "0999"), &none, "annotation holdfast.dev/mode.db: \"0999\" is no octal mode"),
        (own("file.db", "../../etc/passwd"), &none, "annotation holdfast.dev/file.db:"),
        (own("mount-path", "secrets"), &none, "annotation holdfast.dev/mount-path:"),
        (own("refresh", "often"), &none, "annotation holdfast.dev/refresh:"),
        (own("refresh", "1ms"), &none, "annotation holdfast.dev/refresh:"),
        (own("secret.db", "credential/"), &none, "annotation holdfast.dev/secret.db:"),
        (
            own("containers", "web"),
            &none,
            "annotation holdfast.dev/containers: there is no container \"web\"; the pod has app",
        ),
        (
            own("template.db", "\n{{ .username"),
            &none,
            "annotation holdfast.dev/template.db: template line 2: unclosed action",
        ),
        (own("on-change.db", "exec:rm"), &none, "annotation holdfast.dev/on-change.db: \"exec:rm\": use signal:"),
        (
            own("on-change.db", "signal:app:HUP"),
            &none,
            "annotation holdfast.dev/on-change.db: only the same user may send",
        ),
        (own("resources", "cpu=1"), &none, "annotation holdfast.dev/resources:"),
        (own("log-level", "loud"), &none, "annotation holdfast.dev/log-level:"),
        (
            own("template-file.db", "x.tmpl"),
            &none,
            "annotation holdfast.dev/template-file.db: \"x.tmpl\" is no absolute",
        ),
        (both_templates, &none, "annotation holdfast.dev/template-file.db: holdfast.dev/format.db is there too"),
        (
            own("auth-type", "aws"),
            &none,
            "annotation holdfast.dev/auth-type: auth-config: method \"aws\" type: \"aws\" is not",
        ),
        (
            own("auth-type", "approle"),
            &none,
            "annotation holdfast.dev/auth-type: auth-config: method \"approle\" config role_id",
        ),
        (own("auth-config", "path"), &none, "annotation holdfast.dev/auth-config: \"path\": use path="),
        (vault("auth-type", "token_file"), &none, "annotation vault.hashicorp.com/auth-type: auth-config: method"),
        (own("proxy", "80"), &none, "annotation holdfast.dev/proxy: \"80\" is no port from 1024 to 65535"),
        (own("proxy", "yes"), &none, "annotation holdfast.dev/proxy: \"yes\": use a port"),
        (own("proxy-token", "force"), &none, "annotation holdfast.dev/proxy-token: \"force\": use missing, always"),
        (own("proxy", "8200"), &on_the_node, "annotation holdfast.dev/proxy: the pod has hostNetwork"),
        (
            vault("agent-enable-quit", "true"),
            &on_the_node,
            "annotation vault.hashicorp.com/agent-enable-quit: the pod has",
        ),
        (
            vault("agent-cache-enable", "true"),
            &taken,
            "annotation vault.hashicorp.com/agent-cache-enable: container \"app\" has port 8200 already",
        ),
        (own("metrics-port", "80"), &none, "annotation holdfast.dev/metrics-port: \"80\" is no port from 1024"),
        (own("metrics-port", "8200"), &taken, "annotation holdfast.dev/metrics-port: container \"app\" has port 8200"),
        (own("metrics-port", "9442"), &on_the_node, "annotation holdfast.dev/metrics-port: the pod has hostNetwork"),
        (same_port, &none, "annotation holdfast.dev/metrics-port: 9442 is the port of holdfast.dev/proxy already"),
        (own("run-as-user", "root"), &none, "annotation holdfast.dev/run-as-user:"),
        (
            vault("agent-inject-default-template", "yaml"),
            &none,
            "annotation vault.hashicorp.com/agent-inject-default-template:",
        ),
        (vault("agent-inject-perms-db", "rw"), &none, "annotation vault.hashicorp.com/agent-inject-perms-db:"),
        (vault("agent-configmap", "mine"), &none, "annotation vault.hashicorp.com/agent-configmap:"),
        (
            vault("agent-inject-template-file-db", "t"),
            &none,
            "annotation vault.hashicorp.com/agent-inject-template-file-db: \"t\" is no absolute",
        ),
        (vault("agent-limits-mem", "much"), &none, "annotation vault.hashicorp.com/agent-limits-mem:"),
        (
            vault("agent-inject-template-db", "{{ nosuch }}"),
            &none,
            "annotation vault.hashicorp.com/agent-inject-template-db:",
        ),
    ];
    for (annotations, spec, start) in cases {
        let error = mutated(&pod(&annotations, spec)).unwrap_err();
        assert!(error.starts_with(start), "{error}\n  instead of {start}");
    }
}

#[test]
fn what_cannot_work_in_this_pod_is_denied() {
    let signal = json!({
        "holdfast.dev/inject": "true", "holdfast.dev/secret.db": "database/creds/ro",
        "holdfast.dev/on-change.db": "signal:app:HUP", "holdfast.dev/run-as-user": "1000",
    });
    let error = mutated(&pod(&signal, &json!({ "shareProcessNamespace": false }))).unwrap_err();
    assert!(error.contains("shareProcessNamespace"), "{error}");
    let plain = json!({ "holdfast.dev/inject": "true", "holdfast.dev/secret.db": "database/creds/ro" });
    let mounts =
        json!([{ "name": "app", "image": "a", "volumeMounts": [{ "name": "x", "mountPath": "/holdfast/secrets/" }] }]);
    let error = mutated(&pod(&plain, &json!({ "containers": mounts }))).unwrap_err();
    assert!(error.starts_with("annotation holdfast.dev/mount-path: container app mounts something"), "{error}");
    let error = mutated(&pod(&plain, &json!({ "volumes": [{ "name": "holdfast-secrets" }] }))).unwrap_err();
    assert!(error.contains("volume \"holdfast-secrets\""), "{error}");
    let error = mutated(&pod(&plain, &json!({ "os": { "name": "windows" } }))).unwrap_err();
    assert!(error.contains("Windows"), "{error}");
    let big = json!({ "holdfast.dev/inject": "true", "holdfast.dev/template.a": "x".repeat(130_000) });
    let error = mutated(&pod(&big, &json!({}))).unwrap_err();
    assert!(error.contains("at most"), "{error}");
}
