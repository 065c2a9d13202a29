//! A static seal and `initialize` stanzas: the first start needs nobody, and no root token comes out of it.

use serde_json::Value;

use crate::fixture::{Server, folder, get};

#[tokio::test]
async fn the_first_start_does_it_and_the_second_finds_it_done() {
    let folder = folder();
    std::fs::write(folder.path().join("seal.key"), [7; 32]).unwrap();
    let configuration = format!(
        r#"
        storage "file" {{ path = {:?} }}
        seal "static" {{
          current_key_id = "k1"
          current_key = "file://{}"
        }}
        initialize "first" {{
          request "kv" {{
            operation = "update"
            path = "sys/mounts/kv"
            data = {{ type = "kv", options = {{ version = "2" }} }}
          }}
          request "open" {{
            operation = "update"
            path = "sys/mounts/other"
            data = {{ type = "kv" }}
          }}
        }}
        "#,
        folder.path().join("data").display().to_string(),
        folder.path().join("seal.key").display(),
    );
    for start in ["first", "second"] {
        let server = Server::start(folder.path(), &configuration).await;
        let client = server.client();
        wait_until_unsealed(&client, &server).await;
        // Mounts are there: without a token the answer is 403 and not 404, and the internal list needs one too.
        let answer = client.call(get("kv/data/x")).await.unwrap();
        assert_eq!(answer.status, 403, "{start}");
        let status: Value = client.bare(get("sys/seal-status")).await.unwrap();
        assert_eq!((&status["type"], &status["sealed"]), (&"static".into(), &false.into()), "{start}: {status}");
        assert!(!server.errors().contains("hvs."), "a token is in the log");
        assert!(server.stop().success());
    }
}

async fn wait_until_unsealed(client: &holdfast_client::Client, server: &Server) {
    for _ in 0..500 {
        if client.health().await.is_ok_and(|health| health.initialized && !health.sealed) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("still sealed:\n{}", server.errors());
}
