//! Annotations of a pod: any are refused or make a plan, a pod that is made is not changed again, and what the agent gets
//! is a configuration that it reads.
#![no_main]

use std::collections::BTreeMap;

use holdfast_webhook::{
    mutate::{Settings, credentials, inject, wanted},
    profile::{Document, Namespace, rule},
    cluster::Located,
};
use serde_json::{Value, json};

// Lines of `key=value`; `h/` and `v/` stand for the two prefixes.
libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut annotations = serde_json::Map::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let key = key.replacen("h/", "holdfast.dev/", 1).replacen("v/", "vault.hashicorp.com/", 1);
        annotations.insert(key, Value::from(value.replace("\\n", "\n")));
    }
    let pod = json!({
        "metadata": { "annotations": annotations },
        "spec": {
            "containers": [{ "name": "app", "image": "a", "securityContext": { "runAsUser": 1000 } }, { "name": "b", "image": "b" }],
            "initContainers": [{ "name": "init", "image": "i" }],
        },
    });
    let Ok(Some((plan, mut findings))) = wanted(&pod) else { return };
    let settings = Settings {
        image: "agent:1".to_owned(),
        server: "https://holdfast:8200".to_owned(),
        auth_mount: "kubernetes".to_owned(),
        refresh: std::time::Duration::from_secs(1),
        init_timeout: std::time::Duration::from_secs(120),
        ..Settings::default()
    };
    let Ok(ruled) = rule(&Document::default(), &settings, &Namespace::default(), plan, &mut findings) else { return };
    let located: BTreeMap<_, _> = credentials(&ruled.plan)
        .into_iter()
        .map(|(_, name)| (name.to_owned(), Located { path: "k8s/n/e/creds/r".to_owned(), ttl: None }))
        .collect();
    let Ok(injection) = inject(&pod, &ruled.plan, &located, &ruled.settings) else { return };
    let mut made = pod.clone();
    json_patch::patch(&mut made, &injection.patch).expect("a patch that fits");
    assert!(matches!(wanted(&made), Ok(None)), "a second mutation changes it again");
    let agent = made["spec"]["initContainers"].as_array().and_then(|list| list.iter().find(|c| c["name"] == "holdfast-agent"));
    let agent = agent.expect("the agent");
    assert_eq!(agent["image"], "agent:1");
    assert_eq!(agent["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
    let config = agent["env"][0]["value"].as_str().expect("a configuration");
    let config = holdfast_agent::config::Config::from_json(config).expect("one that the agent reads");
    assert_eq!(config.server.address, "https://holdfast:8200");
    assert!(!config.server.tls_skip_verify);
});
