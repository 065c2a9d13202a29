//! User lockout, with an auth method that counts how many passwords it was asked about.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use holdfast_core::{Answer, Error, Verb};
use holdfast_logical::{
    Auth, Backend, Error as Logical, Field, Grant, Kind, MountInfo, Operation, PathTable, Request, Response, Row,
    Services,
};
use parking_lot::Mutex;
use serde_json::json;

use crate::bench::{Bench, data};

/// Passwords that were looked at, by mount uuid.
static TRIED: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);

struct Gate;

const GATE: &PathTable = &[Row {
    id: "login",
    pattern: "login/:username",
    operations: &[Operation::Update],
    fields: &[Field::new("username", Kind::String, ""), Field::sensitive("password", Kind::String, "")],
    auth: Auth::None,
    help: "Lets in who says \"right\".",
}];

pub fn gate(_: Arc<MountInfo>, _: Services) -> Result<Arc<dyn Backend>, Logical> {
    Ok(Arc::new(Gate))
}

#[async_trait]
impl Backend for Gate {
    fn paths(&self) -> &'static PathTable {
        GATE
    }

    async fn handle(&self, request: Request) -> Result<Response, Logical> {
        let password = request.fields.required("password")?;
        *TRIED.lock().entry(request.mount.uuid.clone()).or_default() += 1;
        tokio::task::yield_now().await;
        match password {
            "right" => {
                Ok(Response { grant: Some(Grant { renewable: true, ..Grant::default() }), ..Response::default() })
            }
            _ => Err(Logical::Credentials("invalid username or password".to_owned())),
        }
    }

    async fn login_alias(&self, request: &Request) -> Result<Option<String>, Logical> {
        Ok(request.fields.string("username").map(str::to_lowercase))
    }

    async fn knows_alias(&self, alias: &str) -> Result<bool, Logical> {
        Ok(!alias.starts_with("ghost"))
    }
}

async fn gated() -> (Bench, String, String) {
    let bench = Bench::open().await;
    bench.write("sys/auth/users", json!({"type": "userpass"})).await;
    let shown = bench.read("sys/auth").await["users/"].clone();
    let text = |key: &str| shown[key].as_str().unwrap().to_owned();
    let (uuid, accessor) = (text("uuid"), text("accessor"));
    (bench, uuid, accessor)
}

fn tried(uuid: &str) -> u64 {
    TRIED.lock().get(uuid).copied().unwrap_or(0)
}

async fn login(bench: &Bench, name: &str, password: &str) -> Result<(), String> {
    let path = format!("auth/users/login/{name}");
    match bench.answer("", Verb::Write, &path, json!({ "password": password })).await {
        Answer::Error(Error::Logical(error)) => Err(error.to_string()),
        Answer::Envelope { .. } => Ok(()),
        other => panic!("{other:?}"),
    }
}

async fn locked(bench: &Bench) -> serde_json::Map<String, serde_json::Value> {
    bench.read("sys/locked-users").await
}

#[tokio::test]
async fn five_failures_lock_for_fifteen_minutes_also_with_the_right_password() {
    let (bench, uuid, accessor) = gated().await;
    for _ in 0..5 {
        assert_eq!(login(&bench, "anna", "wrong").await.unwrap_err(), "invalid username or password");
    }
    for password in ["wrong", "right"] {
        assert_eq!(login(&bench, "anna", password).await.unwrap_err(), "permission denied");
    }
    assert_eq!(tried(&uuid), 5);
    let shown = locked(&bench).await;
    assert_eq!(shown["total"], 1);
    let mount = &shown["by_namespace"][0]["mount_accessors"][0];
    assert_eq!((&mount["mount_accessor"], &mount["alias_identifiers"]), (&json!(accessor), &json!(["anna"])));
    login(&bench, "bert", "right").await.unwrap();
    bench.advance(899);
    assert!(login(&bench, "anna", "right").await.is_err());
    bench.advance(1);
    assert_eq!(locked(&bench).await["total"], 0);
    login(&bench, "anna", "right").await.unwrap();
}

#[tokio::test]
async fn an_administrator_unlocks_and_a_success_or_a_pause_forgets_the_failures() {
    let (bench, _, accessor) = gated().await;
    for _ in 0..5 {
        login(&bench, "anna", "wrong").await.unwrap_err();
    }
    bench.write(&format!("sys/locked-users/{accessor}/unlock/Anna"), json!({})).await;
    login(&bench, "anna", "right").await.unwrap();
    for _ in 0..3 {
        for _ in 0..4 {
            login(&bench, "anna", "wrong").await.unwrap_err();
        }
        login(&bench, "anna", "right").await.unwrap();
    }
    for _ in 0..2 {
        for _ in 0..4 {
            assert_ne!(login(&bench, "anna", "wrong").await.unwrap_err(), "permission denied");
        }
        bench.advance(901);
    }
    let unknown = bench.fails(&bench.root, Verb::Read, "sys/locked-users", json!({"mount_accessor": "x"})).await;
    assert!(unknown.to_string().contains("not valid"), "{unknown}");
    // What is no credential failure does not count.
    for _ in 0..9 {
        let answer = bench.answer("", Verb::Write, "auth/users/login/anna", json!({})).await;
        assert!(matches!(answer, Answer::Error(_)));
    }
    login(&bench, "anna", "right").await.unwrap();
}

#[tokio::test]
async fn cve_2025_6004_spellings_of_a_name_share_one_counter_also_in_a_burst_and_after_a_restart() {
    let (mut bench, uuid, _) = gated().await;
    let spelt = |bits: u32| -> String {
        let upper = |(at, letter): (usize, char)| match bits >> at & 1 {
            1 => letter.to_ascii_uppercase(),
            _ => letter,
        };
        "administrator".chars().enumerate().map(upper).collect()
    };
    let names: Vec<String> = (0..1000).map(spelt).collect();
    futures::future::join_all(names.iter().map(|name| login(&bench, name, "wrong"))).await;
    assert_eq!(tried(&uuid), 5);
    bench.restart().await;
    assert_eq!(login(&bench, "administrator", "right").await.unwrap_err(), "permission denied");
    assert_eq!(tried(&uuid), 5);
}

#[tokio::test]
async fn whoever_hangs_up_while_many_log_in_as_one_user_holds_up_nobody() {
    let (bench, uuid, _) = gated().await;
    let logins = (0..1000).map(|number| {
        let login = login(&bench, "robot", "right");
        async move {
            match number % 3 {
                0 => within(number % 16, login).await,
                _ => Some(login.await),
            }
        }
    });
    let ended = tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(logins)).await.unwrap();
    let granted = ended.into_iter().flatten().map(Result::unwrap).count();
    assert!((666..1000).contains(&granted), "{granted}");
    assert!(tried(&uuid) >= granted as u64);
}

/// What comes of it, unless it has to be looked at more than `times` times.
async fn within<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = times;
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_mount_has_its_own_limits_and_other_types_have_none() {
    let (bench, uuid, _) = gated().await;
    let limits = json!({"user_lockout_config": {"lockout_threshold": "2", "lockout_duration": "1m"}});
    bench.write("sys/auth/users/tune", limits).await;
    let shown = data(bench.ok(&bench.root, Verb::Read, "sys/auth/users/tune", json!({})).await);
    assert_eq!((&shown["user_lockout_threshold"], &shown["user_lockout_duration"]), (&json!(2), &json!(60)));
    for _ in 0..4 {
        login(&bench, "anna", "wrong").await.unwrap_err();
    }
    assert_eq!(tried(&uuid), 2);
    bench.write("sys/auth/users/tune", json!({"user_lockout_config": {"lockout_disable": true}})).await;
    login(&bench, "anna", "right").await.unwrap();
    let secret = json!({"user_lockout_config": {"lockout_threshold": 1}});
    let error = bench.fails(&bench.root, Verb::Write, "sys/mounts/cubbyhole/tune", secret).await;
    assert!(error.to_string().contains("user_lockout_config"), "{error}");
}

#[tokio::test]
async fn made_up_names_do_not_fill_the_store_and_users_stay_protected() {
    let (bench, uuid, _) = gated().await;
    for number in 0..20 {
        login(&bench, &format!("ghost{number}"), "wrong").await.unwrap_err();
    }
    for _ in 0..5 {
        login(&bench, "anna", "wrong").await.unwrap_err();
        // Of the first eight, who are counted.
        login(&bench, "ghost7", "wrong").await.unwrap_err();
        login(&bench, "ghost8", "wrong").await.unwrap_err();
    }
    let before = tried(&uuid);
    for (name, refusal) in
        [("anna", "permission denied"), ("ghost7", "permission denied"), ("ghost8", "invalid username or password")]
    {
        assert_eq!(login(&bench, name, "wrong").await.unwrap_err(), refusal, "{name}");
    }
    assert_eq!(tried(&uuid), before + 1);
    let long = login(&bench, &"a".repeat(513), "right").await.unwrap_err();
    assert!(long.contains("512 bytes"), "{long}");
    assert_eq!(tried(&uuid), before + 1);
    login(&bench, &"a".repeat(512), "right").await.unwrap();
}
