//! Reading while the server tells of changes, and while it does not.

use std::time::Duration;

use holdfast_agent::status;
use serde_json::{Value, json};
use tokio::{sync::broadcast, time::Instant};

use crate::life::{Pod, until};

const PATHS: [&str; 2] = ["kv/data/one", "kv/data/two"];

fn items() -> [Value; 2] {
    let item = |name: &str| json!({ "name": name, "path": format!("kv/data/{name}"), "template": "{{ .key }}" });
    [item("one"), item("two")]
}

async fn pod_with_values() -> Pod {
    let pod = Pod::new().await;
    for path in PATHS {
        write(&pod, path, "first");
    }
    pod
}

fn write(pod: &Pod, path: &str, value: &str) {
    let value = json!({ "data": { "key": value }, "metadata": { "version": 1 } });
    pod.server.world.lock().unwrap().kv.insert(path.to_owned(), value);
}

fn reads(pod: &Pod, path: &str) -> usize {
    pod.server.world.lock().unwrap().reads.get(path).copied().unwrap_or(0)
}

/// Lets the server tell of changes; dropping the sender in the world ends what it tells.
fn events(pod: &Pod) -> broadcast::Sender<String> {
    let (sender, _) = broadcast::channel(8);
    pod.server.world.lock().unwrap().events = Some(sender.clone());
    sender
}

#[tokio::test]
async fn while_changes_are_told_of_nothing_is_polled_and_without_it_is_again() {
    let pod = pod_with_values().await;
    let tell = events(&pod);
    let agent = pod.start(&items());
    until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
    until("subscribed", 5, || tell.receiver_count() > 0).await;
    let change = async |value: &str| {
        write(&pod, PATHS[0], value);
        tell.send(PATHS[0].to_owned()).unwrap();
        until("changed", 5, || pod.text("one") == value).await;
    };
    change("second").await;

    // The time of ten polls, in which one of both paths changes again and again.
    let (quiet, begun) = (PATHS.map(|path| reads(&pod, path)), Instant::now());
    let mut changes = 0;
    while begun.elapsed() < Duration::from_secs(1) {
        changes += 1;
        change(&format!("change {changes}")).await;
    }
    let read = PATHS.map(|path| reads(&pod, path));
    // Both are read once for the subscription, as something may have been missed before it; that may have come late.
    let more = [read[0] - quiet[0] - changes, read[1] - quiet[1]];
    assert!(more.iter().all(|more| *more <= 1), "polled although changes are told of: {more:?}");

    // No events any more: both are polled.
    pod.server.world.lock().unwrap().events = None;
    drop(tell);
    until("polled", 5, || reads(&pod, PATHS[1]) > read[1] + 5).await;
    write(&pod, PATHS[1], "last");
    until("changed", 2, || pod.text("two") == "last").await;
    agent.abort();
}

#[tokio::test]
async fn a_change_that_is_told_of_is_in_the_file_within_a_second() {
    let pod = pod_with_values().await;
    let tell = events(&pod);
    let mut config = pod.config(&items());
    // Nothing but an event makes it look again.
    (config.refresh, config.refresh_always) = (Duration::from_secs(600), true);
    let agent = Pod::run(config);
    until("subscribed", 10, || pod.text("one") == "first" && tell.receiver_count() > 0).await;
    let mut times = Vec::new();
    for round in 1..=7 {
        let (value, begun) = (format!("value {round}"), Instant::now());
        write(&pod, PATHS[0], &value);
        tell.send(PATHS[0].to_owned()).unwrap();
        until("the new value", 10, || pod.text("one") == value).await;
        times.push(begun.elapsed());
    }
    agent.abort();
    times.sort();
    eprintln!("write to file: half within {:?}, all within {:?}", times[3], times[6]);
    assert!(times[3] < Duration::from_secs(1), "{times:?}");
}

#[tokio::test]
async fn whoever_says_how_often_is_obeyed() {
    let pod = pod_with_values().await;
    let _tell = events(&pod);
    let mut config = pod.config(&items());
    config.refresh_always = true;
    let agent = Pod::run(config);
    until("polled", 5, || reads(&pod, PATHS[1]) > 20).await;
    agent.abort();
}

#[tokio::test]
async fn what_a_write_made_is_made_again_near_its_end_and_only_then() {
    let pod = pod_with_values().await;
    let tell = events(&pod);
    pod.server.world.lock().unwrap().issues = [("pki/issue/lasting".to_owned(), None)].into();
    let item = |role: &str| {
        let template = format!(
            "{{{{ with secret \"pki/issue/{role}\" \"common_name=app\" }}}}{{{{ .Data.certificate }}}}{{{{ end }}}}"
        );
        json!({ "name": role, "template": template })
    };
    let [one, _] = items();
    let agent = pod.start(&[item("lasting"), one]);
    until("subscribed", 5, || pod.text("lasting") == "c1" && tell.receiver_count() > 0).await;
    // The subscription breaks and is made again: something may have been missed, but this was not.
    drop(tell);
    let tell = events(&pod);
    until("subscribed again", 5, || tell.receiver_count() > 0).await;
    write(&pod, PATHS[0], "second");
    tell.send(PATHS[0].to_owned()).unwrap();
    until("all is read again", 5, || pod.text("one") == "second").await;
    agent.abort();
    assert_eq!(pod.server.world.lock().unwrap().issued, 1);

    let pod = Pod::new().await;
    pod.server.world.lock().unwrap().issues = [("pki/issue/short".to_owned(), Some(2))].into();
    let agent = pod.start(&[item("short")]);
    until("made again", 10, || pod.text("short") == "c3").await;
    agent.abort();
    assert!(pod.server.world.lock().unwrap().issued <= 4, "not as fast as it goes");
}
