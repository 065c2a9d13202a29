use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use holdfast_webhook::{
    cluster::{Answer, Cluster, Located},
    profile::{Document, Namespace},
    review::{self, Outcome, Reviewed},
    rules::Rules,
};
use serde_json::{Value, json};

use crate::settings;

/// A cluster with one DynamicCredential, and namespaces with these annotations.
#[derive(Default)]
pub struct Stub(pub Vec<(&'static str, &'static str)>);

impl Cluster for Stub {
    fn namespace<'a>(&'a self, name: &'a str) -> Answer<'a, Namespace> {
        let annotations = self.0.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Box::pin(async move { Ok(Namespace { name: name.to_owned(), annotations }) })
    }

    fn locate<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<Located>> {
        Box::pin(async move {
            match name {
                "orders-ro" => {
                    let path = format!("k8s/{namespace}/orders-db/creds/readonly");
                    Ok(Some(Located { path, ttl: Some(Duration::from_secs(600)) }))
                }
                "broken" => anyhow::bail!("the API server is away"),
                _ => Ok(None),
            }
        })
    }
}

/// The settings of all tests with this document of the administrator.
pub fn rules(document: &str) -> Rules {
    Rules { settings: settings(), document: Document::parse(document).unwrap().into() }
}

pub fn review(operation: &str, annotations: Value) -> Vec<u8> {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "operation": operation, "namespace": "shop", "resource": { "group": "", "version": "v1", "resource": "pods" },
            "object": { "metadata": { "generateName": "orders-", "annotations": annotations }, "spec": { "containers": [{ "name": "app", "image": "a" }] } },
        },
    })
    .to_string()
    .into_bytes()
}

async fn answer(body: &[u8]) -> (Value, Outcome) {
    let Reviewed { answer, outcome, namespace } = review::answer(body, &rules("{}"), &Stub::default()).await.unwrap();
    assert_eq!(namespace, "shop");
    (answer, outcome)
}

#[tokio::test]
async fn a_pod_that_asks_gets_a_patch_and_warnings() {
    let annotations = json!({
        "holdfast.dev/inject": "true", "holdfast.dev/secret.db": "credential/orders-ro",
        "holdfast.dev/tempalte.db": "{{ .username }}",
    });
    let (answer, outcome) = answer(&review("CREATE", annotations)).await;
    assert_eq!(outcome, Outcome::Injected);
    assert_eq!(answer["response"]["uid"], "u-1");
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(
        answer["response"]["warnings"],
        json!(["holdfast.dev/tempalte.db: unknown annotation; did you mean holdfast.dev/template.db?"])
    );
    let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
    let patch = String::from_utf8(patch).unwrap();
    assert!(patch.contains("k8s/shop/orders-db/creds/readonly"));
    assert!(patch.contains(r#"\"ttl\":\"10m0s\""#), "the agent is told spec.ttl: {patch}");
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    for body in [
        review("CREATE", json!({ "other": "x" })),
        review("CREATE", json!(null)),
        review("UPDATE", json!({ "holdfast.dev/inject": "true", "holdfast.dev/secret.db": "p" })),
    ] {
        let (answer, outcome) = answer(&body).await;
        assert_eq!(outcome, Outcome::Skipped);
        assert_eq!(answer["response"], json!({ "uid": "u-1", "allowed": true }));
    }
}

#[tokio::test]
async fn absent_credentials_and_a_broken_cluster_are_told_apart() {
    let ask = |name: &str| {
        let source = format!("credential/{name}");
        review("CREATE", json!({ "holdfast.dev/inject": "true", "holdfast.dev/secret.db": source }))
    };
    let (absent, outcome) = answer(&ask("orders-rw")).await;
    assert_eq!(outcome, Outcome::Denied);
    assert_eq!(
        absent["response"]["status"]["message"],
        "holdfast: annotation holdfast.dev/secret.db: there is no DynamicCredential \"orders-rw\" in namespace shop"
    );
    let (broken, outcome) = answer(&ask("broken")).await;
    assert_eq!((outcome, &broken["response"]["status"]["code"]), (Outcome::Failed, &json!(500)));
    assert!(review::answer(b"{}", &rules("{}"), &Stub::default()).await.is_err());
}

#[tokio::test]
async fn what_is_no_review_is_refused_and_odd_pods_are_survived() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let own = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":"#;
    for body in [
        "",
        "null",
        "[]",
        "{",
        "\u{0}",
        "\"AdmissionReview\"",
        deep.as_str(),
        r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"u"}}"#,
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"Pod","request":{"uid":"u"}}"#,
        &format!("{own}null}}"),
        &format!("{own}{{}}}}"),
        &format!("{own}{{\"uid\":7}}}}"),
    ] {
        let answer = review::answer(body.as_bytes(), &rules("{}"), &Stub::default()).await;
        assert!(answer.is_err(), "{}", &body[..body.len().min(80)]);
    }
    // A pod of odd shapes: the API server would never send it, and nothing falls over.
    let annotations = json!({ "holdfast.dev/inject": "true", "holdfast.dev/secret.a": "p" });
    for (pointer, value) in [
        ("spec", json!(null)),
        ("spec", json!([])),
        ("spec", json!({ "containers": {} })),
        ("spec", json!("x")),
        ("spec", json!({ "containers": [7, null, {}], "initContainers": "x", "volumes": 1 })),
        ("metadata", json!({ "annotations": annotations, "labels": 7 })),
        ("metadata", json!([])),
    ] {
        let mut body: Value = serde_json::from_slice(&review("CREATE", annotations.clone())).unwrap();
        body["request"]["object"][pointer] = value.clone();
        let answer = review::answer(body.to_string().as_bytes(), &rules("{}"), &Stub::default()).await;
        assert_eq!(answer.unwrap().answer["response"]["uid"], "u-1", "{pointer} = {value}");
    }
}
