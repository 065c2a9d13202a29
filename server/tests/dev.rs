//! `holdfast server -dev`.

use holdfast_client::Call;
use holdfast_secret::SecretString;
use serde_json::json;

use crate::fixture::{Server, data, folder, free_port, get};

async fn start(folder: &std::path::Path, more: &[&str]) -> Server {
    let port = free_port();
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut arguments = vec!["-dev", listen.as_str()];
    arguments.extend(more);
    let mut server = Server::spawn(folder, port, &arguments);
    let client = server.client();
    server.wait_until_answering(&client).await;
    server
}

async fn greeting(server: &Server) -> String {
    for _ in 0..500 {
        let output = server.output();
        if output.contains("export VAULT_ADDR") {
            return output;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no greeting:\n{}\n{}", server.output(), server.errors());
}

#[tokio::test]
async fn it_says_how_to_use_it_and_that_works() {
    let folder = folder();
    let server = start(folder.path(), &[]).await;
    let text = greeting(&server).await;
    assert!(text.starts_with("==> Holdfast dev server: storage in memory, unsealed, TLS off."), "{text}");
    assert!(text.contains(&server.address()), "{text}");
    let token = text.split("VAULT_TOKEN=").nth(1).unwrap().trim();
    assert!(token.starts_with("hvs."), "{token}");
    assert_eq!(server.errors(), "", "the greeting is all that is said");
    let line = |begin: &str| text.lines().find_map(|line| line.strip_prefix(begin)).unwrap();
    assert_eq!((line("Root Token: "), line("Unseal Key: ").len()), (token, 44), "as Vault prints them");
    let file = folder.path().join(".vault-token");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(file).unwrap()) & 0o777, 0o600);

    let client = server.client().with_token(SecretString::new(token));
    client.write("secret/data/app", json!({"data": {"user": "ada", "n": 1}})).await.unwrap();
    assert_eq!(data(&client, "secret/data/app").await["data"], json!({"user": "ada", "n": 1}));
    assert_eq!(client.list("secret/metadata").await.unwrap(), ["app"]);
    assert!(client.read("secret/data/none").await.unwrap().is_none());
    client.delete("secret/metadata/app").await.unwrap();
    assert!(client.read("secret/data/app").await.unwrap().is_none());
}

#[tokio::test]
async fn options_of_vault_mean_the_same() {
    let folder = folder();
    let log = folder.path().join("server.log");
    let to = format!("-log-file={}", log.display());
    let more = ["-dev-root-token-id=root", "-dev-no-store-token", "-dev-kv-v1", "-dev-ha", "-log-level=info", &to];
    let server = start(folder.path(), &more).await;
    assert!(greeting(&server).await.contains("KV version 1"));
    assert!(!folder.path().join(".vault-token").exists());
    let root = server.client().with_token(SecretString::new("root"));
    root.write("secret/app", json!({"user": "ada"})).await.unwrap();
    assert_eq!(data(&root, "secret/app").await["user"], "ada");
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("holdfast server started") && text == server.errors(), "{text}");
}

#[tokio::test]
async fn the_root_token_can_be_chosen_and_others_are_refused() {
    let folder = folder();
    let server = start(folder.path(), &["-dev-root-token-id=root"]).await;
    greeting(&server).await;
    let root = server.client().with_token(SecretString::new("root"));
    let own = data(&root, "auth/token/lookup-self").await;
    assert_eq!((&own["policies"], &own["ttl"]), (&json!(["root"]), &json!(0)));

    for client in [server.client(), server.client().with_token(SecretString::new("hvs.wrong"))] {
        let error = client.read("secret/data/app").await.unwrap_err();
        assert_eq!(error.status(), Some(403), "{error}");
        assert!(error.to_string().contains("permission denied"), "{error}");
    }
}

#[tokio::test]
async fn what_is_answered_beside_the_engines() {
    let folder = folder();
    let server = start(folder.path(), &["-dev-root-token-id=root"]).await;
    greeting(&server).await;
    let client = server.client();
    let root = client.with_token(SecretString::new("root"));
    let health = client.health().await.unwrap();
    assert!(health.initialized && !health.sealed && !health.standby);

    assert_eq!(client.call(get("sys/metrics")).await.unwrap().status, 403);
    let metrics = root.call(Call { query: "format=prometheus".to_owned(), ..get("sys/metrics") }).await.unwrap();
    assert_eq!(metrics.status, 200);
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for name in ["vault_core_check_token_count", "vault_core_fetch_acl_and_token_count", "vault_token_create_count"] {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        assert!(line.trim().parse::<u64>().unwrap() > 0, "{name}{line}");
    }
    assert!(text.contains("vault_core_mount_table_num_entries{type=\"logical\"}"), "{text}");
    for name in ["barrier_get_count", "barrier_put_count", "barrier_list_count", "cache_hit_total", "cache_write_total"]
    {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("vault_{name} "))).unwrap();
        assert!(line.parse::<u64>().unwrap() > 0, "{name} {line}");
    }
    assert!(root.read("secret/metadata/none").await.unwrap().is_none());
    assert!(root.read("secret/metadata/none").await.unwrap().is_none());
    let json = root.call(get("sys/metrics")).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    let route = json["Samples"].as_array().unwrap().iter().find(|sample| sample["Name"] == "vault.route.read.secret_");
    assert_eq!(route.unwrap()["Count"], 2.0, "{json}");
    assert!(text.contains("vault_core_unsealed 1") && text.contains("holdfast_http_requests_total"), "{text}");

    let answer = root.call(get("nowhere/at/all")).await.unwrap();
    assert_eq!((answer.status, answer.content_type.as_str()), (404, "application/json"));
    let mounts = root.call(get("sys/mounts")).await.unwrap();
    let mounts: serde_json::Value = serde_json::from_slice(&mounts.body).unwrap();
    assert_eq!(mounts["secret/"], mounts["data"]["secret/"]);
    assert_eq!(mounts["secret/"]["options"]["version"], "2");
}
