//! Mounts, namespaces, policies, tokens and their requests come and go, several at a time: nothing stands still
//! (OpenBao GH-2625, GH-2630, GH-2226, GH-3556: locks taken in another order), and what is gone takes no memory
//! (CVE-2023-5954). `make mount-soak` runs it for ten minutes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_client::{Call, Client, Config};
use holdfast_secret::SecretString;
use serde_json::json;

use crate::fixture::{Server, etcd::Etcd, folder, get, put};

const WORKERS: usize = 6;
/// No request of this test takes longer, however busy the machine is, unless it never ends.
const STUCK: Duration = Duration::from_secs(45);

/// How often the memory is looked at. The first half is warm-up.
const LOOKS: usize = 6;
/// What may be held more for each cycle of the second half, beside what the cache may keep; and what may be held anyway,
/// as memory that was given back is not all the system's again.
const SLACK: usize = 1 << 10;
const LOOSE: usize = 6 << 20;

#[tokio::test]
async fn cve_2023_5954_gh_2625_what_comes_and_goes_leaves_nothing_and_holds_up_nothing() {
    let cycles = std::env::var("HOLDFAST_SOAK_CYCLES").map_or(300, |text| text.parse().unwrap());
    let home = folder();
    // A store outside, so that only the server's own memory counts.
    let etcd = Etcd::start().await;
    let server = Server::start(home.path(), &etcd.stanza(etcd.folder(), "client")).await;
    let (root, _) = server.initialize(1, 1).await;
    let patient = Client::new(Config { address: server.address(), timeout: Some(STUCK), ..Config::default() }).unwrap();
    let client = patient.with_token(SecretString::new(root.token().unwrap().expose()));
    client
        .write("sys/policies/acl/soak", json!({"policy": "path \"+/a\" { capabilities = [\"read\"] }"}))
        .await
        .unwrap();
    let (begin, mut held) = (Instant::now(), Vec::new());
    let next = Arc::new(AtomicUsize::new(0));
    for look in 1..=LOOKS {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (client, next) = (client.clone(), next.clone());
                tokio::spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= cycles * look / LOOKS {
                            return;
                        }
                        cycle(&client, n).await;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        next.store(cycles * look / LOOKS, Ordering::Relaxed);
        held.push((server.resident_bytes(), cached(&client).await));
    }
    let kib: Vec<_> = held.iter().map(|(resident, cached)| (resident >> 10, cached >> 10)).collect();
    println!("{cycles} cycles in {:.1?}; KiB resident, and cached: {kib:?}", begin.elapsed());
    let [(before, cached_before), (after, cached_after)] = [held[LOOKS / 2 - 1], held[LOOKS - 1]];
    // What the cache counts is without what its entries are kept in.
    let grown = after.saturating_sub(before).saturating_sub(2 * cached_after.saturating_sub(cached_before));
    assert!(grown < (cycles / 2 * SLACK).max(LOOSE), "{kib:?}");
}

/// What the server keeps in memory of the store, by its own count.
async fn cached(client: &Client) -> usize {
    let call = Call { query: "format=prometheus".to_owned(), ..get("sys/metrics") };
    let answer = client.call(call).await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("holdfast_replica_cache_bytes "));
    line.unwrap().parse().unwrap()
}

/// One of each, and its end.
async fn cycle(client: &Client, n: usize) {
    let mount = format!("soak-{n}");
    client.write(&format!("sys/mounts/{mount}"), json!({"type": "kv"})).await.unwrap();
    client.write(&format!("{mount}/a"), json!({"value": "x".repeat(500)})).await.unwrap();
    if n.is_multiple_of(10) {
        client.write(&format!("sys/namespaces/team-{n}"), json!({})).await.unwrap();
        let within = client.with_namespace(&format!("team-{n}"));
        within.write("sys/auth/userpass", json!({"type": "userpass"})).await.unwrap();
    }
    let made = client.write("auth/token/create", json!({"policies": ["soak"], "meta": {"n": "1"}})).await.unwrap();
    let token = made.unwrap().auth.unwrap().client_token;
    let holder = client.with_token(SecretString::new(token.as_str()));
    assert!(holder.read(&format!("{mount}/a")).await.unwrap().is_some());
    let denied = holder.call(put(&format!("{mount}/a"), json!({"value": "y"}))).await.unwrap();
    assert_eq!(denied.status, 403);
    client.write("auth/token/revoke", json!({ "token": token })).await.unwrap();
    if n.is_multiple_of(10) {
        client.delete(&format!("sys/namespaces/team-{n}")).await.unwrap();
    }
    client.delete(&format!("sys/mounts/{mount}")).await.unwrap();
    assert_eq!(client.read(&format!("{mount}/a")).await.ok().flatten().map(|_| ()), None);
}
