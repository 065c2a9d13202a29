//! `env_template` and `exec`: a program with variables, its signals, its end.

use std::fs;

use serde_json::json;

use super::{Ground, until};

const PASS: &str = "k4n4ry-0ne";

fn configuration(ground: &Ground, script: &str, restart: &str) -> String {
    ground.write("program.sh", script);
    ground.as_root()
        + r#"
        template_config { static_secret_render_interval = "1h" }
        env_template "PASS" { contents = "{{ with secret \"secret/app\" }}{{ .Data.data.pass }}{{ end }}" }
        env_template "USER_NAME" { contents = "{{ with secret \"secret/app\" }}{{ .Data.data.user }}{{ end }}" }
        exec {
          command = ["/bin/sh", "{folder}/program.sh"]
          restart_stop_signal = "SIGTERM"
          restart_on_secret_changes = "RESTART"
        }
        "#
        .replace("RESTART", restart)
        .as_str()
}

#[tokio::test]
async fn variables_reach_the_program_and_nobody_else_and_a_change_starts_it_anew() {
    let ground = Ground::new().await;
    ground.secret("app", json!({ "user": "ada", "pass": PASS })).await;
    let script = "cd \"$(dirname \"$0\")\"\necho \"$USER_NAME:$PASS\" >> seen\ntrap 'echo told >> seen; exit 0' TERM\n\
                  while :; do sleep 0.05; done\n";
    let mut agent = ground.agent(&configuration(&ground, script, "always"));
    ground.holds(&agent, "seen", &format!("ada:{PASS}\n")).await;
    for file in ["environ", "cmdline"] {
        let own = fs::read(format!("/proc/{}/{file}", agent.pid())).unwrap();
        assert!(!String::from_utf8_lossy(&own).contains(PASS), "{file}");
    }
    ground.secret("app", json!({ "user": "ada", "pass": "two" })).await;
    ground.holds(&agent, "seen", &format!("ada:{PASS}\ntold\nada:two\n")).await;
    agent.signal("-TERM");
    assert_eq!(agent.ended().await.code(), Some(0), "{}", agent.log());
    assert_eq!(ground.text("seen"), format!("ada:{PASS}\ntold\nada:two\ntold\n"));
    assert!(!agent.log().contains(PASS) && !ground.text("agent-out").contains(PASS), "{}", agent.log());
}

#[tokio::test]
async fn its_exit_code_is_the_agents_and_signals_are_passed_on() {
    let ground = Ground::new().await;
    ground.secret("app", json!({ "user": "ada", "pass": PASS })).await;
    let script = "cd \"$(dirname \"$0\")\"\ntrap 'echo usr1 >> seen' USR1\ntrap 'exit 42' HUP\necho ready >> seen\n\
                  while :; do sleep 0.05; done\n";
    let mut agent = ground.agent(&configuration(&ground, script, "never"));
    ground.holds(&agent, "seen", "ready\n").await;
    agent.signal("-USR1");
    ground.holds(&agent, "seen", "ready\nusr1\n").await;
    ground.secret("app", json!({ "user": "ada", "pass": "two" })).await;
    until(|| agent.log().contains("configured not to be restarted"), || agent.log()).await;
    agent.signal("-HUP");
    assert_eq!(agent.ended().await.code(), Some(42), "{}", agent.log());
    assert_eq!(ground.text("seen"), "ready\nusr1\n");
}

#[tokio::test]
async fn a_program_that_a_signal_ends_is_told_as_a_shell_tells_it() {
    let ground = Ground::new().await;
    ground.secret("app", json!({ "user": "ada", "pass": PASS })).await;
    let mut agent = ground.agent(&configuration(&ground, "kill -KILL $$\n", "always"));
    assert_eq!(agent.ended().await.code(), Some(137), "{}", agent.log());
}
