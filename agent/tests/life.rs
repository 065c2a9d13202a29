use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc, time::Duration};

use holdfast_agent::{
    config::Config,
    failure::{Class, Failure},
    run::{self, Mode},
    status::{self, State},
};
use holdfast_base::{Clock, SystemClock, SystemEntropy};
use holdfast_runtime::Shutdown;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
    time::Instant,
};

use crate::server::Server;

/// An agent with its volume. Dropping the task is the end of a container: no farewell.
pub struct Pod {
    pub server: Server,
    volume: TempDir,
}

impl Pod {
    pub async fn new() -> Self {
        let volume = tempfile::tempdir().unwrap();
        fs::write(volume.path().join("jwt"), "the.pod.token\n").unwrap();
        Self { server: Server::start().await, volume }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.volume.path().join(name)
    }

    pub fn config(&self, items: &[Value]) -> Config {
        let items: Vec<Value> = items
            .iter()
            .map(|item| {
                let mut item = item.clone();
                item["file"] = json!(self.file(item["name"].as_str().unwrap()));
                item
            })
            .collect();
        let config = json!({
            "server": { "address": self.server.address },
            "auth": { "mount": "kubernetes", "role": "orders", "token_path": self.file("jwt") },
            "items": items, "status_dir": self.file(".holdfast"), "refresh": "100ms", "init_timeout": "3s",
        });
        Config::from_json(&config.to_string()).unwrap()
    }

    pub fn start(&self, items: &[Value]) -> JoinHandle<Result<u8, Failure>> {
        Self::run(self.config(items))
    }

    pub fn run(config: Config) -> JoinHandle<Result<u8, Failure>> {
        tokio::spawn(run::run(config, Mode::Sidecar, Arc::new(SystemClock), Arc::new(SystemEntropy), Shutdown::new()))
    }

    pub async fn once(&self, items: &[Value]) -> Result<u8, Failure> {
        let config = self.config(items);
        run::run(config, Mode::Once, Arc::new(SystemClock), Arc::new(SystemEntropy), Shutdown::new()).await
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    pub fn state(&self, name: &str) -> State {
        let status = status::read(&self.file(".holdfast")).unwrap_or_default();
        status.items.get(name).map_or(State::Waiting, |item| item.state)
    }
}

pub async fn until(what: &str, seconds: u64, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !condition() {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn db() -> Value {
    json!({ "name": "db", "path": "database/creds/ro", "template": "{{ .username }}:{{ .password }}", "mode": "0640" })
}

#[tokio::test]
async fn a_change_in_the_store_reaches_the_file_and_the_application() {
    let pod = Pod::new().await;
    let kv = |value: &str| json!({ "data": { "key": value }, "metadata": { "version": 1 } });
    pod.server.world.lock().unwrap().kv.insert("kv/data/app".to_owned(), kv("one"));
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = application.local_addr().unwrap().port();
    let own = json!({ "name": "own", "path": "kv/data/app", "template": "{{ .key }}", "on_change": [format!("http:{port}/reload"), "touch"] });
    let vault =
        json!({ "name": "vault", "template": "{{ with secret \"kv/data/app\" }}{{ .Data.data.key }}{{ end }}" });
    let agent = pod.start(&[own, vault]);
    until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
    assert_eq!((pod.text("own").as_str(), pod.text("vault").as_str()), ("one", "one"));
    assert!(!pod.file(".holdfast/own.changed").exists(), "the first render is no change");

    pod.server.world.lock().unwrap().kv.insert("kv/data/app".to_owned(), kv("two"));
    until("changed", 2, || pod.text("own") == "two" && pod.text("vault") == "two").await;
    let (mut stream, _) = tokio::time::timeout(Duration::from_secs(5), application.accept()).await.unwrap().unwrap();
    let mut request = [0; 64];
    let length = stream.read(&mut request).await.unwrap();
    assert!(request[..length].starts_with(b"POST /reload HTTP/1.1\r\n"));
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    until("touched", 5, || pod.file(".holdfast/own.changed").exists()).await;
    agent.abort();
}

#[tokio::test]
async fn init_step_sidecar_and_restarts_share_one_credential() {
    let pod = Pod::new().await;
    pod.server.world.lock().unwrap().leased.insert("database/creds/ro".to_owned(), (3600, 86_400));
    // A second file from the same path shows the same credential.
    let second =
        json!({ "name": "second", "template": "{{ with secret \"database/creds/ro\" }}{{ .Data.username }}{{ end }}" });
    let items = [db(), second];
    pod.once(&items).await.unwrap();
    assert_eq!((pod.text("db").as_str(), pod.text("second").as_str()), ("u1:p1", "u1"));
    for _ in 0..2 {
        let logins = pod.server.world.lock().unwrap().logins;
        let agent = pod.start(&items);
        until("fresh", 5, || pod.server.world.lock().unwrap().logins > logins && pod.state("db") == State::Fresh).await;
        agent.abort();
        assert!(agent.await.unwrap_err().is_cancelled());
    }
    assert_eq!(pod.text("db"), "u1:p1");
    assert_eq!(pod.server.world.lock().unwrap().minted, 1);
}

#[tokio::test]
async fn templates_come_from_files_and_write_further_ones() {
    let pod = Pod::new().await;
    let value = json!({ "data": { "key": "one" }, "metadata": { "version": 1 } });
    pod.server.world.lock().unwrap().kv.insert("kv/data/app".to_owned(), value);
    let besides = pod.file("besides");
    let text =
        format!("{{{{ .key }}}}{{{{ .key | writeToFile \"{}\" \"\" \"\" \"0600\" \"newline\" }}}}", besides.display());
    fs::write(pod.file("template"), text).unwrap();
    let item =
        |file: &str| json!({ "name": "main", "path": "kv/data/app", "template": "", "template_file": pod.file(file) });
    pod.once(&[item("template")]).await.unwrap();
    assert_eq!((pod.text("main").as_str(), pod.text("besides").as_str()), ("one", "one\n"));
    assert_eq!(fs::metadata(&besides).unwrap().permissions().mode() & 0o777, 0o600);

    let failure = pod.once(&[item("absent")]).await.unwrap_err();
    assert_eq!(failure.class, Class::Template);
    assert!(failure.text.contains("main: template ") && failure.text.contains("absent: No such file"), "{failure}");
}

#[tokio::test]
async fn a_login_that_is_nobodys_pod_has_leases_too() {
    let pod = Pod::new().await;
    {
        let mut world = pod.server.world.lock().unwrap();
        world.leased.insert("database/creds/ro".to_owned(), (3, 3));
        world.no_pod = true;
    }
    let agent = pod.start(&[db()]);
    until("rendered", 5, || pod.text("db") == "u1:p1").await;
    until("replaced before its end", 10, || pod.text("db") == "u2:p2").await;
    assert_eq!(pod.state("db"), State::Fresh);
    agent.abort();
}

#[tokio::test]
async fn a_failed_renewal_never_mints_and_the_file_says_stale() {
    let pod = Pod::new().await;
    {
        let mut world = pod.server.world.lock().unwrap();
        world.leased.insert("database/creds/ro".to_owned(), (6, 600));
        world.renewals_fail = Some(503);
    }
    let agent = pod.start(&[db()]);
    until("rendered", 5, || pod.text("db") == "u1:p1").await;
    until("stale", 10, || pod.state("db") == State::Stale).await;
    {
        let world = pod.server.world.lock().unwrap();
        assert!(world.renewals <= 5, "{} renewals: a hot loop", world.renewals);
        assert_eq!(world.minted, 1);
    }
    pod.server.world.lock().unwrap().renewals_fail = None;
    until("fresh again", 20, || pod.state("db") == State::Fresh).await;
    assert_eq!((pod.server.world.lock().unwrap().minted, pod.text("db").as_str()), (1, "u1:p1"));
    agent.abort();
}

#[tokio::test]
async fn at_the_end_of_its_life_a_lease_is_replaced_before_it_breaks() {
    let pod = Pod::new().await;
    pod.server.world.lock().unwrap().leased.insert("database/creds/ro".to_owned(), (3, 4));
    let agent = pod.start(&[db()]);
    until("rendered", 5, || pod.text("db") == "u1:p1").await;
    let started = Instant::now();
    until("replaced", 15, || pod.text("db") == "u2:p2").await;
    let world = pod.server.world.lock().unwrap();
    assert!(world.renewals >= 1, "it was renewed while that was possible");
    assert!(world.minted == 2 && started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
    agent.abort();
}

#[tokio::test]
async fn a_wanted_duration_is_the_duration_of_the_lease() {
    let pod = Pod::new().await;
    pod.server.world.lock().unwrap().leased.insert("database/creds/ro".to_owned(), (3600, 86_400));
    let mut item = db();
    item["ttl"] = json!("3s");
    let expires_in = || {
        let status = status::read(&pod.file(".holdfast")).unwrap_or_default();
        let expires = status.items.get("db").and_then(|item| item.expires);
        expires.map_or(-1, |expires| expires.as_second() - SystemClock.now().as_second())
    };
    let agent = pod.start(&[item]);
    until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
    assert!((1..=4).contains(&expires_in()), "{}", expires_in());
    // At two thirds it is renewed for as long again, and it is not taken for the end of its life.
    until("renewals", 10, || pod.server.world.lock().unwrap().renewals >= 4).await;
    assert!((0..=4).contains(&expires_in()), "{}", expires_in());
    assert_eq!((pod.server.world.lock().unwrap().minted, pod.text("db").as_str()), (1, "u1:p1"));
    agent.abort();
}

#[tokio::test]
async fn failures_before_the_first_render_have_their_class_and_say_why() {
    let pod = Pod::new().await;
    pod.server.world.lock().unwrap().denied.insert("database/creds/ro".to_owned());
    let failure = pod.once(&[db()]).await.unwrap_err();
    assert_eq!(failure.class, Class::Denied);
    assert!(failure.text.starts_with("db: permission denied reading database/creds/ro as role \"orders\" (403). No rule of policies [default orders] grants read on that path."), "{failure}");

    let absent = json!({ "name": "x", "path": "kv/data/none", "template": "{{ .k }}" });
    assert_eq!(pod.once(&[absent]).await.unwrap_err().class, Class::NotFound);

    let broken = json!({ "name": "x", "template": "{{ 5 | toUpper }}" });
    assert_eq!(pod.once(&[broken]).await.unwrap_err().class, Class::Template);

    let pod = Pod::new().await;
    let mut config = pod.config(&[db()]);
    config.server.address = "http://127.0.0.1:1".to_owned();
    let run = run::run(config, Mode::Once, Arc::new(SystemClock), Arc::new(SystemEntropy), Shutdown::new());
    assert_eq!(run.await.unwrap_err().class, Class::Away);
}

/// A certificate and its key, as an engine answers them.
fn issued() -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["app.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    json!({ "certificate": certificate.pem(), "private_key": key.serialize_pem() })
}

#[tokio::test]
async fn a_certificate_and_its_key_change_in_one_step_and_never_without_each_other() {
    let pod = Pod::new().await;
    let set = |value: &Value| {
        let value = json!({ "data": value, "metadata": { "version": 1 } });
        pod.server.world.lock().unwrap().kv.insert("kv/data/tls".to_owned(), value);
    };
    let (one, two) = (issued(), issued());
    set(&one);
    let item = |name: &str, field: &str| json!({ "name": name, "path": "kv/data/tls", "template": format!("{{{{ .{field} }}}}") });
    // Beside other files they are files; in a folder of their own they are swapped by a link.
    let both = |folder: &str| {
        [item(&format!("{folder}tls.crt"), "certificate"), item(&format!("{folder}tls.key"), "private_key")]
    };
    let agent = pod.start(&[both(""), both("tls/")].concat());
    until("rendered", 5, || status::is_ready(&pod.file(".holdfast"))).await;
    let shows = |value: &Value| {
        ["", "tls/"].iter().all(|folder| {
            pod.text(&format!("{folder}tls.crt")) == value["certificate"]
                && pod.text(&format!("{folder}tls.key")) == value["private_key"]
        })
    };
    assert!(shows(&one) && !pod.file("tls.crt").is_symlink());
    assert_eq!(fs::read_link(pod.file("tls/tls.key")).unwrap(), PathBuf::from("..data/tls.key"));

    set(&json!({ "certificate": two["certificate"], "private_key": one["private_key"] }));
    until("refused", 5, || pod.state("tls.key") == State::Stale).await;
    let reason = status::read(&pod.file(".holdfast")).unwrap().items["tls.crt"].reason.clone().unwrap();
    assert!(reason.contains("the private key in ") && reason.contains("is not the certificate's"), "{reason}");
    assert!(shows(&one));
    set(&two);
    until("both", 5, || shows(&two) && pod.state("tls.key") == State::Fresh).await;
    agent.abort();

    set(&json!({ "certificate": one["certificate"], "private_key": two["private_key"] }));
    let failure = pod.once(&both("new/")).await.unwrap_err();
    assert!(failure.class == Class::Template && !pod.file("new").exists(), "{}", failure.text);
    // The key of one and the certificate of somebody else.
    pod.once(&[item("sso/idp.crt", "certificate"), item("sso/sp.key", "private_key")]).await.unwrap();
    assert_eq!(pod.text("sso/sp.key"), two["private_key"]);
}
