//! How an agent ends, and what it says of itself when it is asked.

use std::fs::{self, File};

use holdfast_agent::{failure::Class, status};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    life::{Pod, db, until},
    program::Running,
};

async fn pod_with_a_credential() -> Pod {
    let pod = Pod::new().await;
    pod.server.world.lock().unwrap().leased.insert("database/creds/ro".to_owned(), (3600, 86_400));
    pod
}

#[tokio::test]
async fn leases_are_revoked_at_the_end_where_that_is_wanted_and_kept_otherwise() {
    for wanted in [false, true] {
        let pod = pod_with_a_credential().await;
        let mut config = pod.config(&[db()]);
        config.revoke_on_exit = wanted;
        let mut agent = Running::start(&config);
        until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
        agent.signal(Signal::TERM);
        let code = tokio::task::spawn_blocking(move || agent.0.wait().unwrap().code()).await.unwrap();
        assert_eq!(code, Some(0));
        let revoked = pod.server.world.lock().unwrap().revoked.clone();
        assert_eq!(revoked, if wanted { vec!["database/creds/ro/1".to_owned()] } else { Vec::new() });
    }
}

#[tokio::test]
async fn the_first_user_signal_tells_the_state_in_the_wanted_format() {
    let pod = pod_with_a_credential().await;
    let mut config = pod.config(&[db()]);
    "json".clone_into(&mut config.log_format);
    let log = pod.file("log");
    let agent = Running::with_log(&config, File::create(&log).unwrap().into());
    until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
    let told = || {
        let text = fs::read_to_string(&log).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == "state").collect::<Vec<_>>()
    };
    assert!(told().is_empty());
    agent.signal(Signal::USR1);
    until("told", 5, || !told().is_empty()).await;
    let lines = told();
    assert_eq!((lines.len(), &lines[0]["item"], &lines[0]["state"]), (1, &json!("db"), &json!("Fresh")), "{lines:?}");
    assert!(lines[0]["expires"].as_str().is_some_and(|expires| expires.starts_with("Some(")), "{lines:?}");
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("p1") && !text.contains("hvs."), "{text}");
}

#[tokio::test]
async fn whoever_counts_failures_ends_after_so_many_and_others_do_not() {
    for give_up_after in [None, Some(2)] {
        let pod = Pod::new().await;
        let value = json!({ "data": { "key": "one" }, "metadata": { "version": 1 } });
        pod.server.world.lock().unwrap().kv.insert("kv/data/app".to_owned(), value);
        let item = json!({ "name": "app", "path": "kv/data/app", "template": "{{ .key }}" });
        let mut config = pod.config(&[item]);
        config.give_up_after = give_up_after;
        let agent = Pod::run(config);
        until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
        pod.server.world.lock().unwrap().denied.insert("kv/data/app".to_owned());
        match give_up_after {
            None => {
                until("stale", 10, || pod.state("app") == status::State::Stale).await;
                assert!(!agent.is_finished());
                agent.abort();
            }
            Some(_) => {
                until("given up", 20, || agent.is_finished()).await;
                assert_eq!(agent.await.unwrap().unwrap_err().class, Class::Denied);
            }
        }
        assert_eq!(pod.text("app"), "one", "what was good stays");
    }
}
