//! What a scrape of the agent reads.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use holdfast_agent::{
    metrics::Metrics,
    status::{ItemStatus, State},
};
use holdfast_base::{Clock, SystemClock};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::life::{Pod, db, until};

/// Figures by name and labels.
async fn scrape(address: SocketAddr, path: &str) -> (String, BTreeMap<String, f64>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with("holdfast_agent_"));
    let figures =
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
    let figures = figures.collect();
    (text, figures)
}

async fn until_figure(address: SocketAddr, name: &str, is: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let (text, figures) = scrape(address, "/metrics").await;
        if figures.get(name).is_some_and(|figure| is(*figure)) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} never became so:\n{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn figures_of_each_item_follow_what_happens_to_it_and_hold_no_secret() {
    let pod = Pod::new().await;
    {
        let mut world = pod.server.world.lock().unwrap();
        world.leased.insert("database/creds/ro".to_owned(), (6, 600));
        world.kv.insert("kv/data/app".to_owned(), json!({ "data": { "key": "one" }, "metadata": { "version": 1 } }));
    }
    let nobody = free().await;
    let app = json!({
        "name": "app", "path": "kv/data/app", "template": "{{ .key }}",
        "on_change": ["touch", format!("http:{}/reload", nobody.port())],
    });
    let mut config = pod.config(&[app, db()]);
    let address = free().await;
    config.metrics = Some(address);
    let agent = Pod::run(config);
    until("rendered", 5, || pod.state("db") == State::Fresh && pod.state("app") == State::Fresh).await;

    let of = |name: &str, item: &str| format!("holdfast_agent_{name}{{item=\"{item}\"}}");
    let by = |name: &str, item: &str, result: &str| {
        format!("holdfast_agent_{name}_total{{item=\"{item}\",result=\"{result}\"}}")
    };
    let now = SystemClock.now().as_second();
    let (text, figures) = scrape(address, "/metrics").await;
    assert_eq!((figures[&of("item_state", "db")], figures[&of("item_state", "app")]), (0.0, 0.0), "{text}");
    let left = figures[&of("item_expiry_timestamp_seconds", "db")] - f64::from(u32::try_from(now).unwrap());
    assert!((4.0..=8.0).contains(&left), "{left}");
    assert!(!figures.contains_key(&of("item_expiry_timestamp_seconds", "app")), "it has no lease");
    assert!(
        figures[&by("requests", "db", "ok")] >= 1.0 && figures["holdfast_agent_logins_total{result=\"ok\"}"] == 1.0
    );
    assert_eq!(figures["holdfast_agent_item_changes_total{item=\"db\"}"], 1.0);
    assert!(!text.contains("p1") && !text.contains("hvs.") && !text.contains("one"), "{text}");

    let value = json!({ "data": { "key": "two" }, "metadata": { "version": 2 } });
    pod.server.world.lock().unwrap().kv.insert("kv/data/app".to_owned(), value);
    until_figure(address, &by("actions", "app", "ok"), |count| count == 1.0).await;
    until_figure(address, &by("actions", "app", "error"), |count| count == 1.0).await;

    pod.server.world.lock().unwrap().renewals_fail = Some(503);
    until_figure(address, &by("requests", "db", "error"), |count| count >= 1.0).await;
    until_figure(address, &of("item_state", "db"), |state| state >= 1.0).await;

    // Nothing else is there.
    for path in ["/v1/kv/data/app", "/agent/v1/quit", "/"] {
        let (text, _) = scrape(address, path).await;
        assert!(text.starts_with("HTTP/1.1 404"), "{path}: {text}");
    }
    assert!(!agent.is_finished());
    agent.abort();
}

/// Every figure is in the reference.
#[test]
fn the_reference_names_every_figure() {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    let now = SystemClock.now();
    let status = ItemStatus { state: State::Fresh, changed: None, expires: Some(now), reason: None };
    metrics.item("db", &status, now);
    metrics.changed("db");
    metrics.request("db", true);
    metrics.action("db", true);
    metrics.login(true);
    metrics.event(true);
    metrics.proxied(Some(200));
    metrics.cached(true);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let page = include_str!("../../docs/reference/agent-metrics.md");
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert!(names.len() >= 11, "{text}");
    for (name, kind) in names {
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        assert!(page.contains(&format!("| `{name}` ")), "{name} is not in docs/reference/agent-metrics.md");
    }
}
