//! Ways to log in: the rest of them, `kubernetes` aside, which the cluster tests have.

use serde_json::json;

use super::{APPROLE, Ground, until};
use crate::fixture::{Server, certificates::Authority, folder, free_port, initialize};

const TEMPLATE: &str = r#"
template {
  contents    = "{{ with secret \"secret/app\" }}{{ .Data.data.k }}{{ end }}"
  destination = "{folder}/file"
}
"#;

#[tokio::test]
async fn an_agent_whose_token_is_revoked_logs_in_again_with_the_secret_id_it_read() {
    let ground = Ground::new().await;
    ground.approle().await;
    ground.secret("app", json!({ "k": "one" })).await;
    let interval = "template_config { static_secret_render_interval = \"500ms\" }\n";
    let agent = ground.agent(&(APPROLE.to_owned() + interval + TEMPLATE));
    ground.holds(&agent, "file", "one").await;
    let first = ground.text("token");
    ground.put("auth/token/revoke", json!({ "token": first })).await;
    until(|| !ground.text("token").is_empty() && ground.text("token") != first, || agent.log()).await;
    ground.secret("app", json!({ "k": "two" })).await;
    ground.holds(&agent, "file", "two").await;
}

#[tokio::test]
async fn a_wrapped_secret_id_counts_only_if_it_was_wrapped_where_it_should_be() {
    let ground = Ground::new().await;
    ground.approle().await;
    ground.secret("app", json!({ "k": "one" })).await;
    let wrapped = |path: &str| {
        let call = holdfast_client::Call {
            method: http::Method::PUT,
            path: path.to_owned(),
            body: Some(json!({ "secret_id": "stolen" })),
            headers: vec![("x-vault-wrap-ttl", "5m".to_owned())],
            ..Default::default()
        };
        let client = ground.client.clone();
        async move {
            let answer: serde_json::Value = client.bare(call).await.unwrap();
            answer["wrap_info"]["token"].as_str().unwrap().to_owned()
        }
    };
    let configuration = format!(
        "exit_after_auth = true\n{}{TEMPLATE}",
        APPROLE.replace(
            "secret_id_file_path",
            "secret_id_response_wrapping_path = \"auth/approle/role/app/secret-id\" secret_id_file_path",
        )
    );
    ground.write("secret-id", &wrapped("sys/wrapping/wrap").await);
    let mut agent = ground.agent(&format!("init_timeout = \"1s\"\n{configuration}"));
    assert_eq!(agent.ended().await.code(), Some(3), "{}", agent.log());
    assert!(agent.log().contains("somebody may have read it"), "{}", agent.log());

    let call = holdfast_client::Call {
        method: http::Method::PUT,
        path: "auth/approle/role/app/secret-id".to_owned(),
        body: Some(json!({})),
        headers: vec![("x-vault-wrap-ttl", "5m".to_owned())],
        ..Default::default()
    };
    let answer: serde_json::Value = ground.client.bare(call).await.unwrap();
    ground.write("secret-id", answer["wrap_info"]["token"].as_str().unwrap());
    let mut agent = ground.agent(&configuration);
    assert!(agent.ended().await.success(), "{}", agent.log());
    assert_eq!(ground.text("file"), "one");
}

#[tokio::test]
async fn jwt_and_a_wrapped_sink() {
    let ground = Ground::new().await;
    ground.secret("app", json!({ "k": "one" })).await;
    let key = rcgen::KeyPair::generate().unwrap();
    ground.put("sys/auth/jwt", json!({ "type": "jwt" })).await;
    ground.put("auth/jwt/config", json!({ "jwt_validation_pubkeys": [key.public_key_pem()] })).await;
    let policy = r#"path "secret/*" { capabilities = ["read"] }"#;
    ground.put("sys/policies/acl/reads", json!({ "policy": policy })).await;
    let role =
        json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["holdfast"], "token_policies": "reads" });
    ground.put("auth/jwt/role/app", role).await;
    let now = holdfast_base::Clock::now(&holdfast_base::SystemClock).as_second();
    let claims = json!({ "sub": "ada", "aud": "holdfast", "iat": now, "exp": now + 600 });
    let signing = jsonwebtoken::EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    ground.write("jwt", &jsonwebtoken::encode(&header, &claims, &signing).unwrap());
    let mut agent = ground.agent(
        &(r#"
        exit_after_auth = true
        auto_auth {
          method { type = "jwt" config = { role = "app" path = "{folder}/jwt" remove_jwt_after_reading = true } }
          sink { type = "file" wrap_ttl = "5m" config = { path = "{folder}/wrapped" } }
        }"#
        .to_owned()
            + TEMPLATE),
    );
    assert!(agent.ended().await.success(), "{}", agent.log());
    assert_eq!(ground.text("file"), "one");
    assert!(!ground.path("jwt").exists());
    let wrapped: serde_json::Value = serde_json::from_str(&ground.text("wrapped")).unwrap();
    let unwrapped = ground.put("sys/wrapping/unwrap", json!({ "token": wrapped["token"] })).await;
    assert!(unwrapped["token"].as_str().unwrap().starts_with("hvs."), "{unwrapped}");
}

#[tokio::test]
async fn a_certificate_logs_in_and_the_next_one_is_found_in_the_same_files() {
    let (folder, port, authority) = (folder(), free_port(), Authority::new());
    let (chain, key) = authority.issue().write(folder.path(), "tls");
    let configuration = json!({
        "backend": {"inmem": {}}, "disable_mlock": true,
        "listener": {"tcp": {"address": format!("127.0.0.1:{port}"), "tls_cert_file": chain, "tls_key_file": key}},
    });
    let file = folder.path().join("config.json");
    std::fs::write(&file, configuration.to_string()).unwrap();
    let mut server = Server::spawn(folder.path(), port, &["-config", &file.display().to_string()]);
    server.scheme = "https";
    let config = holdfast_client::Config {
        address: server.address(),
        ca_pem: Some(authority.pem().into_bytes()),
        ..holdfast_client::Config::default()
    };
    let client = holdfast_client::Client::new(config).unwrap();
    server.wait_until_answering(&client).await;
    let (client, _) = initialize(&client, 1, 1).await;
    let ground = Ground { server, folder, client };

    ground.put("sys/mounts/secret", json!({ "type": "kv", "options": { "version": "2" } })).await;
    ground.put("sys/policies/acl/reads", json!({ "policy": r#"path "secret/*" { capabilities = ["read"] }"# })).await;
    ground.put("sys/auth/cert", json!({ "type": "cert" })).await;
    let (today, tomorrow) = (Authority::new(), Authority::new());
    for (role, clients) in [("today", &today), ("tomorrow", &tomorrow)] {
        let role = format!("auth/cert/certs/{role}");
        ground.put(&role, json!({ "certificate": clients.pem(), "token_policies": "reads" })).await;
    }
    ground.secret("app", json!({ "k": "one" })).await;
    ground.write("ca", &authority.pem());
    let (chain, key) = today.issue().write(ground.folder.path(), "own");
    let agent = ground.agent(
        &(format!(
            r#"
            template_config {{ static_secret_render_interval = "500ms" }}
            auto_auth {{
              method "cert" {{ config = {{ ca_cert = "{{folder}}/ca" client_cert = {chain:?} client_key = {key:?} }} }}
              sink "file" {{ config = {{ path = "{{folder}}/token" }} }}
            }}"#
        ) + TEMPLATE),
    );
    ground.holds(&agent, "file", "one").await;
    let first = ground.text("token");

    tomorrow.issue().write(ground.folder.path(), "own");
    ground.client.delete("auth/cert/certs/today").await.unwrap();
    ground.put("auth/token/revoke", json!({ "token": first })).await;
    until(|| !ground.text("token").is_empty() && ground.text("token") != first, || agent.log()).await;
    ground.secret("app", json!({ "k": "two" })).await;
    ground.holds(&agent, "file", "two").await;
}
