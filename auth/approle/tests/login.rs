use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use holdfast_logical::{Error, Operation, TokenKind};
use serde_json::{Value, json};

use crate::mount::{HOME, Mount, REFUSED};

#[tokio::test]
async fn a_login_gives_what_the_role_says() {
    let mount = Mount::with_role(json!({
        "token_policies": ["app"], "token_ttl": "20m", "token_max_ttl": "30m", "token_num_uses": 5,
        "token_bound_cidrs": "10.0.0.0/8", "token_type": "service", "token_no_default_policy": true,
    }))
    .await;
    let secret_id = mount.secret_id(json!({"metadata": {"team": "shop"}, "token_bound_cidrs": "10.1.0.0/16"})).await;
    let grant = mount.login(&secret_id).await.unwrap();
    assert_eq!((grant.alias.as_str(), grant.display_name.as_str()), ("r", ""));
    assert_eq!((&grant.metadata["role_name"][..], &grant.metadata["team"][..]), ("app", "shop"));
    assert_eq!((grant.policies.clone(), grant.no_default_policy), (vec!["app".to_owned()], true));
    assert_eq!((grant.ttl, grant.max_ttl), (Some(Duration::from_secs(1200)), Some(Duration::from_secs(1800))));
    assert_eq!((grant.num_uses, grant.kind, grant.renewable), (5, TokenKind::Service, true));
    assert_eq!(grant.bound_cidrs, ["10.1.0.0/16"]);

    mount.write("role/app", json!({"token_ttl": "5m"})).await;
    assert_eq!(mount.renew(grant.clone()).await.unwrap().ttl, Some(Duration::from_secs(300)));
    mount.ask(Operation::Delete, "role/app", Value::Null).await.unwrap();
    let error = mount.renew(grant).await.unwrap_err();
    assert_eq!(error.to_string(), "role \"app\" does not exist during renewal");
}

#[tokio::test]
async fn wrong_ids_are_all_answered_alike() {
    let mount = Mount::with_role(json!({})).await;
    mount.write("role/other", json!({"role_id": "o"})).await;
    let secret_id = mount.secret_id(json!({})).await;
    assert_eq!(mount.refused("login", json!({"secret_id": secret_id})).await, "missing role_id");
    assert_eq!(mount.refused("login", json!({"role_id": "r"})).await, "missing secret_id");
    let of_other = mount.made("role/other/secret-id", json!({})).await["secret_id"].as_str().unwrap().to_owned();
    for (role_id, secret_id) in [
        ("nobody", secret_id.as_str()),
        ("app", &secret_id),
        ("r", "wrong"),
        ("r", &of_other),
        ("r", &secret_id.to_uppercase()),
        ("../app", "x"),
    ] {
        mount.no_login(role_id, secret_id).await;
    }
    mount.login(&secret_id).await.unwrap();
    mount.login(&format!("{secret_id}\n")).await.unwrap();
    assert_eq!(mount.refused("login", json!({"role_id": " ", "secret_id": secret_id})).await, "missing role_id");
}

/// Mean and variance of the mean, without the slowest quarter, which is the machine's doing.
fn moments(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    times.truncate(times.len() * 3 / 4);
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, variance / count)
}

/// Whether a role id exists cannot be told by the time of the refusal, beyond what a look into the store takes.
#[tokio::test]
async fn cve_2025_6011_an_unknown_role_id_takes_about_as_long_as_a_wrong_secret_id() {
    let mount = Mount::with_role(json!({})).await;
    mount.secret_id(json!({})).await;
    let mut times = [Vec::new(), Vec::new()];
    // Turn by turn, so that whatever else the machine does, it does to both.
    for _ in 0..2000 {
        for (times, role_id) in times.iter_mut().zip(["r", "nobody"]) {
            let start = Instant::now();
            mount.no_login(role_id, "wrong").await;
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let [(known, a), (unknown, b)] = times.map(moments);
    let t = (known - unknown) / (a + b).sqrt();
    // Both are far below what a network adds; a hash of the wrong kind in one of them would take milliseconds.
    assert!(t.abs() < 4.5 || (known - unknown).abs() < 0.000_5, "t {t}: {known} s and {unknown} s");
}

#[tokio::test]
async fn a_role_that_became_narrower_refuses_wider_secret_ids() {
    let mount = Mount::with_role(json!({})).await;
    let secret_id = mount.secret_id(json!({"token_bound_cidrs": "10.0.0.0/8"})).await;
    mount.login(&secret_id).await.unwrap();
    mount.write("role/app", json!({"token_bound_cidrs": "10.1.2.0/24"})).await;
    match mount.login(&secret_id).await {
        Err(Error::Invalid(text)) => assert!(text.contains("subset"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_expired_secret_id_is_refused_and_gone() {
    let mount = Mount::with_role(json!({"secret_id_ttl": "10m"})).await;
    let secret_id = mount.secret_id(json!({})).await;
    mount.clock.advance(Duration::from_secs(599));
    mount.login(&secret_id).await.unwrap();
    mount.clock.advance(Duration::from_secs(1));
    let looked = mount.write("role/app/secret-id/lookup", json!({"secret_id": secret_id})).await;
    assert!(looked.data.is_none());
    mount.no_login("r", &secret_id).await;
    assert!(mount.keys("role/app/secret-id").await.is_empty());
}

#[tokio::test]
async fn logins_come_from_where_they_may_and_others_take_no_use() {
    let mount = Mount::with_role(json!({"secret_id_bound_cidrs": "10.0.0.0/8", "secret_id_num_uses": 1})).await;
    let secret_id = mount.secret_id(json!({"cidr_list": "10.1.2.0/24"})).await;
    for (remote, part) in [("10.1.3.1", "secret ID"), ("192.168.0.1", "secret ID"), ("nowhere", "secret ID")] {
        match mount.login_from(remote, "r", &secret_id).await {
            Err(Error::Invalid(text)) => {
                assert!(text.contains("unauthorized") && text.contains(part), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    let wide = mount.secret_id(json!({})).await;
    match mount.login_from("192.168.0.1", "r", &wide).await {
        Err(Error::Invalid(text)) => assert!(text.contains("\"192.168.0.1\"") && text.contains("role"), "{text}"),
        other => panic!("{other:?}"),
    }
    mount.write("role/app", json!({"token_bound_cidrs": "10.9.0.0/16"})).await;
    assert!(matches!(mount.login(&wide).await, Err(Error::Denied(text)) if text == "permission denied"));
    mount.ask(Operation::Delete, "role/app/token-bound-cidrs", Value::Null).await.unwrap();
    mount.login_from("::ffff:10.1.2.3", "r", &secret_id).await.unwrap();
    mount.login(&wide).await.unwrap();
    mount.no_login("r", &secret_id).await;
}

#[tokio::test]
async fn a_role_may_be_bound_by_addresses_alone() {
    let mount = Mount::with_role(json!({"bind_secret_id": false, "secret_id_bound_cidrs": "10.0.0.0/8"})).await;
    let grant = mount.ask(Operation::Update, "login", json!({"role_id": "r"})).await.unwrap().grant.unwrap();
    assert_eq!(grant.metadata["role_name"], "app");
    assert!(mount.login_from("192.168.0.1", "r", "").await.is_err());
}

#[tokio::test]
async fn uses_are_counted_down_and_shown() {
    let mount = Mount::with_role(json!({})).await;
    let secret_id = mount.secret_id(json!({"num_uses": 2})).await;
    mount.login(&secret_id).await.unwrap();
    let looked = mount.made("role/app/secret-id/lookup", json!({"secret_id": secret_id})).await;
    assert_eq!(looked["secret_id_num_uses"], json!(1));
    mount.login(&secret_id).await.unwrap();
    mount.no_login("r", &secret_id).await;
    assert!(mount.keys("role/app/secret-id").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn as_many_logins_succeed_at_once_as_there_are_uses_whichever_server_they_reach() {
    let mount = Mount::with_role(json!({})).await;
    let servers = [Arc::new(mount.second().await), Arc::new(mount)];
    for (uses, logins) in [(1, 16), (7, 24)] {
        let secret_id = servers[1].secret_id(json!({"num_uses": uses})).await;
        let tasks = (0..logins).map(|turn| {
            let (mount, secret_id) = (servers[turn % 2].clone(), secret_id.clone());
            tokio::spawn(async move { mount.login_from(HOME, "r", &secret_id).await })
        });
        let mut succeeded = 0;
        for outcome in join_all(tasks).await {
            match outcome.unwrap() {
                Ok(_) => succeeded += 1,
                Err(Error::Credentials(text)) => assert_eq!(text, REFUSED),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(succeeded, uses);
    }
}
