use holdfast_webhook::{
    annotations::is_key,
    mutate::inject,
    profile::{Document, Namespace, rule},
    review::{self, Outcome, Reviewed},
};
use serde_json::{Value, json};

use crate::{
    located,
    reviews::{Stub, review, rules},
    settings,
};

const DOCUMENT: &str = r#"{
  "servers": {
    "east": {"address": "https://east:8200", "ca": "PEM", "tlsServerName": "east", "authPath": "auth/k8s-east", "namespace": "e"},
    "west": {"address": "https://west:8200"}
  },
  "profiles": {
    "default": {"defaults": {"refresh": "5s", "resources": "limits.memory=32Mi"}, "maxResources": {"limits.memory": "128Mi"}, "servers": ["west"]},
    "locked": {"strict": true, "allow": ["secret", "file", "template"], "server": "east"},
    "open": {"namespaces": ["*"], "images": ["registry.shop/agent:*"]},
    "team": {"namespaces": ["team"], "deny": ["run-as-user"]}
  }
}"#;

/// Settings and plan after the document's word; or why not.
fn ruled(namespace: &[(&str, &str)], annotations: &Value) -> Result<(Value, Vec<String>), String> {
    let pod = json!({
        "metadata": { "annotations": annotations }, "spec": { "containers": [{ "name": "app", "image": "a" }] },
    });
    let (plan, mut findings) = holdfast_webhook::mutate::wanted(&pod).map_err(|error| error.to_string())?.unwrap();
    let annotations = namespace.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let namespace = Namespace { name: "shop".to_owned(), annotations };
    let document = Document::parse(DOCUMENT).unwrap();
    let ruled = rule(&document, &settings(), &namespace, plan, &mut findings).map_err(|error| error.to_string())?;
    let found = json!({
        "server": ruled.settings.server, "ca": ruled.settings.server_ca, "mount": ruled.settings.auth_mount,
        "image": ruled.settings.image, "strict": ruled.strict,
        "refresh": ruled.plan.choices.refresh.map(|refresh| refresh.as_secs()),
        "memory": ruled.plan.choices.resources.get("limits.memory"), "role": ruled.plan.choices.role,
    });
    Ok((found, findings.warnings()))
}

fn own(more: &[(&str, &str)]) -> Value {
    let mut all = json!({ "holdfast.dev/inject": "true", "holdfast.dev/secret.db": "kv/data/db" });
    for (key, value) in more {
        all[format!("holdfast.dev/{key}")] = json!(value);
    }
    all
}

#[test]
fn pod_goes_before_namespace_before_profile() {
    let namespace = [("defaults.holdfast.dev/refresh", "7s"), ("defaults.holdfast.dev/role", "ns"), ("other", "x")];
    let refresh = |namespace: &[_], more: &[_]| ruled(namespace, &own(more)).unwrap().0["refresh"].clone();
    assert_eq!(refresh(&[], &[]), 5);
    assert_eq!(refresh(&namespace, &[]), 7);
    assert_eq!(refresh(&namespace, &[("refresh", "9s")]), 9);
    let vault = json!({
        "vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-secret-a": "kv/data/a",
    });
    let (found, _) = ruled(&namespace, &vault).unwrap();
    assert_eq!((&found["refresh"], &found["role"], &found["memory"]), (&json!(7), &json!("ns"), &json!("32Mi")));
}

#[test]
fn servers_are_the_administrators() {
    let server = |namespace: &[_], more: &[_]| ruled(namespace, &own(more)).map(|(found, _)| found["server"].clone());
    let release = json!("https://holdfast.holdfast.svc:8200");
    assert_eq!(server(&[], &[]).unwrap(), release);
    assert_eq!(server(&[], &[("server", "https://holdfast.holdfast.svc:8200/")]).unwrap(), release);
    assert_eq!(server(&[], &[("server", "west")]).unwrap(), "https://west:8200");
    assert_eq!(server(&[], &[("server", "https://west:8200")]).unwrap(), "https://west:8200");
    let error = server(&[], &[("server", "east")]).unwrap_err();
    assert!(error.contains("\"east\" is none of the servers"), "{error}");
    let east = [("defaults.holdfast.dev/server", "east")];
    let (found, _) = ruled(&east, &own(&[])).unwrap();
    assert_eq!(
        (&found["server"], &found["ca"], &found["mount"]),
        (&json!("https://east:8200"), &json!("PEM\n"), &json!("k8s-east"))
    );

    // An existing pod names its old server, and is sent to ours.
    let vault = json!({
        "vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-secret-a": "kv/data/a",
        "vault.hashicorp.com/service": "http://vault.vault.svc:8200",
    });
    let (found, warnings) = ruled(&[], &vault).unwrap();
    assert_eq!(found["server"], release);
    assert!(warnings[0].starts_with("vault.hashicorp.com/service: refused: only an administrator"), "{warnings:?}");
}

#[test]
fn what_a_profile_does_not_allow_is_denied() {
    let locked = [("holdfast.dev/injection-profile", "locked")];
    assert!(ruled(&locked, &own(&[("file.db", "x")])).is_ok());
    let error = ruled(&locked, &own(&[("role", "x")])).unwrap_err();
    assert_eq!(error, "annotation holdfast.dev/role: profile \"locked\" does not let pods say it; remove it");
    let vault = json!({
        "vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-secret-a": "kv/data/a",
        "vault.hashicorp.com/agent-run-as-user": "7",
    });
    let error = ruled(&locked, &vault).unwrap_err();
    assert!(error.starts_with("annotation vault.hashicorp.com/agent-run-as-user: profile \"locked\""), "{error}");
    let error = ruled(&[], &own(&[("resources", "limits.memory=1Gi")])).unwrap_err();
    assert_eq!(error, "annotation holdfast.dev/resources: limits.memory is at most 128Mi in profile \"default\"");
}

#[test]
fn profiles_are_chosen_where_they_may_be() {
    let inject = |profile: &str, more: &[(&str, &str)]| {
        let mut all = own(more);
        all["holdfast.dev/inject"] = json!(profile);
        all
    };
    let (found, _) = ruled(&[], &inject("open", &[("image", "registry.shop/agent:2")])).unwrap();
    assert_eq!(found["image"], "registry.shop/agent:2");
    let error = ruled(&[], &inject("open", &[("image", "evil/agent:2")])).unwrap_err();
    assert!(error.contains("has no image"), "{error}");
    for profile in ["team", "locked", "nothing"] {
        let error = ruled(&[], &inject(profile, &[])).unwrap_err();
        assert!(error.contains(&format!("there is no profile {profile:?} for namespace shop")), "{error}");
    }
    // The namespace's profile cannot be left.
    let locked = [("holdfast.dev/injection-profile", "locked")];
    let error = ruled(&locked, &inject("open", &[])).unwrap_err();
    assert!(error.contains("namespace shop has the profile \"locked\""), "{error}");
    assert!(ruled(&locked, &inject("locked", &[])).is_ok());
    let error = ruled(&[("holdfast.dev/injection-profile", "nope")], &own(&[])).unwrap_err();
    assert!(error.contains("there is no profile \"nope\""), "{error}");
    let error = ruled(&[("defaults.holdfast.dev/refersh", "1s")], &own(&[])).unwrap_err();
    assert!(error.contains("of namespace shop") && error.contains("did you mean refresh?"), "{error}");
}

#[test]
fn documents_that_make_no_sense_are_refused() {
    for (text, reason) in [
        ("{", "EOF"),
        (r#"{"profile": {}}"#, "unknown field `profile`"),
        (r#"{"profiles": {"a": {"allow": ["rolle"]}}}"#, "profiles.a.allow: there is no annotation \"rolle\""),
        (r#"{"profiles": {"a": {"server": "x"}}}"#, "profiles.a.servers: there is no server \"x\""),
        (r#"{"profiles": {"a": {"defaults": {"refresh": "often"}}}}"#, "profiles.a.defaults.refresh"),
        (r#"{"profiles": {"a": {"defaults": {"secret.x": "p"}}}}"#, "there is no such default"),
        (r#"{"profiles": {"a": {"maxResources": {"limits.memory": "x"}}}}"#, "profiles.a.maxResources.limits.memory"),
        (r#"{"servers": {"a": {"address": "east:8200"}}}"#, "servers.a.address"),
    ] {
        let error = Document::parse(text).unwrap_err();
        assert!(error.contains(reason), "{error}\n  instead of {reason}");
    }
    assert!(is_key("secret") && is_key("role") && !is_key("tls-skip-verify"));
}

#[tokio::test]
async fn a_strict_profile_turns_mistakes_into_denials() {
    let body = review("CREATE", own(&[("tempalte.db", "x"), ("tls-skip-verify", "true")]));
    let strict = r#"{"profiles": {"default": {"strict": true}}}"#;
    let Reviewed { answer, outcome, .. } = review::answer(&body, &rules(strict), &Stub::default()).await.unwrap();
    assert_eq!(outcome, Outcome::Denied);
    assert_eq!(
        answer["response"]["status"]["message"],
        "holdfast: holdfast.dev/tempalte.db: unknown annotation; did you mean holdfast.dev/template.db? (and 1 more); \
         the profile is strict"
    );
    let Reviewed { answer, outcome, .. } = review::answer(&body, &rules("{}"), &Stub::default()).await.unwrap();
    assert_eq!((outcome, answer["response"]["warnings"].as_array().unwrap().len()), (Outcome::Injected, 2));
    let pinned = Stub(vec![("holdfast.dev/injection-profile", "team")]);
    let team = r#"{"profiles": {"team": {"strict": true}}}"#;
    let Reviewed { outcome, .. } = review::answer(&body, &rules(team), &pinned).await.unwrap();
    assert_eq!(outcome, Outcome::Denied);
}

#[test]
fn a_default_port_of_metrics_is_not_forced_on_pods_that_it_does_not_fit() {
    let document = json!({ "profiles": { "default": { "defaults": { "metrics-port": "9442" } } } });
    let document = Document::parse(&document.to_string()).unwrap();
    let injected = |spec: Value| {
        let pod = json!({ "metadata": { "annotations": own(&[]) }, "spec": spec });
        let (plan, mut findings) = holdfast_webhook::mutate::wanted(&pod).unwrap().unwrap();
        let ruled = rule(&document, &settings(), &Namespace::default(), plan, &mut findings).unwrap();
        let injection = inject(&pod, &ruled.plan, &located(), &ruled.settings).unwrap();
        let patch = serde_json::to_string(&injection.patch).unwrap();
        (patch.contains("agent-metrics"), injection.findings.warnings())
    };
    let containers = json!([{ "name": "app", "image": "a" }]);
    assert_eq!(injected(json!({ "containers": containers })), (true, Vec::new()));
    let (metrics, warnings) = injected(json!({ "containers": containers, "hostNetwork": true }));
    assert!(!metrics && warnings[0].starts_with("no metrics of the agent: the pod has hostNetwork"), "{warnings:?}");
}

#[test]
fn a_default_format_is_for_what_nobody_says_the_looks_of() {
    let templates = |format: &str, annotations: &Value| {
        let document = json!({ "profiles": { "default": { "defaults": { "format": format } } } });
        let document = Document::parse(&document.to_string()).unwrap();
        let pod = json!({ "metadata": { "annotations": annotations }, "spec": { "containers": [{ "name": "app" }] } });
        let (plan, mut findings) = holdfast_webhook::mutate::wanted(&pod).unwrap().unwrap();
        let ruled = rule(&document, &settings(), &Namespace::default(), plan, &mut findings).unwrap();
        ruled.plan.items.into_iter().map(|item| item.template).collect::<Vec<_>>()
    };
    let said = own(&[("secret.a", "kv/data/a"), ("format.a", "json"), ("secret.b", "kv/data/b"), ("template.b", "x")]);
    assert_eq!(templates("dotenv", &said), ["{{ . | toUnescapedJSON }}", "x", "{{ dotenv . }}"]);
    let of_the_pod = own(&[("format", "properties")]);
    assert_eq!(templates("dotenv", &of_the_pod), ["{{ properties . }}"]);
    let mut vault = json!({
        "vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-secret-a": "kv/data/a",
    });
    let json = "{{ with secret \"kv/data/a\" }}{{ .Data | toJSON }}{{ end }}";
    assert_eq!(templates("json", &vault), [json]);
    vault["vault.hashicorp.com/agent-inject-default-template"] = json!("map");
    assert!(templates("json", &vault)[0].contains("range"));
    let document = json!({ "profiles": { "default": { "defaults": { "format": "toml" } } } });
    assert!(Document::parse(&document.to_string()).unwrap_err().contains("use lines, map, dotenv"));
}

#[test]
fn small_is_smaller_than_larger_defaults() {
    let memory = |more: &[_]| ruled(&[("defaults.holdfast.dev/resources", "limits.memory=100Mi")], &own(more)).unwrap();
    assert_eq!(memory(&[]).0["memory"], "100Mi");
    assert_eq!(memory(&[("resources", "small")]).0["memory"], "64Mi");
    assert_eq!(memory(&[("resources", "small,limits.memory=70Mi")]).0["memory"], "70Mi");
}
