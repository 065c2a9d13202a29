//! What a request does not name stays as it is (OpenBao GH-3506, GH-3551): of everything that is configured in parts, each
//! part is written alone, and the rest is read as before.

use holdfast_client::{Call, Client};
use holdfast_secret::SecretString;
use http::Method;
use serde_json::{Map, Value, json};

use crate::fixture::{Server, certificates::Authority, data, folder, free_port, put};

const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n\
    q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n\
    -----END PUBLIC KEY-----";

/// Path, whole body, and what has to be sent with each part.
fn configured() -> Vec<(&'static str, Value, Value)> {
    let authority = Authority::new().pem();
    let token = json!({
        "token_policies": ["a", "b"], "token_ttl": "20m", "token_max_ttl": "30m", "token_num_uses": 3,
        "token_bound_cidrs": ["10.0.0.0/8"], "token_no_default_policy": true, "token_explicit_max_ttl": "1h",
    });
    let with = |more: Value| {
        let mut body = token.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let tune = json!({
        "default_lease_ttl": "1h", "max_lease_ttl": "2h", "description": "d", "listing_visibility": "unauth",
        "audit_non_hmac_request_keys": ["a"], "audit_non_hmac_response_keys": ["b"],
        "passthrough_request_headers": ["X-A"], "allowed_response_headers": ["X-B"],
    });
    vec![
        ("sys/mounts/secret/tune", tune.clone(), json!({})),
        ("sys/auth/approle/tune", tune, json!({})),
        (
            "sys/quotas/rate-limit/q",
            json!({"rate": 1000, "interval": "5s", "block_interval": "10s", "path": "secret/"}),
            json!({}),
        ),
        ("sys/quotas/lease-count/q", json!({"max_leases": 1000, "path": "database/"}), json!({})),
        (
            "sys/quotas/config",
            json!({
                "rate_limit_exempt_paths": ["sys/x"], "enable_rate_limit_audit_logging": true,
                "enable_rate_limit_response_headers": true,
            }),
            json!({}),
        ),
        ("sys/rotate/config", json!({"max_operations": 5_000_000, "interval": "48h", "enabled": false}), json!({})),
        (
            "auth/token/roles/r",
            json!({
                "allowed_policies": ["a"], "disallowed_policies": ["b"], "orphan": true, "renewable": false,
                "path_suffix": "s", "token_period": "1h", "token_explicit_max_ttl": "2h",
                "token_bound_cidrs": ["10.0.0.0/8"], "allowed_entity_aliases": ["x"],
            }),
            json!({}),
        ),
        (
            "identity/entity/name/ada",
            json!({"policies": ["a"], "metadata": {"team": "x"}, "disabled": true}),
            json!({}),
        ),
        ("identity/group/name/devs", json!({"policies": ["a"], "metadata": {"team": "x"}}), json!({})),
        (
            "identity/oidc/key/k",
            json!({"rotation_period": "1h", "verification_ttl": "2h", "allowed_client_ids": ["a"], "algorithm": "ES256"}),
            json!({}),
        ),
        (
            "identity/oidc/role/r",
            json!({"key": "k", "template": "{\"a\": 1}", "ttl": "20m", "client_id": "c"}),
            json!({}),
        ),
        ("secret/config", json!({"max_versions": 5, "cas_required": true, "delete_version_after": "1h"}), json!({})),
        (
            "secret/metadata/app",
            json!({
                "max_versions": 5, "cas_required": true, "delete_version_after": "1h", "custom_metadata": {"a": "b"},
            }),
            json!({}),
        ),
        (
            "auth/approle/role/r",
            with(json!({
                "secret_id_ttl": "10m", "secret_id_num_uses": 5, "secret_id_bound_cidrs": ["10.0.0.0/8"],
            })),
            json!({}),
        ),
        ("auth/userpass/users/ada", token.clone(), json!({})),
        (
            "auth/kubernetes/role/r",
            with(json!({
                "bound_service_account_names": ["a"], "bound_service_account_namespaces": ["b"], "audience": "x",
                "alias_name_source": "serviceaccount_name",
            })),
            json!({}),
        ),
        (
            "auth/jwt/role/r",
            with(json!({
                "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["x"], "bound_subject": "s",
                "bound_claims": {"a": "b"}, "claim_mappings": {"c": "d"}, "groups_claim": "g",
            })),
            json!({}),
        ),
        (
            "auth/cert/certs/r",
            with(json!({
                "certificate": authority, "allowed_names": ["a"], "allowed_common_names": ["b"],
                "allowed_dns_sans": ["c"], "allowed_email_sans": ["d"], "allowed_uri_sans": ["e"],
                "allowed_organizational_units": ["f"], "required_extensions": ["1.2.3:x"],
                "allowed_metadata_extensions": ["1.2.4"], "display_name": "n", "ocsp_enabled": true,
                "ocsp_ca_certificates": authority, "ocsp_servers_override": ["http://127.0.0.1:1"],
                "ocsp_fail_open": true, "ocsp_query_all_servers": true, "ocsp_this_update_max_age": "1h",
                "ocsp_max_retries": 2,
            })),
            json!({}),
        ),
        (
            "auth/cert/config",
            json!({
                "disable_binding": true, "enable_identity_alias_metadata": true, "enable_metadata_on_failures": true,
                "ocsp_cache_size": 5, "role_cache_size": 6,
            }),
            json!({}),
        ),
        (
            "database/config/pg",
            json!({
                "plugin_name": "postgresql-database-plugin", "allowed_roles": ["a"], "username": "u",
                "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/x",
                "root_rotation_statements": ["x"],
            }),
            json!({"verify_connection": false}),
        ),
        (
            "database/roles/r",
            json!({
                "db_name": "pg", "creation_statements": ["c"], "revocation_statements": ["r"], "renew_statements": ["n"],
                "rollback_statements": ["b"], "default_ttl": "1h", "max_ttl": "2h",
            }),
            json!({}),
        ),
    ]
}

/// What Vault replaces as a whole: path, whole body, and what each write must have.
fn replaced() -> Vec<(&'static str, Value, Value)> {
    vec![
        (
            "auth/jwt/config",
            json!({
                "jwt_validation_pubkeys": [PUBLIC_KEY], "bound_issuer": "i", "default_role": "r",
                "jwt_supported_algs": ["ES256"], "namespace_in_state": false,
            }),
            json!({"jwt_validation_pubkeys": [PUBLIC_KEY]}),
        ),
        (
            "sys/config/cors",
            json!({"allowed_origins": ["https://a"], "allowed_headers": ["X-Mine"], "allow_credentials": true}),
            json!({"allowed_origins": ["https://a"]}),
        ),
        (
            "auth/kubernetes/config",
            json!({
                "kubernetes_host": "https://127.0.0.1:1", "kubernetes_ca_cert": Authority::new().pem(),
                "token_reviewer_jwt": "eyJhbGciOiJFUzI1NiJ9.e30.AA", "pem_keys": [PUBLIC_KEY], "issuer": "i", "disable_iss_validation": false,
                "disable_local_ca_jwt": true,
            }),
            json!({"kubernetes_host": "https://127.0.0.1:1"}),
        ),
    ]
}

async fn furnished() -> (tempfile::TempDir, Server, Client) {
    let (folder, port) = (folder(), free_port());
    let address = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder.path(), port, &["-dev", &address, "-dev-root-token-id=root"]);
    server.wait_until_answering(&server.client()).await;
    let client = server.client().with_token(SecretString::new("root"));
    client.write("sys/mounts/database", json!({"type": "database"})).await.unwrap();
    for kind in ["approle", "userpass", "kubernetes", "jwt", "cert"] {
        client.write(&format!("sys/auth/{kind}"), json!({ "type": kind })).await.unwrap();
    }
    client.write("auth/userpass/users/ada", json!({"password": "p"})).await.unwrap();
    (folder, server, client)
}

/// What is read, without what tells of the last change.
async fn read(client: &Client, path: &str) -> Value {
    let mut read = data(client, path).await;
    assert!(read.is_object(), "{path}: {read}");
    for time in ["last_update_time", "updated_time", "modify_index", "current_metadata_version"] {
        read.as_object_mut().unwrap().remove(time);
    }
    read
}

#[tokio::test]
async fn openbao_gh_3506_gh_3551_an_update_keeps_what_it_does_not_name() {
    let (_folder, _server, client) = furnished().await;
    let (mut lost, mut written) = (Vec::new(), 0);
    for (path, whole, always) in configured() {
        let joined = |part: Map<String, Value>| {
            let mut body = always.as_object().unwrap().clone();
            body.extend(part);
            Value::Object(body)
        };
        client.call(put(path, joined(whole.as_object().unwrap().clone()))).await.unwrap();
        let before = read(&client, path).await;
        for (name, value) in whole.as_object().unwrap() {
            let part = Map::from_iter([(name.clone(), value.clone())]);
            let answer = client.call(put(path, joined(part))).await.unwrap();
            assert!(answer.status < 300, "{path} {name}: {}", String::from_utf8_lossy(&answer.body));
            written += 1;
            let after = read(&client, path).await;
            if after != before {
                lost.push(format!("{path} {name}:\n  {before}\n  {after}"));
                client.call(put(path, joined(whole.as_object().unwrap().clone()))).await.unwrap();
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    assert!(written > 80, "{written}");
}

#[tokio::test]
async fn a_configuration_that_is_one_thing_is_replaced_as_a_whole() {
    let (_folder, _server, client) = furnished().await;
    for (path, whole, least) in replaced() {
        client.write(path, least.clone()).await.unwrap();
        let fresh = read(&client, path).await;
        client.write(path, whole.clone()).await.unwrap();
        let written = read(&client, path).await;
        for name in whole.as_object().unwrap().keys().filter(|name| least.get(name).is_none()) {
            // A token is told by whether there is one.
            let name = if name == "token_reviewer_jwt" { "token_reviewer_jwt_set" } else { name };
            assert_ne!(written[name], fresh[name], "{path}: {name} is the default");
        }
        client.write(path, least).await.unwrap();
        assert_eq!(read(&client, path).await, fresh, "{path}");
    }
}

#[tokio::test]
async fn a_patch_keeps_what_it_does_not_name_and_removes_what_is_null() {
    let (_folder, _server, client) = furnished().await;
    let patch = async |path: &str, body: Value| {
        let call = Call { method: Method::PATCH, path: path.to_owned(), body: Some(body), ..Call::default() };
        let answer = client.call(call).await.unwrap();
        assert!(answer.status < 300, "{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    };
    client.write("sys/namespaces/team", json!({"custom_metadata": {"a": "1", "b": "2"}})).await.unwrap();
    let before = data(&client, "sys/namespaces/team").await;
    patch("sys/namespaces/team", json!({"custom_metadata": {"b": "3"}})).await;
    let mut expected = before.clone();
    expected["custom_metadata"]["b"] = json!("3");
    assert_eq!(data(&client, "sys/namespaces/team").await, expected);
    patch("sys/namespaces/team", json!({})).await;
    assert_eq!(data(&client, "sys/namespaces/team").await, expected);

    let secret = json!({"data": {"a": 1, "deep": {"x": 1, "y": [1, 2]}, "gone": true}});
    client.write("secret/data/app", secret).await.unwrap();
    patch("secret/data/app", json!({"data": {"deep": {"x": 2}, "gone": null}})).await;
    assert_eq!(data(&client, "secret/data/app").await["data"], json!({"a": 1, "deep": {"x": 2, "y": [1, 2]}}));

    let metadata = json!({
        "max_versions": 5, "cas_required": true, "delete_version_after": "1h", "custom_metadata": {"a": "1", "b": "2"},
    });
    client.write("secret/metadata/app", metadata).await.unwrap();
    let before = read(&client, "secret/metadata/app").await;
    patch("secret/metadata/app", json!({"custom_metadata": {"a": null}})).await;
    let mut expected = before;
    expected["custom_metadata"] = json!({"b": "2"});
    assert_eq!(read(&client, "secret/metadata/app").await, expected);
    patch("secret/metadata/app", json!({"max_versions": 7})).await;
    expected["max_versions"] = json!(7);
    assert_eq!(read(&client, "secret/metadata/app").await, expected);
}
