//! `make demo`: the main job, end to end, one line a step with what was seen and how long it took.

use std::{
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use holdfast_e2e::{
    Release, Shop, postgres, release,
    shell::{kubectl, run},
    shop::{self, PODS_AND_PLACES},
    wait::eventually_within,
};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    holdfast_runtime::install_crypto_provider();
    let start = Instant::now();
    match demo().await {
        Ok(()) => {
            println!(
                "\nDone in {:.0} s. Look around: make demo-shell, then kubectl get se,vp,dcred -n shop.",
                start.elapsed().as_secs_f64()
            );
            println!("Clean up: make demo-down.");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            let folder = std::env::temp_dir().join("holdfast-demo");
            let state = Release { name: "holdfast".to_owned() }.state().await;
            let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join("state.txt"), state));
            eprintln!("\n✗ {error:#}\n");
            if kept.is_ok() {
                eprintln!("Pods, events and logs: {}/state.txt", folder.display());
            }
            std::process::ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    step("the chart is installed: server, etcd, operator, CSI driver, webhook", async {
        let release = shop::shared_release().await?;
        Ok((release, ""))
    })
    .await?;
    let release = Release { name: "holdfast".to_owned() };
    let shop = step("a PostgreSQL of the user's runs in namespace shop", async { Ok((Shop::open("shop").await?, "")) })
        .await?;
    step("SecretEngines, VaultPolicies and DynamicCredentials are Ready", async {
        shop.apply().await?;
        Ok(((), ""))
    })
    .await?;

    let server = shop::connect(&release).await?;
    let admin = shop.admin(&server).await?;
    shop.set_token(&admin, "first").await?;
    step("pod A (CSI volume) and pod B (annotations) run", async {
        shop.start_pods().await?;
        Ok(((), ""))
    })
    .await?;

    let mut users = Vec::new();
    for place in PODS_AND_PLACES {
        let seen = step(&format!("{} queries PostgreSQL as its own user", place.pod), async {
            let seen = shop.query_from(place).await?;
            Ok((seen.clone(), seen))
        })
        .await?;
        users.push(seen.split(' ').next().unwrap_or_default().to_owned());
    }
    ensure!(users[0] != users[1], "both pods use {}", users[0]);

    step("a changed value reaches both pods within 2 s, without a restart", async {
        shop.set_token(&admin, "second").await?;
        let limit = Duration::from_secs(2);
        let waits = PODS_AND_PLACES.map(|place| shop.wait_file(place.pod, place.token, "second", limit));
        let took = futures::future::try_join_all(waits).await?;
        Ok(((), format!("A after {:.1} s, B after {:.1} s", took[0].as_secs_f64(), took[1].as_secs_f64())))
    })
    .await?;

    step("a lease is renewed", renewal(&shop)).await?;
    step("a rotation reaches the running processes", rotation(&shop)).await?;

    let before = shop.lasting_users().await?;
    step("CSI driver, operator and server are killed (kill -9) and come back; no user is made", async {
        let components = ["csi", "operator", "server"];
        futures::future::try_join_all(components.map(|component| release.kill(component))).await?;
        unchanged(&shop, &before).await
    })
    .await?;
    step("the agent in pod B is killed and comes back; no user is made", async {
        release::kill_agent(&shop.namespace, "pod-b").await?;
        unchanged(&shop, &before).await
    })
    .await?;

    step("pod A is deleted; its user is gone within 5 s", async {
        run("kubectl", &["delete", "pod", "-n", "shop", "pod-a", "--wait=false"]).await?;
        let start = Instant::now();
        eventually_within(Duration::from_secs(6), "the user is gone", || async {
            Ok((!postgres::minted("shop").await?.contains(&users[0])).then_some(()))
        })
        .await?;
        Ok(((), format!("{} after {:.1} s", users[0], start.elapsed().as_secs_f64())))
    })
    .await?;

    println!("\n$ kubectl get se,vp,dcred -n shop\n{}", kubectl("get se,vp,dcred -n shop").await?);
    print_audit(&release).await
}

/// `VALID UNTIL` of pod A's brief user moves forward while the name stays.
async fn renewal(shop: &Shop) -> Result<((), String)> {
    let user = shop.file("pod-a", PODS_AND_PLACES[0].brief).await?;
    let until = |user: String| async move {
        postgres::query(&shop.namespace, &format!("select rolvaliduntil from pg_roles where rolname = '{user}'")).await
    };
    let first = until(user.clone()).await?;
    let renewed = eventually_within(Duration::from_secs(25), "the user's end moves", || async {
        let user = shop.file("pod-a", PODS_AND_PLACES[0].brief).await?;
        let now = until(user.clone()).await?;
        Ok((!now.is_empty() && now > first).then_some((user, now)))
    })
    .await?;
    Ok(((), format!("{} now ends {}", renewed.0, renewed.1)))
}

async fn rotation(shop: &Shop) -> Result<((), String)> {
    let mut shown = Vec::new();
    for place in PODS_AND_PLACES {
        let lines = eventually_within(Duration::from_secs(45), "the process sees a second user", || async {
            let seen = shop.file(place.pod, "/tmp/seen").await?;
            let mut users: Vec<&str> = seen.lines().filter_map(|line| line.split(' ').nth(2)).collect();
            users.dedup();
            Ok((users.len() >= 2).then_some(users.len()))
        })
        .await?;
        let restarts = shop.restarts(place.pod).await?;
        ensure!(restarts == 0, "{} was restarted {restarts} times", place.pod);
        shown.push(format!("{}: {lines} users seen by one process", place.pod));
    }
    Ok(((), shown.join(", ")))
}

/// The same users as before, and both pods still query.
async fn unchanged(shop: &Shop, before: &[String]) -> Result<((), String)> {
    for place in PODS_AND_PLACES {
        shop.query_from(place).await?;
    }
    let after = shop.lasting_users().await?;
    ensure!(before == after, "users before: {before:?}, after: {after:?}");
    Ok(((), format!("{} users, the same as before", after.len())))
}

async fn print_audit(release: &Release) -> Result<()> {
    let entries = release.audit().await?;
    println!("Audit file: {} entries. The story of database users in it:", entries.len());
    let told = |entry: &&serde_json::Value| {
        let path = entry["request"]["path"].as_str().unwrap_or_default();
        let kind = entry["type"].as_str().unwrap_or_default();
        let released = path.starts_with("sys/bindings/pod/") && entry["request"]["operation"] == "delete";
        kind == "response" && (path.starts_with("k8s/shop/orders-db/creds/") || released)
    };
    let story: Vec<_> = entries.iter().filter(told).collect();
    ensure!(!story.is_empty(), "no credential in the audit file");
    for entry in story.iter().skip(story.len().saturating_sub(10)) {
        let path = entry["request"]["path"].as_str().unwrap_or_default();
        println!(
            "  {}  {}  {}  {}  lease {}",
            entry["time"].as_str().unwrap_or_default().get(11..19).unwrap_or_default(),
            entry["auth"]["display_name"].as_str().unwrap_or_default(),
            entry["request"]["operation"].as_str().unwrap_or_default(),
            path,
            entry["response"]["secret"]["lease_id"].as_str().unwrap_or("-"),
        );
    }
    Ok(())
}

/// Runs a step and prints its line.
async fn step<T, D: Display>(what: &str, work: impl Future<Output = Result<(T, D)>>) -> Result<T> {
    let start = Instant::now();
    let (value, seen) = work.await.with_context(|| what.to_owned())?;
    let seen = seen.to_string();
    let seen = if seen.is_empty() { seen } else { format!("\n          {seen}") };
    println!("✓ {:>5.1} s  {what}{seen}", start.elapsed().as_secs_f64());
    Ok(value)
}
