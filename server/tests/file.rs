//! Storage in a file: what was written is there after a restart, and only with the right shares.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::fixture::{Server, data, folder, put, unseal};

fn storage(folder: &std::path::Path) -> String {
    format!("storage \"file\" {{ path = {:?} }}\n", folder.join("data").display().to_string())
}

#[tokio::test]
async fn secrets_survive_a_restart() {
    let folder = folder();
    let server = Server::start(folder.path(), &storage(folder.path())).await;
    let (client, made) = server.initialize(3, 2).await;
    assert_eq!(made.keys.len(), 3);
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "2"}})).await.unwrap();
    client.write("kv/data/app", json!({"data": {"password": "canary-5a1f"}})).await.unwrap();
    let token = client.token().unwrap().duplicate();
    assert!(server.stop().success());

    let server = Server::start(folder.path(), &storage(folder.path())).await;
    let client = server.client().with_token(token);
    let sealed = client.read("kv/data/app").await.unwrap_err();
    assert_eq!(sealed.status(), Some(503));
    let status = client.seal_status().await.unwrap();
    assert!(status.initialized && status.sealed);
    assert_eq!((status.n, status.t, status.storage_type.as_str()), (3, 2, "file"));
    let status = unseal(&client, &made.keys_base64[1..]).await;
    assert_eq!(status["sealed"], false);
    assert_eq!(data(&client, "kv/data/app").await["data"]["password"], "canary-5a1f");
    assert!(server.stop().success());

    for entry in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"canary-5a1f"), "the store holds clear text");
    }
}

#[tokio::test]
async fn wrong_shares_do_not_unseal_and_the_right_ones_still_do() {
    let folder = folder();
    let server = Server::start(folder.path(), &storage(folder.path())).await;
    let (client, made) = server.initialize(3, 2).await;
    client.write("sys/seal", json!({})).await.unwrap();
    let sealed = client.read("sys/mounts").await.unwrap_err();
    assert_eq!((sealed.status(), sealed.to_string().contains("sealed")), (Some(503), true), "{sealed}");

    let status = unseal(&client, &made.keys_base64[..1]).await;
    assert_eq!((&status["progress"], &status["sealed"]), (&json!(1), &json!(true)));
    let mut wrong = hex(&made.keys[1]);
    wrong[3] ^= 1;
    let text: String = wrong.iter().map(|byte| format!("{byte:02x}")).collect();
    let answer = client.call(put("sys/unseal", json!({"key": text}))).await.unwrap();
    assert_eq!(answer.status, 400);
    let status = client.seal_status().await.unwrap();
    assert_eq!((status.progress, status.sealed), (0, true));
    assert_eq!(client.call(put("sys/unseal", json!({"key": "no share"}))).await.unwrap().status, 400);

    let status = unseal(&client, &made.keys[1..]).await;
    assert_eq!(status["sealed"], false);
    assert!(client.read("sys/mounts").await.unwrap().is_some());
}

/// Folder, database, pid file, audit log: nobody else reads or writes them, whatever the umask was; and a database that
/// somebody else could have written is not served.
#[tokio::test]
async fn cve_2021_38553_cve_2020_15113_files_are_the_servers_alone() {
    let folder = folder();
    let (pid, audit) = (folder.path().join("run.pid"), folder.path().join("audit.log"));
    let configuration = format!(
        "{}pid_file = {pid:?}\naudit \"file\" \"main\" {{\n options {{ file_path = {audit:?} }}\n}}\n",
        storage(folder.path())
    );
    let server = Server::start(folder.path(), &configuration).await;
    server.initialize(3, 2).await;
    let data = folder.path().join("data");
    let made = [data.clone(), data.join("holdfast.redb"), data.join("holdfast.redb.owner"), pid, audit];
    for path in made {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} {mode:o}", path.display());
    }
    assert!(server.stop().success());

    let database = data.join("holdfast.redb");
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o666)).unwrap();
    let file = folder.path().join("config.hcl");
    let mut server = Server::spawn(folder.path(), 0, &[&format!("-config={}", file.display())]);
    assert_eq!(server.wait().code(), Some(1));
    let errors = server.errors();
    assert!(errors.contains("may be written by others (mode 0666)") && errors.contains("chmod 600"), "{errors}");
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
