//! The binary as the command line: it knows its names, and its commands reach a server.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
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

/// A dev server that has its token, and what runs a command against it.
async fn dev(folder: &Path) -> (Server, impl Fn(&[&str]) -> Output) {
    let port = free_port();
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder, port, &["-dev", &listen, "-dev-root-token-id=root"]);
    let client = server.client();
    server.wait_until_answering(&client).await;
    let client = client.with_token(holdfast_secret::SecretString::new("root"));
    let deadline = std::time::Instant::now() + crate::fixture::SOON;
    while client.read("secret/config").await.is_err() {
        assert!(std::time::Instant::now() < deadline, "{}", server.errors());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let address = server.address();
    (server, move |words: &[&str]| run(holdfast(), words, &address))
}

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn plug_ins_versions_and_moves() {
    let folder = folder();
    let (_server, run) = dev(folder.path()).await;
    let ok = |words: &[&str]| good(&run(words));
    let list = ok(&["plugin", "list", "-detailed"]);
    assert!(list.starts_with("Name ") && list.contains("Deprecation Status") && list.contains("approle"), "{list}");
    assert!(!ok(&["plugin", "list", "secret"]).contains("approle"));
    assert!(ok(&["plugin", "list", "-format=json", "auth"]).contains("\"approle\""));
    assert!(ok(&["plugin", "info", "auth", "approle"]).contains("builtin"));
    assert_eq!(ok(&["plugin", "reload", "-plugin=kv"]), "Success! Reloaded plugin: kv");
    assert!(ok(&["plugin", "reload", "-mounts=secret/", "-scope=global"]).contains("reload_id: "));
    let refused = run(&["plugin", "register", "-sha256=ab", "secret", "x"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("registering plugin x"), "{}", text(&refused.stderr));
    ok(&["plugin", "deregister", "secret", "kv"]);
    ok(&["plugin", "info", "secret", "kv"]);
    let versions = ok(&["version-history"]);
    assert!(versions.starts_with("Version") && versions.contains(env!("CARGO_PKG_VERSION")), "{versions}");

    ok(&["auth", "enable", "-path=old", "approle"]);
    ok(&["write", "auth/old/role/app", "role_id=app"]);
    assert_eq!(
        ok(&["auth", "move", "auth/old/", "auth/new/"]),
        "Success! Finished moving auth method auth/old/ to auth/new/"
    );
    assert!(ok(&["read", "auth/new/role/app/role-id"]).contains("app"));
    assert!(ok(&["auth", "help", "new"]).starts_with("holdfast login -method=approle -path=new role_id="));
    assert!(ok(&["auth", "help", "kubernetes"]).contains("role="));
    assert_eq!(run(&["auth", "help", "nothing"]).status.code(), Some(1));
}

#[tokio::test]
async fn the_log_is_heard_at_a_level_of_ones_own_and_ends_with_the_server() {
    let folder = folder();
    let (server, run) = dev(folder.path()).await;
    for (flag, why) in [("-log-level=loud", "unknown log level"), ("-log-format=xml", "unknown log format")] {
        let refused = run(&["monitor", flag]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
    let mut child = Command::new(holdfast())
        .args(["monitor", "-log-level=debug", "-log-format=json"])
        .env("VAULT_ADDR", server.address())
        .env("HOLDFAST_TOKEN", "root")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    // The server itself logs warnings only. Requests come until one of them is heard.
    let client = server.client();
    let asking = tokio::spawn(async move {
        loop {
            let _ = client.seal_status().await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let heard = tokio::task::spawn_blocking(move || {
        output.lines().map(Result::unwrap).find(|line| line.contains("\"message\":\"answered\""))
    });
    let line: serde_json::Value = serde_json::from_str(&heard.await.unwrap().unwrap()).unwrap();
    assert_eq!((&line["level"], &line["target"]), (&"DEBUG".into(), &"holdfast_http::exchange".into()));
    asking.abort();
    assert!(server.stop().success(), "nobody holds it up");
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[tokio::test]
async fn lists_in_pages_and_flags_of_every_command() {
    let folder = folder();
    let (server, run) = dev(folder.path()).await;
    let ok = |words: &[&str]| good(&run(words));
    for name in ["a", "b", "c"] {
        ok(&["kv", "put", &format!("secret/{name}"), "x=1"]);
    }
    assert_eq!(ok(&["list", "-after=a", "-limit=1", "secret/metadata"]), "Keys\n----\nb");
    assert_eq!(ok(&["scan", "-limit=2", "secret/metadata"]), "Keys\n----\na\nb");

    // Nothing is sent, and the token is not shown.
    let curl = ok(&["kv", "put", "-output-curl-string", "-header=X-Trace=1", "secret/never", "password=it's"]);
    assert!(curl.starts_with("curl -X PUT ") && curl.contains("-H 'x-trace: 1'"), "{curl}");
    assert!(curl.contains("$(holdfast print token)") && !curl.contains("root"), "{curl}");
    assert_eq!(run(&["kv", "get", "secret/never"]).status.code(), Some(2));
    let policy = ok(&["delete", "-output-policy", "sys/auth/x"]);
    assert_eq!(policy, "path \"sys/auth/x\" {\n  capabilities = [\"delete\", \"sudo\"]\n}");
    ok(&["policy", "list", "-no-color", "-policy-override", "-mfa=totp:123456", "-non-interactive"]);
    let wrong = run(&["policy", "list", "-header=X-Vault-Token=x"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("flags of their own"), "{}", text(&wrong.stderr));
    let stream = run(&["operator", "raft", "snapshot", "save", "-output-curl-string", "/dev/null"]);
    assert_eq!(stream.status.code(), Some(1));

    // What is printed does what would have been done.
    let curl = ok(&["write", "-output-curl-string", "secret/data/sent", "data=@/dev/null"]);
    assert!(curl.ends_with(&format!("'{}/v1/secret/data/sent'", server.address())), "{curl}");
}

#[test]
fn a_configuration_is_diagnosed() {
    let folder = folder();
    let (file, data, port) = (folder.path().join("config.hcl"), folder.path().join("data"), free_port());
    let diagnose = |configuration: &str| {
        std::fs::write(&file, configuration).unwrap();
        let output = run(holdfast(), &["operator", "diagnose", &format!("-config={}", file.display())], "");
        (output.status.code(), text(&output.stdout))
    };
    let listener = format!("listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\n");
    let storage = format!("storage \"file\" {{ path = {:?} }}\n", data.display().to_string());
    // With the warning that a file is of one server alone.
    let (code, told) = diagnose(&(listener.clone() + &storage));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("nothing is stored yet") && !data.exists(), "{told}");
    let (code, told) = diagnose(&(listener.clone() + "storage \"inmem\" {}\n"));
    assert_eq!(code, Some(2), "{told}");
    let tls = "listener \"tcp\" {\n tls_cert_file = \"/none.crt\"\n tls_key_file = \"/none.key\"\n}\n";
    for (configuration, expected) in [
        (tls.to_owned() + &storage, "/none.crt: No such file"),
        (listener.clone(), "no storage stanza"),
        (listener.clone() + "storage \"mysql\" {}\n", "\"mysql\" is not supported"),
        (
            format!(
                "{listener}{storage}seal \"static\" {{\n current_key_id = \"k\"\n current_key = \"file:///no/key\"\n}}\n"
            ),
            "/no/key: No such file",
        ),
    ] {
        let (code, told) = diagnose(&configuration);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("[ failure ]") && told.contains(expected), "{told}");
    }
}
