use std::time::Duration;

use holdfast_auth_kubernetes::Local;
use holdfast_logical::{Error, PodIdentity};
use serde_json::json;

use crate::{
    cluster::{Cluster, Signer, claims},
    mount::Mount,
};

#[tokio::test]
async fn a_pod_gets_what_its_role_says() {
    for (signer, tls) in [(Signer::rsa("k1"), false), (Signer::ec("k1"), true)] {
        let cluster = Cluster::start(&[&signer], tls).await;
        let mount = Mount::of(&cluster).await;
        let grant = mount.login("orders", &signer.sign(&claims("shop", "orders"))).await.unwrap();
        assert_eq!(grant.display_name, "shop-orders");
        assert_eq!((grant.alias.as_str(), grant.policies), ("uid-orders", vec!["app".to_owned()]));
        assert_eq!(grant.ttl, Some(Duration::from_secs(1200)));
        let pod = PodIdentity { uid: "pod-orders".into(), name: "orders-0".into(), namespace: "shop".into() };
        assert_eq!(grant.pod, Some(pod));
        for (name, value) in [
            ("role", "orders"),
            ("service_account_name", "orders"),
            ("service_account_namespace", "shop"),
            ("service_account_uid", "uid-orders"),
            ("service_account_secret_name", ""),
        ] {
            assert_eq!(grant.metadata[name], value);
        }
        assert_eq!(cluster.reviews(), 1);
    }
}

#[tokio::test]
async fn what_is_expected_and_what_was_found_is_told() {
    let signer = Signer::ec("k1");
    let cluster = Cluster::start(&[&signer], false).await;
    let mount = Mount::of(&cluster).await;
    let token = |namespace, account| signer.sign(&claims(namespace, account));
    assert_eq!(mount.invalid("nope", &token("shop", "orders")).await, "invalid role name \"nope\"");
    assert_eq!(mount.invalid("orders", "").await, "missing jwt");
    for (error, parts) in [
        (mount.denied("orders", &token("other", "orders")).await, ["\"other\"", "expects shop"]),
        (mount.denied("orders", &token("shop", "basket")).await, ["\"basket\"", "expects orders"]),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let mut wrong = claims("shop", "orders");
    wrong["aud"] = json!("vault");
    let error = mount.denied("orders", &signer.sign(&wrong)).await;
    assert!(error.contains("[\"vault\"]") && error.contains("expects \"holdfast\""), "{error}");
    assert_eq!(cluster.reviews(), 0);
}

#[tokio::test]
async fn forged_and_outdated_tokens_are_refused() {
    let (signer, forger) = (Signer::rsa("k1"), Signer::rsa("k1"));
    let cluster = Cluster::start(&[&signer], false).await;
    let mount = Mount::of(&cluster).await;
    assert!(mount.denied("orders", &forger.sign(&claims("shop", "orders"))).await.contains("signature is wrong"));
    assert!(mount.denied("orders", "not.a.token").await.contains("not a JWT"));
    let header = jsonwebtoken::Header { kid: Some("k1".into()), ..Default::default() };
    let symmetric = jsonwebtoken::EncodingKey::from_secret(signer.public_pem.as_bytes());
    let confused = jsonwebtoken::encode(&header, &claims("shop", "orders"), &symmetric).unwrap();
    assert!(mount.denied("orders", &confused).await.contains("public key algorithm"));
    let token = signer.sign(&claims("shop", "orders"));
    mount.login("orders", &token).await.unwrap();
    mount.clock.advance(Duration::from_secs(3700));
    assert!(mount.denied("orders", &token).await.contains("expired"));
    let early = signer.sign(&claims("shop", "orders"));
    let early_mount = Mount::of(&cluster).await;
    early_mount.clock.set_wall(holdfast_base::Timestamp::from_second(crate::cluster::NOW - 3600).unwrap());
    assert!(early_mount.denied("orders", &early).await.contains("not valid yet"));
}

#[tokio::test]
async fn a_new_key_of_the_cluster_is_fetched_and_strangers_do_not_flood_it() {
    let (first, second, stranger) = (Signer::ec("k1"), Signer::ec("k2"), Signer::ec("k3"));
    let cluster = Cluster::start(&[&first], false).await;
    let mount = Mount::of(&cluster).await;
    mount.login("orders", &first.sign(&claims("shop", "orders"))).await.unwrap();
    mount.login("orders", &first.sign(&claims("shop", "orders"))).await.unwrap();
    assert_eq!(cluster.key_requests(), 1);
    cluster.add(&second);
    mount.clock.advance(Duration::from_secs(11));
    mount.login("orders", &second.sign(&claims("shop", "orders"))).await.unwrap();
    assert_eq!(cluster.key_requests(), 2);
    for _ in 0..5 {
        let error = mount.denied("orders", &stranger.sign(&claims("shop", "orders"))).await;
        assert!(error.contains("a key that the cluster does not have"), "{error}");
    }
    assert_eq!(cluster.key_requests(), 2);
}

#[tokio::test]
async fn the_cluster_has_the_last_word_where_the_role_asks_for_it() {
    let signer = Signer::ec("k1");
    let cluster = Cluster::start(&[&signer], false).await;
    let mount = Mount::of(&cluster).await;
    let token = signer.sign(&claims("shop", "orders"));
    cluster.says(json!({"authenticated": false, "error": "serviceaccounts \"orders\" was deleted"}));
    assert!(mount.denied("orders", &token).await.contains("was deleted"));
    cluster.says(json!({"authenticated": true, "user": {"username": "system:serviceaccount:shop:other", "uid": "x"}}));
    assert!(mount.denied("orders", &token).await.contains("another account"));
    let user = json!({"username": "system:serviceaccount:shop:orders", "uid": "uid-orders"});
    for audiences in [json!([]), json!(["https://kubernetes.default.svc"])] {
        cluster.says(json!({"authenticated": true, "user": user, "audiences": audiences}));
        assert!(mount.denied("orders", &token).await.contains("another audience"));
    }
    assert_eq!(cluster.state.reviews.lock().unwrap()[0]["spec"]["audiences"], json!(["holdfast"]));
    mount.role("orders", json!({"token_review": false})).await;
    mount.login("orders", &token).await.unwrap();

    mount.role("orders", json!({"token_review": true})).await;
    cluster.stop();
    let mount_alone = mount.login("orders", &token).await;
    match mount_alone {
        // The connection that is open may still be served; a new one is not.
        Err(Error::Denied(_)) => {}
        Err(Error::Unavailable(text)) => assert!(text.contains(&cluster.host), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_named() {
    let signer = Signer::ec("k1");
    let cluster = Cluster::start(&[&signer], false).await;
    let mount = Mount::of(&cluster).await;
    cluster.stop();
    let token = signer.sign(&claims("shop", "orders"));
    for _ in 0..2 {
        match mount.login("orders", &token).await {
            Err(Error::Unavailable(text)) => assert!(text.contains(&cluster.host) && !text.contains(&token), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    // With keys of its own and without review it is not needed.
    mount.configure(json!({"kubernetes_host": cluster.host, "pem_keys": [signer.public_pem]})).await;
    mount.login("orders", &token).await.unwrap();
}

#[tokio::test]
async fn roles_of_the_operator_are_found_by_policy_and_by_account() {
    let signer = Signer::ec("k1");
    let cluster = Cluster::start(&[&signer], false).await;
    let mount = Mount::of(&cluster).await;
    mount.role("k8s:shop:policy:orders-read", json!({"token_policies": "a"})).await;
    mount.role("k8s:shop:sa:orders", json!({"token_policies": "b"})).await;
    let token = signer.sign(&claims("shop", "orders"));
    assert_eq!(mount.login("orders", &token).await.unwrap().policies, ["app"]);
    assert_eq!(mount.login("orders-read", &token).await.unwrap().policies, ["a"]);
    assert_eq!(mount.login("", &token).await.unwrap().policies, ["b"]);
    let other = signer.sign(&claims("other", "orders"));
    assert_eq!(mount.invalid("orders-read", &other).await, "invalid role name \"orders-read\"");
    assert!(mount.invalid("", &other).await.contains("k8s:other:sa:orders"));
}

#[tokio::test]
async fn in_a_cluster_nothing_needs_to_be_configured() {
    let signer = Signer::ec("k1");
    let cluster = Cluster::start(&[&signer], true).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.crt"), &cluster.ca).unwrap();
    std::fs::write(folder.path().join("token"), "own\n").unwrap();
    let local = Local { folder: folder.path().into(), host: Some(cluster.host.clone()) };
    let mount = Mount::new(Some(local)).await;
    mount.role("orders", json!({})).await;
    mount.login("orders", &signer.sign(&claims("shop", "orders"))).await.unwrap();
    assert_eq!(cluster.reviews(), 1);
}

#[tokio::test]
async fn the_review_is_not_left_out_because_the_servers_own_token_cannot_be_read() {
    let signer = Signer::ec("k1");
    let cluster = Cluster::start(&[&signer], true).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.crt"), &cluster.ca).unwrap();
    let local = Local { folder: folder.path().into(), host: Some(cluster.host.clone()) };
    let mount = Mount::new(Some(local)).await;
    mount.configure(json!({"pem_keys": [signer.public_pem]})).await;
    mount.role("orders", json!({})).await;
    let token = signer.sign(&claims("shop", "orders"));
    match mount.login("orders", &token).await {
        Err(Error::Unavailable(text)) => assert!(text.contains("/token: No such file"), "{text}"),
        other => panic!("{other:?}"),
    }
    mount.role("orders", json!({"token_review": false})).await;
    mount.login("orders", &token).await.unwrap();
    assert_eq!(cluster.reviews(), 0);
}

#[tokio::test]
async fn renewal_follows_the_role() {
    let signer = Signer::ec("k1");
    let cluster = Cluster::start(&[&signer], false).await;
    let mount = Mount::of(&cluster).await;
    let grant = mount.login("orders", &signer.sign(&claims("shop", "orders"))).await.unwrap();
    mount.role("orders", json!({"token_ttl": "5m"})).await;
    let renewed = mount.renew(grant.clone()).await.unwrap();
    assert_eq!(renewed.ttl, Some(Duration::from_secs(300)));
    mount.role("orders", json!({"bound_service_account_names": "somebody"})).await;
    assert!(matches!(mount.renew(grant.clone()).await, Err(Error::Denied(_))));
    mount.ask(holdfast_logical::Operation::Delete, "role/orders", json!({})).await.unwrap();
    assert!(mount.renew(grant).await.is_err());
}
