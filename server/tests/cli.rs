//! The binary as the command line: it knows its names, and its commands reach a server.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::fixture::{Server, folder, free_port};

fn run(program: &Path, words: &[&str], address: &str) -> Output {
    Command::new(program)
        .args(words)
        .env_remove("VAULT_TOKEN")
        .env("VAULT_ADDR", address)
        .env("HOLDFAST_TOKEN", "root")
        .output()
        .unwrap()
}

fn holdfast() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_holdfast"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn it_is_called_by_two_names() {
    let folder = folder();
    let vault = folder.path().join("vault");
    std::os::unix::fs::symlink(holdfast(), &vault).unwrap();
    for words in [["-version"], ["version"]] {
        let own = text(&run(holdfast(), &words, "").stdout);
        assert_eq!(own, format!("Holdfast v{}\n", env!("CARGO_PKG_VERSION")));
        // hvac reads the second word as the version and chooses features by it.
        let other = text(&run(&vault, &words, "").stdout);
        assert!(other.starts_with("Vault v1.14.8 ("), "{other}");
    }
}

#[tokio::test]
async fn commands_reach_the_server() {
    let (folder, port) = (folder(), free_port());
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder.path(), port, &["-dev", &listen, "-dev-root-token-id=root"]);
    let client = server.client();
    server.wait_until_answering(&client).await;
    let address = server.address();
    let run = |words: &[&str]| run(holdfast(), words, &address);
    let mut status = run(&["status"]);
    for _ in 0..500 {
        if status.status.success() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        status = run(&["status"]);
    }
    assert!(status.status.success(), "{}", text(&status.stderr));
    let mut put = run(&["kv", "put", "secret/app", "user=ada"]);
    for _ in 0..500 {
        // The dev server answers before it has mounted the store and made its token.
        if put.status.success() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        put = run(&["kv", "put", "secret/app", "user=ada"]);
    }
    assert!(put.status.success(), "{}", text(&put.stderr));
    let read = run(&["kv", "get", "-format=json", "secret/app"]);
    assert!(text(&read.stdout).contains("\"user\": \"ada\""), "{}", text(&read.stdout));
    let field = run(&["kv", "get", "-field=user", "secret/app"]);
    assert_eq!(text(&field.stdout).trim(), "ada");
    let missing = run(&["kv", "get", "secret/none"]);
    assert_eq!(missing.status.code(), Some(2));
    for (words, hint) in
        [(&["read", "secret/app"][..], "use 'kv get'"), (&["write", "secret/app", "user=eve"], "use 'kv put'")]
    {
        let wrong = run(words);
        assert_eq!(wrong.status.code(), Some(2), "{words:?}");
        assert!(text(&wrong.stderr).contains(hint), "{}", text(&wrong.stderr));
    }
}

#[tokio::test]
async fn people_and_machines_log_in() {
    let (folder, port) = (folder(), free_port());
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder.path(), port, &["-dev", &listen, "-dev-root-token-id=root"]);
    let client = server.client();
    server.wait_until_answering(&client).await;
    let address = server.address();
    let run = |words: &[&str]| run(holdfast(), words, &address);
    let mut enabled = run(&["auth", "enable", "userpass"]);
    for _ in 0..500 {
        // The dev server answers before it has made its token.
        if enabled.status.success() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        enabled = run(&["auth", "enable", "userpass"]);
    }
    let ok = |words: &[&str]| {
        let output = run(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    ok(&["write", "auth/userpass/users/ada", "password=right", "token_policies=people"]);
    let token = ok(&["login", "-method=userpass", "-token-only", "username=Ada", "password=right"]);
    assert!(ok(&["token", "lookup", &token]).contains("userpass-ada"));
    let wrong = run(&["login", "-method=userpass", "-token-only", "username=ada", "password=wrong"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("invalid username or password"), "{}", text(&wrong.stderr));

    ok(&["auth", "enable", "-path=machines", "approle"]);
    ok(&["write", "auth/machines/role/app", "role_id=app", "token_policies=machines"]);
    let secret_id = ok(&["write", "-force", "-field=secret_id", "auth/machines/role/app/secret-id"]);
    let file = folder.path().join("secret-id");
    std::fs::write(&file, format!("{secret_id}\n")).unwrap();
    let from_file = format!("secret_id=@{}", file.display());
    let token = ok(&["login", "-method=approle", "-path=machines", "-token-only", "role_id=app", &from_file]);
    let looked = ok(&["token", "lookup", "-format=json", &token]);
    assert!(looked.contains("\"display_name\": \"machines\""), "{looked}");
}
