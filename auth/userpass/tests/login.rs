use std::time::{Duration, Instant};

use holdfast_logical::{Error, Operation};
use serde_json::{Value, json};

use crate::mount::Mount;

const REFUSED: &str = "invalid username or password";

async fn no_login(mount: &Mount, name: &str, password: &str) {
    match mount.login(name, password).await {
        Err(Error::Credentials(text)) => assert_eq!(text, REFUSED),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_login_gives_what_the_user_says() {
    let mount = Mount::new().await;
    mount.write("users/ada", json!({"password": "right", "token_policies": "app", "ttl": "10s"})).await;
    let grant = mount.login("Ada", "right").await.unwrap();
    assert_eq!((grant.alias.as_str(), grant.display_name.as_str()), ("ada", "ada"));
    assert_eq!((grant.metadata.len(), &grant.metadata["username"][..]), (1, "ada"));
    assert_eq!((grant.policies, grant.ttl), (vec!["app".to_owned()], Some(Duration::from_secs(10))));
}

#[tokio::test]
async fn cve_2025_6010_wrong_names_and_passwords_are_answered_alike() {
    let mount = Mount::new().await;
    let longest = "x".repeat(72);
    mount.write("users/ada", json!({"password": longest})).await;
    assert_eq!(mount.refused("login/ada", json!({})).await, "missing password");
    assert_eq!(mount.refused("login/nobody", json!({})).await, "missing password");
    no_login(&mount, "ada", "wrong").await;
    no_login(&mount, "nobody", &longest).await;
    // bcrypt alone would take this one: it compares 72 bytes.
    no_login(&mount, "ada", &"x".repeat(73)).await;
    mount.login("ada", &longest).await.unwrap();
}

/// Mean and variance of the mean.
fn moments(times: &[f64]) -> (f64, f64) {
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, variance / count)
}

#[tokio::test]
async fn cve_2025_6011_an_unknown_name_takes_as_long_as_a_wrong_password() {
    const SAMPLES: usize = 40;
    let mount = Mount::new().await;
    mount.write("users/ada", json!({"password": "right"})).await;
    let mut times = [Vec::new(), Vec::new()];
    // Turn by turn, so that whatever else the machine does, it does to both.
    for _ in 0..SAMPLES {
        for (times, name) in times.iter_mut().zip(["ada", "nobody"]) {
            let start = Instant::now();
            no_login(&mount, name, "wrong").await;
            times.push(start.elapsed().as_secs_f64());
        }
    }
    // The slowest quarter is the machine's doing.
    for times in &mut times {
        times.sort_by(f64::total_cmp);
        times.truncate(SAMPLES * 3 / 4);
    }
    let [(known, known_variance), (unknown, unknown_variance)] = [moments(&times[0]), moments(&times[1])];
    let t = (known - unknown) / (known_variance + unknown_variance).sqrt();
    // Welch's t. Without a comparison for unknown names it is in the hundreds; a tenth of the time is below any noise.
    assert!(t.abs() < 4.5 || (known - unknown).abs() < known / 10.0, "t {t}: {known} s and {unknown} s");
}

#[tokio::test]
async fn a_new_password_replaces_the_old_one() {
    let mount = Mount::new().await;
    mount.write("users/ada", json!({"password": "old"})).await;
    mount.write("users/ada/password", json!({"password": "new"})).await;
    no_login(&mount, "ada", "old").await;
    mount.login("ada", "new").await.unwrap();
    // bcrypt's own test vector: the password is U*U.
    let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    mount.write("users/ada/password", json!({"password_hash": hash})).await;
    no_login(&mount, "ada", "new").await;
    mount.login("ada", "U*U").await.unwrap();
}

#[tokio::test]
async fn logins_come_from_where_they_may() {
    let mount = Mount::new().await;
    mount.write("users/ada", json!({"password": "right", "token_bound_cidrs": "10.0.0.0/8"})).await;
    mount.login("ada", "right").await.unwrap();
    let body = json!({"password": "right"});
    let outside = mount.ask_from("192.168.0.1", Operation::Update, "login/ada", body).await;
    assert!(matches!(outside, Err(Error::Denied(text)) if text == "permission denied"));
}

#[tokio::test]
async fn renewal_follows_the_user() {
    let mount = Mount::new().await;
    mount.write("users/ada", json!({"password": "right", "token_policies": "a,b"})).await;
    let grant = mount.login("ada", "right").await.unwrap();
    mount.write("users/ada", json!({"token_ttl": "5m", "token_policies": "b,a"})).await;
    assert_eq!(mount.renew(grant.clone()).await.unwrap().ttl, Some(Duration::from_secs(300)));
    mount.write("users/ada/policies", json!({"token_policies": "c"})).await;
    let error = mount.renew(grant.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), "policies have changed, not renewing");
    mount.ask(Operation::Delete, "users/ada", Value::Null).await.unwrap();
    assert!(mount.renew(grant).await.is_err());
}
