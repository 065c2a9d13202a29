//! Identity tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use holdfast_logical::{Error, Operation, Response};
use serde_json::{Value, json};

use crate::bench::{Bench, ask};

fn bare(response: Response) -> Value {
    serde_json::from_slice(&response.raw.unwrap().body).unwrap()
}

async fn read(bench: &Bench, path: &str, entity: &str) -> Result<Response, Error> {
    ask(&*bench.http.backend, entity, Operation::Read, path, Value::Null).await
}

async fn token(bench: &Bench, entity: &str) -> String {
    let data = read(bench, "oidc/token/r", entity).await.unwrap().data.unwrap().into_map();
    data["token"].as_str().unwrap().to_owned()
}

async fn active(bench: &Bench, token: &str) -> Value {
    bare(bench.http.write("oidc/introspect", json!({"token": token})).await)
}

#[tokio::test]
async fn a_token_says_who_and_is_good_until_its_key_is_gone() {
    let bench = Bench::new().await;
    let entity = bench.entity(json!({"name": "bob", "metadata": {"team": "x"}})).await;
    bench
        .http
        .write("oidc/key/k", json!({"algorithm": "ES256", "allowed_client_ids": "*", "verification_ttl": "2h"}))
        .await;
    let template = r#"{"team": {{identity.entity.metadata.team}}}"#;
    bench.http.write("oidc/role/r", json!({"key": "k", "ttl": "1h", "template": template})).await;
    let first = token(&bench, &entity).await;
    let body = first.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    assert_eq!((&claims["sub"], &claims["team"]), (&json!(entity), &json!("x")));
    assert_eq!(claims["iss"], "https://vault.example:8200/v1/identity/oidc");
    assert_eq!(claims["aud"], bench.http.get("oidc/role/r").await["client_id"]);
    assert_eq!(active(&bench, &first).await, json!({"active": true}));
    let mut forged = first.clone();
    forged.replace_range(first.len() - 4.., "AAAA");
    assert_eq!(active(&bench, &forged).await["active"], json!(false));
    // After the rotation the next key, which was public before, signs; the old one verifies for two hours.
    let keys = bare(read(&bench, "oidc/.well-known/keys", "").await.unwrap());
    bench.http.write("oidc/key/k/rotate", json!({})).await;
    let second = token(&bench, &entity).await;
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(second.split('.').next().unwrap()).unwrap()).unwrap();
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["kid"] == header["kid"]));
    assert_eq!(active(&bench, &first).await, json!({"active": true}));
    bench.http.clock.advance(std::time::Duration::from_secs(3700));
    assert_eq!(active(&bench, &first).await["error"], "token is expired");
    bench.http.clock.advance(std::time::Duration::from_secs(3700));
    bench.http.backend.tick().await.unwrap();
    assert_eq!(bare(read(&bench, "oidc/.well-known/keys", "").await.unwrap())["keys"].as_array().unwrap().len(), 2);
    assert!(active(&bench, &first).await["error"].as_str().unwrap().contains("signature"));
}

#[tokio::test]
async fn keys_rotate_by_time_on_one_replica_only_and_private_halves_go() {
    let bench = Bench::new().await;
    bench
        .http
        .write("oidc/key/k", json!({"algorithm": "EdDSA", "rotation_period": "1h", "verification_ttl": "2h"}))
        .await;
    bench.http.clock.advance(std::time::Duration::from_secs(3601));
    let other = bench.replica().backend();
    let (a, b) = futures::join!(bench.http.backend.tick(), other.tick());
    a.and(b).unwrap();
    assert_eq!(bench.http.view.list("oidc/private/", "", 0).await.unwrap().len(), 2);
    let response = read(&bench, "oidc/.well-known/keys", "").await.unwrap();
    assert_eq!(response.max_age, Some(std::time::Duration::from_secs(3600)));
    assert_eq!(bare(response)["keys"].as_array().unwrap().len(), 3);
    // Another algorithm signs at once.
    bench.http.write("oidc/key/k", json!({"algorithm": "RS256"})).await;
    assert_eq!(bench.http.get("oidc/key/k").await["algorithm"], "RS256");
    assert_eq!(bench.http.view.list("oidc/private/", "", 0).await.unwrap().len(), 2);
    bench.http.delete("oidc/key/k").await;
    assert_eq!(bench.http.view.list("oidc/private/", "", 0).await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_contradicts_itself_is_refused() {
    let bench = Bench::new().await;
    let entity = bench.entity(json!({"name": "bob"})).await;
    bench.http.refused("oidc/key/k", json!({"algorithm": "HS256"})).await;
    bench.http.refused("oidc/key/k", json!({"rotation_period": "30s"})).await;
    bench.http.refused("oidc/key/k", json!({"rotation_period": "1h", "verification_ttl": "11h"})).await;
    bench.http.refused("oidc/role/r", json!({})).await;
    bench.http.refused("oidc/role/r", json!({"key": "none"})).await;
    bench.http.write("oidc/key/k", json!({"algorithm": "EdDSA"})).await;
    bench.http.refused("oidc/role/r", json!({"key": "k", "ttl": "25h"})).await;
    bench.http.write("oidc/role/r", json!({"key": "k"})).await;
    let refused = read(&bench, "oidc/token/r", &entity).await.unwrap_err().to_string();
    assert!(refused.contains("allowed client ID"), "{refused}");
    bench.http.write("oidc/key/k", json!({"allowed_client_ids": ["*"]})).await;
    assert!(read(&bench, "oidc/token/r", "").await.unwrap_err().to_string().contains("no entity"));
    assert!(matches!(bench.http.ask(Operation::Delete, "oidc/key/k", Value::Null).await, Err(Error::Invalid(_))));
    bench.http.refused("oidc/config", json!({"issuer": "https://a/b"})).await;
    assert_eq!(bench.http.write("oidc/config", json!({"issuer": "https://a:1"})).await.warnings.len(), 1);
    assert!(bench.http.write("oidc/config", json!({"issuer": ""})).await.warnings.is_empty());
    let discovery = bare(read(&bench, "oidc/.well-known/openid-configuration", "").await.unwrap());
    assert_eq!(discovery["issuer"], "https://vault.example:8200/v1/identity/oidc");
}
