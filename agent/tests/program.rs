//! The program itself: what cannot be seen from inside.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

use holdfast_agent::{
    config::{Config, ENV},
    status::{self, State},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::life::{Pod, db, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast-agent");

/// Killed when dropped.
pub struct Running(pub Child);

impl Running {
    pub fn start(config: &Config) -> Self {
        Self::with_log(config, Stdio::null())
    }

    pub fn with_log(config: &Config, log: Stdio) -> Self {
        let text = serde_json::to_string(config).unwrap();
        // With as much of a core dump as may be.
        let line = "ulimit -Sc \"$(ulimit -Hc)\"; exec \"$0\" run";
        let child = Command::new("/bin/sh").args(["-c", line, PROGRAM]).env(ENV, text).stderr(log).spawn();
        let child = child.unwrap();
        Self(child)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_second_user_signal_replaces_every_credential_and_a_hangup_none() {
    let pod = Pod::new().await;
    pod.server.world.lock().unwrap().leased.insert("database/creds/ro".to_owned(), (3600, 86_400));
    let agent = Running::start(&pod.config(&[db()]));
    until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
    assert_eq!(pod.text("db"), "u1:p1");
    agent.signal(Signal::HUP);
    until("looked after", 5, || pod.server.world.lock().unwrap().renewals == 1).await;
    assert_eq!(pod.server.world.lock().unwrap().minted, 1);
    agent.signal(Signal::USR2);
    until("replaced", 5, || pod.text("db") == "u2:p2" && pod.state("db") == State::Fresh).await;
    assert_eq!(pod.server.world.lock().unwrap().minted, 2);
}

/// Exit code, output and errors of `rotate` beside the agent of this configuration.
async fn rotate(config: &Config, words: &[&str]) -> (Option<i32>, String, String) {
    let (text, words) = (serde_json::to_string(config).unwrap(), [&["rotate"], words].concat());
    let mut command = tokio::process::Command::new(PROGRAM);
    let output = command.args(words).env(ENV, text).kill_on_drop(true).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn rotate_replaces_one_credential_or_all_and_says_how_that_went() {
    let pod = Pod::new().await;
    for path in ["database/creds/ro", "database/creds/rw"] {
        pod.server.world.lock().unwrap().leased.insert(path.to_owned(), (3600, 86_400));
    }
    let writer = json!({ "name": "writer", "path": "database/creds/rw", "template": "{{ .username }}" });
    let config = pod.config(&[db(), writer]);
    let (code, _, errors) = rotate(&config, &[]).await;
    assert_eq!(code, Some(6), "there is no agent yet: {errors}");

    let _agent = Running::start(&config);
    until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
    let (db, writer) = (pod.text("db"), pod.text("writer"));
    assert_eq!(rotate(&config, &["db"]).await, (Some(0), "replaced: db\n".to_owned(), String::new()));
    assert_eq!((pod.text("db").as_str(), pod.text("writer")), ("u3:p3", writer.clone()), "it was {db}");
    assert_eq!(rotate(&config, &[]).await, (Some(0), "replaced: db, writer\n".to_owned(), String::new()));
    assert!(pod.text("db") != "u3:p3" && pod.text("writer") != writer);
    assert_eq!(pod.server.world.lock().unwrap().minted, 5);

    let (code, _, errors) = rotate(&config, &["reader"]).await;
    assert_eq!((code, errors.as_str()), (Some(5), "rotate: there is no item \"reader\"; there are db, writer\n"));
    pod.server.world.lock().unwrap().denied.insert("database/creds/ro".to_owned());
    let (before, (code, _, errors)) = (pod.text("db"), rotate(&config, &["db"]).await);
    assert_eq!((code, pod.text("db")), (Some(4), before));
    assert!(errors.starts_with("db: permission denied reading database/creds/ro"), "{errors}");
}

#[tokio::test]
async fn the_place_for_orders_is_the_agents_alone() {
    let pod = Pod::new().await;
    let agent = Running::start(&pod.config(&[]));
    let socket = pod.file(".holdfast/agent.sock");
    until("listening", 5, || socket.exists()).await;
    until("closed", 5, || fs::metadata(&socket).unwrap().permissions().mode() & 0o777 == 0o600).await;
    drop(agent);
    // What a killed one left is no obstacle.
    let config = pod.config(&[]);
    let _agent = Running::start(&config);
    until("listening again", 5, || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
    assert_eq!(rotate(&config, &[]).await.0, Some(0));
}

#[tokio::test]
async fn a_running_agent_leaves_no_core_dump() {
    let pod = Pod::new().await;
    let agent = Running::start(&pod.config(&[]));
    until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.0.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(line.split_whitespace().next(), Some("0"), "{line}");
}

#[test]
fn a_copy_is_the_same_program_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("agent");
    let done = Command::new(PROGRAM).arg("copy").arg(&copy).status().unwrap();
    assert!(done.success());
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(PROGRAM).unwrap());
    let told = Command::new(&copy).arg("version").output().unwrap();
    assert_eq!(String::from_utf8(told.stdout).unwrap(), format!("holdfast-agent {}\n", env!("CARGO_PKG_VERSION")));

    let refused = Command::new(PROGRAM).args(["copy", "/no/such/folder/agent"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().starts_with("copy to /no/such/folder/agent: "));
}

#[tokio::test]
async fn twenty_files_take_little_memory() {
    let pod = Pod::new().await;
    let value = "v".repeat(4096);
    let items: Vec<_> = (0..20)
        .map(|number| {
            let path = format!("kv/data/{number}");
            let data = serde_json::json!({ "data": { "key": value }, "metadata": { "version": 1 } });
            pod.server.world.lock().unwrap().kv.insert(path.clone(), data);
            serde_json::json!({ "name": format!("f{number}"), "path": path, "template": "{{ .key }}" })
        })
        .collect();
    let agent = Running::start(&pod.config(&items));
    until("rendered", 10, || status::is_ready(&pod.file(".holdfast"))).await;
    // Some rounds of polling: what grows has begun to.
    until("polled", 20, || pod.server.world.lock().unwrap().reads.values().all(|reads| *reads > 20)).await;
    let status = fs::read_to_string(format!("/proc/{}/status", agent.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    let own: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    eprintln!("{own} kB with 20 files");
    assert!(own < 8 * 1024, "{own} kB");
}
