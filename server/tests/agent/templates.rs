//! `template`: files, what happens when the store changes, and what is wrong in a configuration.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use super::{APPROLE, Ground, until};

/// No test lives as long as an interval: what arrives came by an event.
const NO_POLLING: &str = "template_config { static_secret_render_interval = \"1h\" }\n";

#[tokio::test]
async fn a_write_reaches_file_and_command_by_an_event() {
    let ground = Ground::new().await;
    ground.approle().await;
    ground.secret("app", json!({ "user": "ada", "pass": "one" })).await;
    ground.write("source.ctmpl", "{{ with secret \"secret/app\" }}{{ .Data.data.pass }}{{ end }}\n");
    let agent = ground.agent(
        &(APPROLE.to_owned()
            + NO_POLLING
            + r#"
            template {
              contents    = "{{ with secret \"secret/data/app\" }}{{ .Data.data.user }}:{{ .Data.data.pass }}{{ end }}"
              destination = "{folder}/made/app.conf"
              perms       = "0640"
              backup      = true
              exec { command = ["/bin/sh", "-c", "cat {folder}/made/app.conf >> {folder}/told; echo >> {folder}/told"] timeout = "20s" }
            }
            template { source = "{folder}/source.ctmpl" destination = "{folder}/second" }"#),
    );
    ground.holds(&agent, "made/app.conf", "ada:one").await;
    ground.holds(&agent, "second", "one\n").await;
    ground.holds(&agent, "told", "ada:one\n").await;
    assert_eq!(fs::metadata(ground.path("made/app.conf")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::metadata(ground.path("token")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ground.text("token").starts_with("hvs."));
    assert!(!ground.path("secret-id").exists(), "it is removed after reading");

    let mut told = "ada:one\n".to_owned();
    for pass in ["two", "three"] {
        ground.secret("app", json!({ "user": "ada", "pass": pass })).await;
        ground.holds(&agent, "made/app.conf", &format!("ada:{pass}")).await;
        ground.holds(&agent, "second", &format!("{pass}\n")).await;
        // The command reads the file, so it is waited for.
        told += &format!("ada:{pass}\n");
        ground.holds(&agent, "told", &told).await;
    }
    assert_eq!(ground.text("made/app.conf.bak"), "ada:two");
}

#[tokio::test]
async fn hangup_reads_again_where_there_are_no_events() {
    let ground = Ground::new().await;
    ground.secret("app", json!({ "k": "one" })).await;
    let agent = ground.agent(
        &(ground.as_root()
            + NO_POLLING
            + r#"poll_only = true
            template {
              contents = "{{ with secret \"secret/app\" }}{{ .Data.data.k }}{{ end }} {{ range secrets \"secret/\" }}{{ . }};{{ end }}"
              destination = "{folder}/file"
            }"#),
    );
    ground.holds(&agent, "file", "one app;").await;
    ground.secret("app", json!({ "k": "two" })).await;
    ground.secret("other", json!({ "k": "x" })).await;
    agent.signal("-HUP");
    ground.holds(&agent, "file", "two app;other;").await;
}

#[tokio::test]
async fn exit_after_auth_waits_for_templates_and_their_commands() {
    let ground = Ground::new().await;
    ground.secret("app", json!({ "k": "v" })).await;
    let mut agent = ground.agent(
        &(ground.as_root()
            + r#"exit_after_auth = true
            pid_file = "{folder}/pid"
            template {
              contents    = "<< with secret \"secret/app\" >><< .Data.data.k >><< end >>"
              left_delimiter = "<<"
              right_delimiter = ">>"
              destination = "{folder}/file"
              command     = "cp {folder}/file {folder}/copy"
            }"#),
    );
    assert!(agent.ended().await.success(), "{}", agent.log());
    assert_eq!((ground.text("file").as_str(), ground.text("copy").as_str()), ("v", "v"));
    assert!(!ground.path("pid").exists());
}

#[tokio::test]
async fn failures_have_their_exit_code_and_say_what_to_do() {
    let ground = Ground::new().await;
    ground.approle().await;
    let template = |path: &str| {
        let contents = format!("{{{{ with secret \\\"{path}\\\" }}}}{{{{ .Data.data.k }}}}{{{{ end }}}}");
        format!("init_timeout = \"1s\"\ntemplate {{ contents = \"{contents}\" destination = \"{{folder}}/file\" }}\n")
    };
    let root = ground.as_root();
    let away = "auto_auth { method \"token_file\" { config = { token_file_path = \"{folder}/root-token\" } } }\n\
                vault { address = \"http://127.0.0.1:1\" }\n";
    let absent = "auto_auth { method \"token_file\" { config = { token_file_path = \"{folder}/absent\" } } }\n";
    for (configuration, code, says) in [
        ("listener \"tcp\" {}".to_owned(), 2, "agent.hcl: listener \"tcp\" address: missing"),
        (format!("{root}template {{ }}"), 2, "agent.hcl: template contents: missing; or give a source"),
        (format!("{APPROLE}{}", template("auth/token/roles")), 4, "permission denied reading auth/token/roles"),
        (format!("{root}{}", template("secret/data/absent")), 5, "file: nothing at secret/data/absent (404)"),
        (format!("{away}{}", template("secret/app")), 6, "cannot reach http://127.0.0.1:1"),
        (format!("{absent}{}", template("secret/app")), 3, "the token "),
        (
            format!("{root}template {{ contents = \"{{{{ 5 | toUpper }}}}\" destination = \"{{folder}}/f\" }}"),
            7,
            "f: template line 1: toUpper",
        ),
    ] {
        let mut agent = ground.agent(&configuration);
        let status = agent.ended().await;
        let last = agent.log().lines().last().unwrap_or_default().to_owned();
        assert_eq!(status.code(), Some(code), "{configuration}\n{}", agent.log());
        assert!(last.contains(says), "{says:?} is not in {last:?}");
    }
}

#[tokio::test]
async fn an_outage_changes_no_file_and_ends_by_itself() {
    let mut ground = Ground::new().await;
    ground.secret("app", json!({ "k": "one" })).await;
    let contents = "{{ with secret \\\"secret/app\\\" }}{{ .Data.data.k }}{{ end }}";
    let agent = ground.agent(
        &(ground.as_root()
            + "template_config { static_secret_render_interval = \"1s\" }\nstatus_dir = \"{folder}/status\"\n"
            + &format!("template {{ contents = \"{contents}\" destination = \"{{folder}}/file\" }}")),
    );
    ground.holds(&agent, "file", "one").await;
    ground.server.signal("-STOP");
    ground.server.signal("-CONT");
    let port = ground.server.port;
    ground.server.stop_in_place();
    until(|| ground.text("status/status.json").contains("\"Stale\""), || agent.log()).await;
    assert_eq!(ground.text("file"), "one");

    // A dev server forgets: another one with another value.
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    ground.server =
        crate::fixture::Server::spawn(ground.folder.path(), port, &["-dev", &listen, "-dev-root-token-id=root"]);
    until(|| true, String::new).await;
    let deadline = std::time::Instant::now() + crate::fixture::SOON;
    while ground.client.write("secret/data/app", json!({ "data": { "k": "two" } })).await.is_err() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    ground.holds(&agent, "file", "two").await;
}
