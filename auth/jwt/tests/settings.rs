use holdfast_harness::Harness;
use serde_json::json;

use crate::{
    issuer::{Issuer, Signer},
    mount::Mount,
};

#[tokio::test]
async fn the_configuration_is_tried_when_it_is_written() {
    let (signer, mount) = (Signer::new("k"), Harness::new("oidc", holdfast_auth_jwt::factory).await);
    let issuer = Issuer::start(&[&signer]).await;
    assert!(mount.absent("config").await);
    let one = "exactly one of 'jwt_validation_pubkeys', 'jwks_url' or 'oidc_discovery_url' must be set";
    for (body, part) in [
        (json!({}), one),
        (json!({"jwks_url": "http://x", "jwt_validation_pubkeys": [signer.public_pem]}), one),
        (json!({"jwt_validation_pubkeys": ["x"]}), "error parsing public key"),
        (json!({"jwks_url": format!("{}/none", issuer.url)}), "error checking jwks URL"),
        (json!({"jwks_url": format!("{}/large", issuer.url)}), "error checking jwks URL"),
        (json!({"jwks_url": "file:///etc/passwd"}), "error checking jwks URL"),
        (json!({"oidc_discovery_url": format!("{}/x", issuer.url)}), "error checking oidc discovery URL"),
        (json!({"oidc_discovery_url": format!("{}/", issuer.url)}), "issuer did not match"),
        (json!({"oidc_discovery_url": issuer.url, "oidc_discovery_ca_pem": "x"}), "CA certificate"),
        (json!({"oidc_discovery_url": issuer.url, "oidc_client_id": "a"}), "both 'oidc_client_id'"),
        (json!({"jwks_url": "http://x", "oidc_client_id": "a", "oidc_client_secret": "b"}), "'oidc_discovery_url'"),
        (json!({"oidc_discovery_url": issuer.url, "jwt_supported_algs": "HS256"}), "unsupported signing algorithm"),
        (json!({"oidc_discovery_url": issuer.url, "oidc_response_mode": "x"}), "invalid response_mode"),
        (json!({"oidc_discovery_url": issuer.url, "oidc_response_types": "x"}), "invalid response_types"),
        (json!({"oidc_discovery_url": issuer.url, "provider_config": {"provider": "azure"}}), "azure"),
    ] {
        let error = mount.refused("config", body).await;
        assert!(error.contains(part), "{error}");
    }
    assert!(mount.absent("config").await);
    let body = json!({"oidc_discovery_url": issuer.url, "oidc_client_id": "a", "oidc_client_secret": "canary"});
    mount.write("config", body).await;
    let config = mount.get("config").await;
    assert_eq!((&config["oidc_discovery_url"], &config["oidc_client_id"]), (&json!(issuer.url), &json!("a")));
    assert!(!config.to_string().contains("canary") && config["namespace_in_state"] == true);
}

#[tokio::test]
async fn cve_2020_16250_keys_come_from_where_the_configuration_says_and_nowhere_else() {
    let signer = Signer::new("k");
    let (issuer, other) = (Issuer::start(&[&signer]).await, Issuer::start(&[&signer]).await);
    let mount = Harness::new("jwt", holdfast_auth_jwt::factory).await;
    *issuer.state.document.lock().unwrap() =
        Some(json!({"issuer": other.url, "jwks_uri": format!("{}/keys", other.url)}));
    let error = mount.refused("config", json!({"oidc_discovery_url": issuer.url})).await;
    assert!(error.contains("issuer did not match"), "{error}");
    *issuer.state.redirect.lock().unwrap() = Some(format!("{}/keys", other.url));
    for body in [json!({"oidc_discovery_url": issuer.url}), json!({"jwks_url": format!("{}/keys", issuer.url)})] {
        let error = mount.refused("config", body).await;
        assert!(error.contains("status 302"), "{error}");
    }
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn roles_are_checked_kept_and_shown() {
    let signer = Signer::new("k");
    let mount = Mount::of(json!({"jwt_validation_pubkeys": [signer.public_pem]})).await;
    let jwt = |changes: serde_json::Value| {
        let mut body = json!({"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a"});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body
    };
    for (body, part) in [
        (json!({"role_type": "saml", "user_claim": "sub"}), "invalid 'role_type': saml"),
        (json!({"role_type": "jwt", "bound_audiences": "a"}), "a user claim must be defined"),
        (json!({"role_type": "jwt", "user_claim": "sub"}), "at least one bound constraint"),
        (json!({"user_claim": "sub"}), "'allowed_redirect_uris' must be set"),
        (jwt(json!({"bound_claims_type": "regex"})), "invalid 'bound_claims_type': regex"),
        (jwt(json!({"bound_claims": {"a": {"b": "c"}}})), "bound_claims: \"a\""),
        (jwt(json!({"bound_claims": {"a": 7}, "bound_claims_type": "glob"})), "bound_claims: \"a\""),
        (jwt(json!({"claim_mappings": {"a": "role"}})), "reserved"),
        (jwt(json!({"claim_mappings": {"a": "x", "b": "x"}})), "multiple keys are mapped to metadata key \"x\""),
        (jwt(json!({"clock_skew_leeway": "soon"})), "clock_skew_leeway"),
        (jwt(json!({"callback_mode": "device"})), "callback_mode"),
        (jwt(json!({"bound_cidr_list": "x"})), "\"x\""),
    ] {
        let error = mount.refused("role/new", body).await;
        assert!(error.contains(part), "{error}");
    }
    mount
        .write(
            "role/New",
            jwt(json!({
                "clock_skew_leeway": -1, "expiration_leeway": "5m", "max_age": "1h", "bound_claims": {"a": ["b", 1]},
                "oidc_scopes": "profile,email", "policies": "old",
            })),
        )
        .await;
    let role = mount.get("role/new").await;
    for (name, value) in [
        ("role_type", json!("jwt")),
        ("clock_skew_leeway", json!(-1)),
        ("expiration_leeway", json!(300)),
        ("not_before_leeway", json!(0)),
        ("max_age", json!(3600)),
        ("bound_claims", json!({"a": ["b", 1]})),
        ("bound_claims_type", json!("string")),
        ("oidc_scopes", json!(["profile", "email"])),
        ("allowed_redirect_uris", json!(null)),
        ("token_policies", json!(["old"])),
    ] {
        assert_eq!(role[name], value, "{name}");
    }
    mount.write("role/new", json!({"user_claim": "email"})).await;
    let changed = mount.get("role/new").await;
    assert_eq!((&changed["user_claim"], &changed["max_age"]), (&json!("email"), &json!(3600)));
    assert_eq!(mount.keys("role").await, ["app", "new"]);
    mount.delete("role/new").await;
    assert!(mount.absent("role/new").await);
}
