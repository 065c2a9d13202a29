use std::time::Duration;

use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Signer, claims},
    mount::Mount,
};

#[tokio::test]
async fn a_login_gives_what_the_role_says() {
    let signer = Signer::new("k");
    let mount = Mount::of(json!({"jwt_validation_pubkeys": [signer.public_pem], "default_role": "App"})).await;
    mount.role(json!({"groups_claim": "groups", "claim_mappings": {"/team/name": "team"}})).await;
    let mut token = claims();
    token["groups"] = json!(["dev", "ops"]);
    token["team"] = json!({"name": "shop"});
    let grant = mount.grant("login", json!({"jwt": signer.sign(&token)})).await.unwrap();
    assert_eq!((grant.alias.as_str(), grant.display_name.as_str()), ("ada", "ada"));
    assert_eq!(grant.groups, ["dev", "ops"]);
    assert_eq!(grant.metadata, [("role", "app"), ("team", "shop")].map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    assert_eq!((grant.policies.clone(), grant.ttl), (vec!["app".to_owned()], Some(Duration::from_secs(1200))));

    mount.role(json!({"token_ttl": "5m"})).await;
    assert_eq!(mount.renew(grant.clone()).await.unwrap().ttl, Some(Duration::from_secs(300)));
    mount.delete("role/app").await;
    assert_eq!(mount.renew(grant).await.unwrap_err().to_string(), "role \"app\" does not exist during renewal");
}

#[tokio::test]
async fn keys_come_from_discovery_or_from_a_url() {
    let (first, second) = (Signer::new("k1"), Signer::new("k2"));
    let issuer = Issuer::start(&[&first]).await;
    for config in [json!({"oidc_discovery_url": issuer.url}), json!({"jwks_url": format!("{}/keys", issuer.url)})] {
        let mount = Mount::of(config).await;
        mount.login(&first.sign(&claims())).await.unwrap();
        let asked = issuer.requests();
        mount.login(&first.sign(&claims())).await.unwrap();
        assert_eq!(issuer.requests(), asked, "the keys are kept");
        assert!(mount.no_login(&Signer::new("k1").sign(&claims())).await.contains("signature is wrong"));
        for _ in 0..5 {
            assert!(mount.no_login(&Signer::new("k9").sign(&claims())).await.contains("a key that is not known"));
        }
        assert_eq!(issuer.requests(), asked, "strangers do not make it ask");
    }
    let mount = Mount::of(json!({"oidc_discovery_url": issuer.url})).await;
    mount.login(&first.sign(&claims())).await.unwrap();
    issuer.add(&second);
    mount.clock.advance(Duration::from_secs(11));
    mount.login(&second.sign(&claims())).await.unwrap();
}

#[tokio::test]
async fn each_check_is_made() {
    let signer = Signer::new("k");
    let keys = json!([signer.public_pem]);
    let mount = Mount::of(json!({"jwt_validation_pubkeys": keys, "bound_issuer": "https://issuer.example"})).await;
    mount.role(json!({"bound_subject": "ada", "bound_claims": {"team": ["shop", "bank"]}})).await;
    let mut good = claims();
    good["team"] = json!("shop");
    mount.login(&signer.sign(&good)).await.unwrap();
    for (claim, value, part) in [
        ("iss", json!("https://other.example"), "invalid issuer (iss)"),
        ("aud", json!("other"), "invalid audience (aud)"),
        ("aud", Value::Null, "invalid audience (aud)"),
        ("sub", json!("bob"), "sub claim does not match bound subject"),
        ("team", json!("other"), "claim \"team\" does not match"),
        ("team", Value::Null, "claim \"team\" is missing"),
        ("exp", json!(1_600_000_000), "token is expired"),
        ("nbf", json!(1_800_000_000), "token not yet valid"),
    ] {
        let mut token = good.clone();
        token[claim] = value;
        let error = mount.no_login(&signer.sign(&token)).await;
        assert!(error.contains(part), "{error}");
    }
    mount.write("config", json!({"jwt_validation_pubkeys": keys, "jwt_supported_algs": "RS256"})).await;
    assert!(mount.no_login(&signer.sign(&good)).await.contains("jwt_supported_algs"));
}

#[tokio::test]
async fn cve_2020_16250_a_token_that_says_things_twice_is_refused() {
    let signer = Signer::new("k");
    let mount = Mount::of(json!({"jwt_validation_pubkeys": [signer.public_pem]})).await;
    let payload = claims().to_string();
    let good = signer.sign_text(r#"{"alg":"ES256"}"#, &payload);
    mount.login(&good).await.unwrap();
    for (header, payload) in [
        (r#"{"alg":"ES256","alg":"ES256"}"#.to_owned(), payload.clone()),
        (r#"{"alg":"ES256"}"#.to_owned(), payload.replace('{', r#"{"sub":"root","#)),
        (r#"{"alg":"ES256"}"#.to_owned(), payload.replace('{', r#"{"deep":{"a":1,"a":2},"#)),
    ] {
        let error = mount.no_login(&signer.sign_text(&header, &payload)).await;
        assert_eq!(error, "error validating token: it is not a JWT");
    }
    // What a token says of its keys leads nowhere.
    let issuer = Issuer::start(&[&Signer::new("evil")]).await;
    let evil = format!(r#"{{"alg":"ES256","kid":"evil","jku":"{}/keys"}}"#, issuer.url);
    let forged = Signer::new("evil").sign_text(&evil, &payload);
    assert!(mount.no_login(&forged).await.contains("signature is wrong"));
    assert_eq!(issuer.requests(), 0);
}

/// CVE-2025-11621, CVE-2025-59048: two tenants that trust the same issuer with the same keys share nothing that was found out:
/// neither who somebody is, nor that they may come in, nor the keys themselves.
#[tokio::test]
async fn cve_2025_11621_cve_2025_59048_mounts_with_the_same_keys_share_no_result() {
    let signer = Signer::new("k");
    let issuer = Issuer::start(&[&signer]).await;
    let config = json!({"jwks_url": format!("{}/keys", issuer.url)});
    let (ours, theirs) = (Mount::of(config.clone()).await, Mount::of(config).await);
    theirs.role(json!({"bound_subject": "bob", "token_policies": "theirs", "user_claim": "email"})).await;
    let mut token = claims();
    token["email"] = json!("ada@theirs");
    let ada = signer.sign(&token);
    // In each order: nothing that one has found out counts for the other.
    for _ in 0..2 {
        let grant = ours.login(&ada).await.unwrap();
        assert_eq!((grant.alias.as_str(), &grant.policies[..]), ("ada", &["app".to_owned()][..]));
        assert!(theirs.no_login(&ada).await.contains("sub claim"));
    }
    token["sub"] = json!("bob");
    let bob = signer.sign(&token);
    let grant = theirs.login(&bob).await.unwrap();
    assert_eq!((grant.alias.as_str(), &grant.policies[..]), ("ada@theirs", &["theirs".to_owned()][..]));
    assert_eq!(ours.login(&bob).await.unwrap().alias, "bob");
    // Keys that the one has are not keys of the other, which has not asked yet and cannot now.
    let late = theirs.restarted().await;
    *issuer.state.redirect.lock().unwrap() = Some("/gone".to_owned());
    let body = json!({"role": "app", "jwt": bob});
    assert!(matches!(late.ask(Operation::Update, "login", body).await, Err(Error::Unavailable(_))));
    ours.login(&ada).await.unwrap();
    // Nor do those of the source before stay after the configuration names another one.
    let other = Issuer::start(&[&Signer::new("other")]).await;
    ours.write("config", json!({"jwks_url": format!("{}/keys", other.url)})).await;
    assert!(ours.no_login(&ada).await.contains("a key that is not known"));
}

#[tokio::test]
async fn what_is_missing_is_told() {
    let signer = Signer::new("k");
    let mount = Mount::of(json!({"jwt_validation_pubkeys": [signer.public_pem]})).await;
    let token = signer.sign(&claims());
    assert_eq!(mount.refused("login", json!({"jwt": token})).await, "missing role");
    assert_eq!(mount.refused("login", json!({"role": "app"})).await, "missing token");
    assert_eq!(mount.refused("login", json!({"role": "nope", "jwt": token})).await, "role \"nope\" could not be found");
    let browser = json!({"user_claim": "sub", "allowed_redirect_uris": "http://localhost"});
    mount.write("role/browser", browser).await;
    let error = mount.refused("login", json!({"role": "browser", "jwt": token})).await;
    assert_eq!(error, "role with oidc role_type is not allowed");
    let error = mount.refused("oidc/auth_url", json!({"role": "browser", "redirect_uri": "http://localhost"})).await;
    assert!(error.contains("not supported yet"), "{error}");
    mount.role(json!({"token_bound_cidrs": "192.168.0.0/16"})).await;
    assert!(matches!(mount.login(&token).await, Err(Error::Denied(text)) if text == "permission denied"));
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_named_and_left_alone() {
    let signer = Signer::new("k");
    let issuer = Issuer::start(&[&signer]).await;
    let mount = Mount::of(json!({"jwks_url": format!("{}/keys", issuer.url)})).await;
    *issuer.state.redirect.lock().unwrap() = Some("/keys".to_owned());
    let (asked, token) = (issuer.requests(), signer.sign(&claims()));
    for _ in 0..3 {
        let body = json!({"role": "app", "jwt": token});
        match mount.ask(Operation::Update, "login", body).await {
            Err(Error::Unavailable(text)) => assert!(text.contains(&issuer.url), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(issuer.requests(), asked + 1);
}
