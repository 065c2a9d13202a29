//! A database that is slow, or whose table of users somebody has locked: those who ask it are told so in time, it gets no
//! more connections than it is to get, nobody else notices, and in the end nothing is left there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_client::Client;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::{
    failpoints::site::{Keys, Site},
    fixture::{
        data,
        etcd::Etcd,
        postgres::{ADMIN, Postgres},
    },
};

/// Connections that the slow one may get.
const CONNECTIONS: i64 = 2;

/// Clients that ask it at a time.
const CLIENTS: usize = 40;

/// The deadline of 30 s as this test sets it, with what a busy machine adds.
const DEADLINE: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(7);

/// How long one part takes.
const PART: Duration = Duration::from_secs(8);

async fn mount(client: &Client, postgres: &Postgres, name: &str, login: (&str, &str), statements: &[&str]) {
    client.write(&format!("sys/mounts/{name}"), json!({"type": "database"})).await.unwrap();
    let url =
        format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable", postgres.port);
    let config = json!({"plugin_name": "postgresql-database-plugin", "connection_url": url, "allowed_roles": "*",
                        "username": login.0, "password": login.1, "max_open_connections": CONNECTIONS});
    client.write(&format!("{name}/config/main"), config).await.unwrap();
    let role = json!({"db_name": "main", "creation_statements": statements, "default_ttl": "1h"});
    client.write(&format!("{name}/roles/{name}"), role).await.unwrap();
}

/// How long requests of some kind took, until told to stop.
fn probe(client: &Client, path: &'static str, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<Duration>> {
    let (client, stop) = (client.clone(), stop.clone());
    tokio::spawn(async move {
        let mut took = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            match path {
                "kept/data/probe" => drop(client.write(path, json!({"data": {"n": took.len()}})).await.unwrap()),
                path => drop(client.read(path).await.unwrap()),
            }
            took.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        took.sort();
        took
    })
}

fn shown(times: &[Duration]) -> String {
    let at = |of_hundred: usize| times.get((times.len() * of_hundred / 100).min(times.len() - 1)).unwrap();
    format!("{:?} / {:?} ({})", at(50), at(99), times.len())
}

/// Asks the mount `slow` as fast as it is told no; how long the longest answer took.
fn ask(client: &Client, stop: &Arc<AtomicBool>) -> JoinHandle<(usize, Duration)> {
    let (client, stop) = (client.clone(), stop.clone());
    tokio::spawn(async move {
        let (mut asked, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let refused = client.read("slow/creds/slow").await.unwrap_err();
            (asked, longest) = (asked + 1, longest.max(begun.elapsed()));
            assert!(refused.to_string().contains("50"), "{refused}");
        }
        (asked, longest)
    })
}

/// Others use the server meanwhile; what they saw.
async fn part(what: &str, site: &Site, postgres: &Postgres, slow: bool) -> Vec<Vec<Duration>> {
    let (client, stop) = (site.client(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..if slow { CLIENTS } else { 0 }).map(|_| ask(&client, &stop)).collect();
    let paths = ["kept/data/secret", "kept/data/probe", "fast/creds/fast"];
    let probes: Vec<_> = paths.iter().map(|path| probe(&client, path, &stop)).collect();
    let admin = postgres.connect(ADMIN.0, ADMIN.1).await.unwrap();
    let (begun, mut most) = (Instant::now(), 0_i64);
    while begun.elapsed() < PART {
        // One that was given up, and is about to go, does nothing any more.
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'slow' AND state = 'active'";
        most = most.max(admin.query_one(sql, &[]).await.unwrap().get(0));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (mut asked, mut longest) = (0, Duration::ZERO);
    for client in clients {
        let (its, took) = client.await.unwrap();
        (asked, longest) = (asked + its, longest.max(took));
    }
    let mut times = Vec::new();
    for probe in probes {
        times.push(probe.await.unwrap());
    }
    println!(
        "{what}: {asked} refused, the slowest after {longest:?}, {most} connections at most; others, p50 / p99 (number): \
         kv read {}, kv write {}, users of another mount {}",
        shown(&times[0]),
        shown(&times[1]),
        shown(&times[2]),
    );
    assert!(most <= CONNECTIONS, "{most} connections");
    assert!(!slow || (asked > CLIENTS && longest < DEADLINE + SLACK), "{asked} asked, {longest:?}");
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_is_given_up_in_time_and_nobody_else_notices() {
    let (etcd, postgres) = (Etcd::start().await, Postgres::start().await);
    let site = Site::furnished(&etcd, "slow", Keys::File).await;
    site.arm("lease.impatient", "");
    // Seconds instead of a minute until what was begun is swept.
    site.arm("lease.soon", "");
    let admin = postgres.connect(ADMIN.0, ADMIN.1).await.unwrap();
    admin.batch_execute("CREATE ROLE slow LOGIN CREATEROLE PASSWORD 'slow'").await.unwrap();
    let create = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
    let client = site.client();
    mount(&client, &postgres, "fast", ADMIN, &[create]).await;
    mount(&client, &postgres, "slow", ("slow", "slow"), &[create]).await;
    let role = |statements: &[&str]| json!({"db_name": "main", "creation_statements": statements, "default_ttl": "1h"});

    let before = part("before", &site, &postgres, false).await;
    client.write("slow/roles/slow", role(&[create, "SELECT pg_sleep(20)"])).await.unwrap();
    let slept = part("statements that take 20 s", &site, &postgres, true).await;

    // Its leases cannot be revoked either, nor users of others be made, while the table of users is locked.
    client.write("slow/roles/slow", role(&[create])).await.unwrap();
    let made = client.read("slow/creds/slow").await.unwrap().unwrap();
    site.until("nothing is left of the slow ones", async || postgres.users_with("-slow-").await.len() == 1).await;
    admin.batch_execute("BEGIN; LOCK TABLE pg_authid IN SHARE MODE").await.unwrap();
    let refused = client.write("sys/leases/revoke", json!({"lease_id": made.lease_id, "sync": true})).await;
    assert!(refused.is_err() || postgres.users_with("-slow-").await.len() == 1);
    admin.batch_execute("ROLLBACK").await.unwrap();
    site.until("its user is gone when it can be", async || postgres.users_with("-slow-").await.is_empty()).await;

    for (path, (before, during)) in ["kv read", "kv write", "fast"].iter().zip(before.iter().zip(&slept)) {
        let at = |times: &[Duration]| times[times.len() * 95 / 100];
        // Less than the deadline: nobody waits for the slow one.
        let most = at(before) * 2 + DEADLINE / 2;
        assert!(at(during) < most, "{path}: {:?}, before {:?}", at(during), at(before));
    }
    let found = data(&client, "sys/fsck").await;
    assert_eq!(found["clean"], true, "{found}");
    site.disarm("lease.impatient");
    site.disarm("lease.soon");
}
