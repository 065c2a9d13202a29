//! Initialising, unsealing, sealing, restarting, and servers that initialise themselves.

use base64::Engine;
use holdfast_base::{ManualClock, SeededEntropy};
use holdfast_core::{Answer, Core, Error, InitStep, Verb};
use holdfast_logical::Error as Logical;
use holdfast_seal::StaticSeal;
use holdfast_secret::SecretBytes;
use holdfast_storage::MemoryStorage;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::bench::{Bench, Make, core, until};

#[tokio::test]
async fn two_of_three_shares_unseal_and_a_restart_finds_everything() {
    let mut bench = Bench::new();
    let (status, health) = bench.bare(Verb::Read, "sys/health", json!({})).await;
    assert_eq!((status, &health["initialized"]), (501, &json!(false)));
    bench = Bench::open().await;
    let (status, health) = bench.bare(Verb::Read, "sys/health", json!({})).await;
    assert_eq!((status, &health["sealed"]), (200, &json!(false)));
    assert_eq!(bench.root.len(), 28);

    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench.write("probe/data/a", json!({"key": "value"})).await;
    bench.restart().await;
    assert_eq!(bench.read("probe/data/a").await["key"], "value");
    let again = bench.fails("", Verb::Write, "sys/init", json!({"secret_shares": 1, "secret_threshold": 1})).await;
    assert_eq!(again.to_string(), "Vault is already initialized");
}

#[tokio::test]
async fn progress_counts_resets_and_a_wrong_combination_is_refused() {
    let bench = Bench::open().await;
    bench.write("sys/seal", json!({})).await;
    assert!(matches!(bench.fails(&bench.root, Verb::Read, "sys/mounts", json!({})).await, Error::Sealed));
    let (status, health) = bench.bare(Verb::Read, "sys/health", json!({})).await;
    assert_eq!((status, &health["standby"]), (503, &json!(true)));

    let progress = async |body: Value| bench.bare(Verb::Write, "sys/unseal", body).await.1["progress"].clone();
    assert_eq!(progress(json!({"key": bench.shares[0]})).await, 1);
    assert_eq!(progress(json!({"key": bench.shares[0]})).await, 1);
    assert_eq!(progress(json!({"reset": true})).await, 0);
    let mut bytes = base64::engine::general_purpose::STANDARD.decode(&bench.shares[1]).unwrap();
    bytes[0] ^= 1;
    assert_eq!(progress(json!({"key": bench.shares[0]})).await, 1);
    let wrong = bench.fails("", Verb::Write, "sys/unseal", json!({"key": hex::encode(bytes)})).await;
    assert!(matches!(wrong, Error::Logical(Logical::Invalid(_))), "{wrong}");
    let (_, status) = bench.bare(Verb::Read, "sys/seal-status", json!({})).await;
    assert_eq!((&status["progress"], &status["sealed"], &status["t"]), (&json!(0), &json!(true), &json!(2)));
    bench.unseal().await;
    assert!(bench.is_good(&bench.root).await);
}

fn steps() -> Vec<InitStep> {
    let step = |name: &str, path: &str, data: Value| InitStep {
        name: name.to_owned(),
        verb: Verb::Write,
        path: path.to_owned(),
        data: data.as_object().unwrap().clone(),
    };
    vec![
        step("a", "sys/mounts/probe", json!({"type": "probe"})),
        step("b", "probe/data/first", json!({"n": 1})),
        step("c", "sys/policies/acl/app", json!({"policy": r#"path "probe/*" { capabilities = ["read"] }"#})),
        step("d", "sys/auth/door", json!({"type": "door"})),
    ]
}

fn make(steps: Vec<InitStep>) -> Make {
    Make { stored_key: true, initialize: steps, ..Make::default() }
}

#[tokio::test]
async fn a_server_initialises_itself_and_goes_on_after_a_crash() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let storage = Arc::new(MemoryStorage::new());
    // The third step fails as a crash would: the first process gets no further.
    let mut broken = steps();
    broken[2].path = "no/such/mount".to_owned();
    let first = core(&storage, &clock, make(broken));
    assert!(first.keep_open().await.is_err());
    assert!(first.is_unsealed());

    let bench =
        Bench { core: core(&storage, &clock, make(steps())), clock, storage, root: String::new(), shares: vec![] };
    bench.core.keep_open().await.unwrap();
    bench.core.keep_open().await.unwrap();
    let login = bench.ok("", Verb::Write, "auth/door/login", json!({})).await.auth.unwrap();
    assert_eq!(login.policies, ["app", "default"]);
    let read = bench.ok(&login.client_token, Verb::Read, "probe/data/first", json!({})).await;
    assert_eq!(read.data.unwrap().to_map()["n"], 1);
    // Done is done: a third process runs no step again.
    let third = core(&bench.storage, &bench.clock, make(vec![]));
    third.keep_open().await.unwrap();
    assert!(third.is_unsealed());
}

/// A static seal with the key of this number under the id `k<number>`.
fn fixed(number: u8) -> StaticSeal {
    let entropy = Arc::new(SeededEntropy::new(u64::from(number)));
    StaticSeal::new(&SecretBytes::new([number; 32]), &format!("k{number}"), entropy).unwrap()
}

#[tokio::test]
async fn the_seal_key_is_replaced_by_a_start_with_both() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let storage = Arc::new(MemoryStorage::new());
    let start = |seal: StaticSeal| {
        let core = core(&storage, &clock, Make { seal: Some(Arc::new(seal)), initialize: steps(), ..Make::default() });
        async move { (core.keep_open().await.map_err(|error| error.to_string()), core) }
    };
    let (outcome, first) = start(fixed(1)).await;
    outcome.unwrap();
    let status = async |core: &Arc<Core>| serde_json::to_value(core.seal_status().await.unwrap()).unwrap();
    let (outcome, early) = start(fixed(2)).await;
    assert!(outcome.unwrap_err().contains("wrapped under the static seal key \"k1\""));
    assert!(!early.is_unsealed());
    let sealed = status(&early).await;
    assert!(sealed["reason"].as_str().unwrap().starts_with("wrapped under the static seal key"), "{sealed}");
    assert_eq!((&sealed["t"], &sealed["n"], &sealed["recovery_seal"]), (&json!(0), &json!(0), &json!(true)));
    assert!(status(&first).await.get("reason").is_none());

    let both = || fixed(2).with_previous(&SecretBytes::new([1; 32]), "k1").unwrap();
    for _ in 0..2 {
        let (outcome, both) = start(both()).await;
        outcome.unwrap();
        assert!(both.is_unsealed());
    }
    let (outcome, alone) = start(fixed(2)).await;
    outcome.unwrap();
    assert!(alone.is_unsealed() && first.is_unsealed());
    assert!(start(fixed(1)).await.0.is_err(), "the old key opens nothing any more");
}

#[tokio::test]
async fn a_stored_key_unseals_at_the_start_and_after_an_unseal_request() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let storage = Arc::new(MemoryStorage::new());
    let core = core(&storage, &clock, make(vec![]));
    let mut bench = Bench { core, clock, storage, root: String::new(), shares: vec![] };
    let shares = json!({"recovery_shares": 1, "recovery_threshold": 1});
    let (_, init) = bench.bare(Verb::Write, "sys/init", shares).await;
    bench.root = init["root_token"].as_str().unwrap().to_owned();
    assert_eq!(init["recovery_keys"].as_array().unwrap().len(), 1);
    let (_, status) = bench.bare(Verb::Read, "sys/seal-status", json!({})).await;
    assert_eq!((&status["t"], &status["n"]), (&json!(1), &json!(1)));
    assert!(bench.core.is_unsealed());
    bench.write("sys/seal", json!({})).await;
    bench.core.keep_open().await.unwrap();
    assert!(!bench.core.is_unsealed(), "sealed by a request, so it stays sealed");
    let shutdown = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(bench.core.clone().run(shutdown.clone()));
    let anybody = bench.fails("", Verb::Write, "sys/unseal", json!({"key": "00".repeat(32)})).await;
    assert_eq!(anybody.to_string(), "Unseal failed, invalid key");
    assert!(!bench.core.is_unsealed(), "any key at all must not undo what the sealer wanted");
    assert_eq!(bench.bare(Verb::Read, "sys/seal-status", json!({})).await.1["sealed"], true);
    bench.bare(Verb::Write, "sys/unseal", json!({"key": init["recovery_keys"][0]})).await;
    until(async || bench.core.is_unsealed()).await;
    assert!(bench.is_good(&bench.root).await);
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn nobody_gets_ahead_of_a_server_that_initializes_itself() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let storage = Arc::new(MemoryStorage::new());
    let core = core(&storage, &clock, make(steps()));
    let bench = Bench { core, clock, storage, root: String::new(), shares: vec![] };
    let error = bench.fails("", Verb::Write, "sys/init", json!({"recovery_shares": 1, "recovery_threshold": 1})).await;
    assert!(error.to_string().contains("initializes itself"), "{error}");
    bench.core.keep_open().await.unwrap();
    assert!(bench.core.is_unsealed());
}

#[tokio::test]
async fn a_server_without_recovery_keys_is_unsealed_by_a_token_with_sudo() {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let storage = Arc::new(MemoryStorage::new());
    let core = core(&storage, &clock, make(vec![]));
    let mut bench = Bench { core, clock, storage, root: String::new(), shares: vec![] };
    let (_, init) = bench.bare(Verb::Write, "sys/init", json!({})).await;
    bench.root = init["root_token"].as_str().unwrap().to_owned();
    let poor = bench.token(json!({"policies": ["default"]})).await;
    bench.write("sys/seal", json!({})).await;
    for token in ["", "hvs.nonsense", &poor] {
        bench.fails(token, Verb::Write, "sys/unseal", json!({"key": "00".repeat(32)})).await;
        assert!(!bench.core.is_unsealed());
    }
    // Over a restart too.
    let again = crate::bench::core(&bench.storage, &bench.clock, make(vec![]));
    again.keep_open().await.unwrap();
    assert!(!again.is_unsealed());
    bench.core = again;
    assert!(matches!(bench.answer(&bench.root, Verb::Write, "sys/unseal", json!({})).await, Answer::Bare { .. }));
    assert!(bench.core.is_unsealed() && bench.is_good(&bench.root).await);
}

#[tokio::test]
async fn the_encryption_key_replaces_itself_after_its_interval() {
    let bench = Bench::open().await;
    for (name, value) in [("interval", json!("1h")), ("max_operations", json!(5))] {
        bench.fails(&bench.root, Verb::Write, "sys/rotate/config", json!({name: value})).await;
    }
    bench.write("sys/rotate/config", json!({"interval": "48h"})).await;
    assert_eq!(bench.read("sys/rotate/keyring/config").await["interval"], "48h0m0s");
    assert_eq!(bench.core.keep_rotated().await.unwrap(), None);
    bench.advance(48 * 3600);
    assert_eq!(bench.core.keep_rotated().await.unwrap(), Some(2));
    assert_eq!(bench.core.keep_rotated().await.unwrap(), None);
    assert_eq!(bench.read("sys/key-status").await["term"], 2);
    let members = bench.read("sys/ha-status").await;
    assert_eq!(members["nodes"].as_array().unwrap().len(), 1);
}

/// Sealed by a request, with a key that the seal keeps and no recovery keys: only a token opens it.
async fn ordered_to_seal(prepare: impl AsyncFn(&Bench) -> String) -> (Bench, String) {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let storage = Arc::new(MemoryStorage::new());
    let core = core(&storage, &clock, make(vec![]));
    let mut bench = Bench { core, clock, storage, root: String::new(), shares: vec![] };
    let (_, init) = bench.bare(Verb::Write, "sys/init", json!({})).await;
    bench.root = init["root_token"].as_str().unwrap().to_owned();
    let rules = r#"path "sys/unseal" { capabilities = ["update", "sudo"] }"#;
    bench.write("sys/policies/acl/opener", json!({ "policy": rules })).await;
    let token = prepare(&bench).await;
    bench.write("sys/seal", json!({})).await;
    (bench, token)
}

async fn unseal_from(bench: &Bench, token: &str, address: &str) -> Answer {
    let mut raw = bench.raw(token, Verb::Write, "sys/unseal", json!({}));
    raw.connection.remote = Some(address.parse().unwrap());
    bench.core.handle(raw).await
}

#[tokio::test]
async fn a_bound_token_unseals_from_its_addresses_only() {
    let (bench, token) = ordered_to_seal(async |bench| {
        let role = json!({"token_bound_cidrs": "10.0.0.0/8", "allowed_policies": "opener"});
        bench.write("auth/token/roles/r", role).await;
        let made = bench.write("auth/token/create/r", json!({"policies": ["opener"]})).await;
        made.auth.unwrap().client_token
    })
    .await;
    unseal_from(&bench, &token, "192.0.2.1").await;
    assert!(!bench.core.is_unsealed());
    unseal_from(&bench, &token, "10.0.0.1").await;
    assert!(bench.core.is_unsealed());
}

#[tokio::test]
async fn the_token_of_a_disabled_entity_does_not_unseal() {
    for disabled in [false, true] {
        let (bench, token) = ordered_to_seal(async |bench| {
            bench.write("sys/auth/door", json!({"type": "door"})).await;
            let login = json!({"alias": "ada", "policies": ["opener"]});
            let auth = bench.ok("", Verb::Write, "auth/door/login", login).await.auth.unwrap();
            bench.write(&format!("identity/entity/id/{}", auth.entity_id), json!({ "disabled": disabled })).await;
            auth.client_token
        })
        .await;
        unseal_from(&bench, &token, "10.0.0.1").await;
        assert_eq!(bench.core.is_unsealed(), !disabled);
    }
}

#[tokio::test]
async fn unsealing_takes_a_use_of_the_token() {
    let (bench, token) =
        ordered_to_seal(async |bench| bench.token(json!({"policies": ["opener"], "num_uses": 1})).await).await;
    unseal_from(&bench, &token, "10.0.0.1").await;
    assert!(bench.core.is_unsealed());
    bench.write("sys/seal", json!({})).await;
    unseal_from(&bench, &token, "10.0.0.1").await;
    assert!(!bench.core.is_unsealed());
}

#[tokio::test]
async fn a_stranger_opens_the_barrier_a_few_times_at_most() {
    let (bench, _) = ordered_to_seal(async |_| String::new()).await;
    let failures = || bench.core.metrics().unseal_failures.get();
    for junk in ["x", "root", "hvs.nonsense"] {
        unseal_from(&bench, junk, "192.0.2.1").await;
    }
    assert_eq!(failures(), 0, "junk is refused with the barrier closed");
    let invented = format!("hvs.{}", "A".repeat(24));
    let attempts = (0..8).map(|_| unseal_from(&bench, &invented, "192.0.2.1"));
    let answers = futures::future::join_all(attempts).await;
    assert_eq!(failures(), 5);
    let slowed = |answer: &&Answer| matches!(answer, Answer::Error(Error::Logical(Logical::Status { code: 429, .. })));
    assert_eq!(answers.iter().filter(slowed).count(), 3);
    unseal_from(&bench, &bench.root, "10.0.0.1").await;
    assert!(bench.core.is_unsealed(), "others are not kept out");
}

#[tokio::test]
async fn what_needs_an_open_server_is_refused_while_sealed() {
    let bench = Bench::new();
    assert!(matches!(bench.answer("", Verb::Read, "secret/a", json!({})).await, Answer::Error(Error::Sealed)));
    let unseal = bench.fails("", Verb::Write, "sys/unseal", json!({"key": "00".repeat(33)})).await;
    assert!(matches!(unseal, Error::NotInitialized));
}

#[tokio::test]
async fn a_rotated_key_reads_what_the_old_one_wrote_and_the_store_is_clean() {
    let bench = Bench::open().await;
    bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
    bench.write("probe/data/a", json!({"key": "value"})).await;
    let term = bench.read("sys/key-status").await["term"].as_u64().unwrap();
    bench.write("sys/rotate", json!({})).await;
    assert_eq!(bench.read("sys/key-status").await["term"].as_u64().unwrap(), term + 1);
    assert_eq!(bench.read("probe/data/a").await["key"], "value");
    let found = bench.read("sys/fsck").await;
    assert_eq!(found["clean"], true, "{found:?}");
}
