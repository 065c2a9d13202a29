//! Three real servers over one etcd that all read from memory.

use std::time::{Duration, Instant};

use holdfast_client::{Call, Client};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{SOON, Server, data, etcd::Etcd, folder, free_port, get, unseal};

/// A wait that nothing but an eviction can explain.
const STALL: Duration = Duration::from_secs(2);
/// The longest stall by a dead replica is 4.4 s; the rest is for slow machines.
const LONGEST_STALL: Duration = Duration::from_secs(15);

struct Replica {
    server: Server,
    client: Client,
    /// Its configuration is here; kept so long.
    _folder: TempDir,
}

struct Cluster {
    replicas: Vec<Replica>,
    keys: Vec<String>,
    _etcd: Etcd,
}

async fn spawn(etcd: &Etcd) -> (Server, TempDir) {
    let (folder, peer) = (folder(), free_port());
    let storage = etcd.stanza(etcd.folder(), "client");
    let port = free_port();
    let listener = format!(
        "listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n cluster_address = \"127.0.0.1:{peer}\"\n \
         tls_disable = true\n}}\ncluster_addr = \"https://127.0.0.1:{peer}\"\n"
    );
    let file = folder.path().join("config.hcl");
    std::fs::write(&file, listener + &storage).unwrap();
    let mut server = Server::spawn(folder.path(), port, &[&format!("-config={}", file.display())]);
    server.wait_until_answering(&server.client()).await;
    (server, folder)
}

async fn cluster() -> Cluster {
    let etcd = Etcd::start().await;
    let (first, first_folder) = spawn(&etcd).await;
    let (client, made) = first.initialize(1, 1).await;
    let token = client.token().unwrap().duplicate();
    let mut replicas = vec![Replica { server: first, client, _folder: first_folder }];
    for _ in 0..2 {
        let (server, folder) = spawn(&etcd).await;
        let client = server.client().with_token(token.duplicate());
        assert_eq!(unseal(&client, &made.keys_base64).await["sealed"], false);
        replicas.push(Replica { server, client, _folder: folder });
    }
    let cluster = Cluster { replicas, keys: made.keys_base64, _etcd: etcd };
    cluster.until_all_cached().await;
    cluster.replicas[0].client.write("sys/mounts/kv", json!({"type": "kv"})).await.unwrap();
    cluster.replicas[0].client.write("kv/old", json!({"v": 0})).await.unwrap();
    cluster
}

impl Cluster {
    async fn until_all_cached(&self) {
        let deadline = Instant::now() + SOON * 2;
        for replica in &self.replicas {
            loop {
                let node = own(&replica.client).await;
                if node["reads_memory"] == true {
                    break;
                }
                assert!(Instant::now() < deadline, "{node}\n{}", replica.server.errors());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// What a replica says of itself.
async fn own(client: &Client) -> Value {
    let status = data(client, "sys/ha-status").await;
    let nodes = status["nodes"].as_array().unwrap().clone();
    nodes.into_iter().find(|node| node["answers"] == true).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_answers_the_others_show_also_when_one_dies_or_leaves() {
    let mut cluster = cluster().await;
    let clients: Vec<Client> = cluster.replicas.iter().map(|replica| replica.client.clone()).collect();
    for number in 0..30 {
        clients[number % 3].write("kv/a", json!({"v": number})).await.unwrap();
        for reader in [&clients[(number + 1) % 3], &clients[(number + 2) % 3]] {
            assert_eq!(data(reader, "kv/a").await["v"], number);
        }
    }
    // A token that was revoked through one is dead at all when the call returns.
    let made = clients[0].write("auth/token/create", json!({"ttl": "1h"})).await.unwrap().unwrap();
    let token = holdfast_secret::SecretString::new(made.auth.unwrap().client_token);
    for client in &clients {
        client.with_token(token.duplicate()).read("auth/token/lookup-self").await.unwrap();
    }
    clients[1].write("auth/token/revoke", json!({"token": token.expose()})).await.unwrap();
    for client in &clients {
        let answer = client.with_token(token.duplicate()).call(get("auth/token/lookup-self")).await.unwrap();
        assert_eq!(answer.status, 403);
    }

    a_rate_holds_for_all_together(&clients).await;

    // Planned: nobody waits.
    let third = cluster.replicas.pop().unwrap();
    assert!(third.server.stop().success());
    let start = Instant::now();
    clients[0].write("kv/a", json!({"v": "left"})).await.unwrap();
    assert_eq!(data(&clients[1], "kv/a").await["v"], "left");
    assert!(start.elapsed() < STALL, "{:?}", start.elapsed());

    // Killed: writes wait until it can answer nobody any more, reads of what was there do not.
    let second = cluster.replicas.pop().unwrap();
    second.server.kill();
    let start = Instant::now();
    let write = tokio::spawn({
        let client = clients[0].clone();
        async move { client.write("kv/a", json!({"v": "killed"})).await.map(drop) }
    });
    let mut longest = Duration::ZERO;
    while !write.is_finished() {
        let before = Instant::now();
        assert_eq!(data(&clients[0], "kv/old").await["v"], 0);
        longest = longest.max(before.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    write.await.unwrap().unwrap();
    assert!(start.elapsed() < LONGEST_STALL, "{:?}", start.elapsed());
    assert!(longest < STALL, "reads stalled for {longest:?}");
    let node = own(&clients[0]).await;
    assert_eq!((&node["evictions"], &node["gate"]["refused"]), (&json!(1), &json!(0)), "{node}");

    // One that comes back serves again.
    let (server, folder) = spawn(&cluster._etcd).await;
    let client = server.client().with_token(clients[0].token().unwrap().duplicate());
    assert_eq!(unseal(&client, &cluster.keys).await["sealed"], false);
    assert_eq!(data(&client, "kv/a").await["v"], "killed");
    cluster.replicas.push(Replica { server, client, _folder: folder });
    cluster.until_all_cached().await;
    let metrics = clients[0].call(Call { query: "format=prometheus".to_owned(), ..get("sys/metrics") }).await.unwrap();
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in ["holdfast_replica_reads_memory 1", "holdfast_replicas_cached 2", "holdfast_replica_evictions_total 1"]
    {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// Each replica alone would let as many through.
async fn a_rate_holds_for_all_together(clients: &[Client]) {
    const RATE: usize = 40;
    let quota = json!({"path": "kv/", "rate": RATE, "interval": "10m"});
    clients[0].write("sys/quotas/rate-limit/kv", quota).await.unwrap();
    let (mut let_through, mut refused) = (0, vec![false; clients.len()]);
    let deadline = Instant::now() + SOON;
    while refused.contains(&false) {
        assert!(Instant::now() < deadline, "{let_through} were let through, and it goes on: {refused:?}");
        for (client, refused) in clients.iter().zip(&mut refused) {
            match client.call(get("kv/old")).await.unwrap().status {
                200 if !*refused => let_through += 1,
                429 => *refused = true,
                status => panic!("{status} after {let_through}"),
            }
        }
        // Longer than a note is on its way: what is on its way may be over the rate.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    // Those in the second until all knew the quota are not counted.
    assert!((RATE..RATE + 2 * clients.len() + 21).contains(&let_through), "{let_through}");
    clients[0].delete("sys/quotas/rate-limit/kv").await.unwrap();
    for client in clients {
        while client.call(get("kv/old")).await.unwrap().status == 429 {
            assert!(Instant::now() < deadline + SOON);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A sealed replica has nothing that others could connect to.
#[tokio::test]
async fn a_sealed_replica_does_not_listen_to_others() {
    let etcd = Etcd::start().await;
    let (server, folder) = spawn(&etcd).await;
    let text = std::fs::read_to_string(folder.path().join("config.hcl")).unwrap();
    let address = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("cluster_address = "))
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let listens = || std::net::TcpStream::connect(&address).is_ok();
    assert!(!listens());
    let (client, made) = server.initialize(1, 1).await;
    assert!(listens());
    client.write("sys/seal", json!({})).await.unwrap();
    let deadline = Instant::now() + SOON;
    while listens() {
        assert!(Instant::now() < deadline, "it listens still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(unseal(&client, &made.keys_base64).await["sealed"], false);
    assert!(listens());
}
