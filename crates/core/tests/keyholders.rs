//! New root tokens and new shares by the people who hold shares.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use holdfast_core::{Answer, Doors, Verb};
use holdfast_storage::{MemoryStorage, Op, Storage, Txn};
use serde_json::{Value, json};

use crate::bench::{Bench, Make, core, data};

const OTP: &str = "0123456789012345678901234567";

impl Bench {
    /// A bare body that root gets.
    async fn rooted(&self, verb: Verb, path: &str, body: Value) -> Value {
        match self.answer(&self.root, verb, path, body).await {
            Answer::Bare { body, .. } => body,
            Answer::Empty => Value::Null,
            other => panic!("{path}: {other:?}"),
        }
    }

    /// What a stranger gets where the listener opens its doors.
    async fn stranger(&self, verb: Verb, path: &str, body: Value) -> Answer {
        let mut raw = self.raw("", verb, path, body);
        raw.doors = Doors { rekey: true, generate_root: true };
        self.core.handle(raw).await
    }

    /// Begins a rekey and gives the first shares of these; the last answer.
    async fn rekey(&self, path: &str, wish: Value, shares: &[String]) -> Value {
        let begun = self.rooted(Verb::Write, &format!("{path}/init"), wish).await;
        let mut last = Value::Null;
        for share in shares {
            let body = json!({"key": share, "nonce": begun["nonce"]});
            last = self.rooted(Verb::Write, &format!("{path}/update"), body).await;
        }
        last
    }

    /// Do these shares open a copy of the store that no process has seen?
    async fn opens_cold(&self, shares: &[String]) -> bool {
        let copy = Arc::new(MemoryStorage::new());
        for item in self.storage.dump() {
            if !item.key.starts_with(b"member/") && !item.key.starts_with(b"lane/") {
                let then = vec![Op::put(item.key, item.value)];
                copy.txn(Txn { then, ..Txn::default() }).await.unwrap();
            }
        }
        let core = core(&copy, &self.clock, Make::default());
        let cold = Bench { core, clock: self.clock.clone(), storage: copy, root: String::new(), shares: vec![] };
        for share in shares {
            if let Answer::Error(_) = cold.answer("", Verb::Write, "sys/unseal", json!({"key": share})).await {
                return false;
            }
        }
        cold.core.is_unsealed() && cold.is_good(&self.root).await
    }
}

fn keys(answer: &Value) -> Vec<String> {
    serde_json::from_value(answer["keys_base64"].clone()).unwrap()
}

#[tokio::test]
async fn holders_of_the_shares_make_a_new_root_token() {
    let bench = Bench::open().await;
    let started = bench.rooted(Verb::Write, "sys/generate-root/attempt", json!({"otp": OTP})).await;
    let second = bench.fails(&bench.root, Verb::Write, "sys/generate-root/attempt", json!({})).await;
    assert!(second.to_string().contains("already in progress"));
    let update = async |share: &str| {
        let body = json!({"key": share, "nonce": started["nonce"]});
        bench.rooted(Verb::Write, "sys/generate-root/update", body).await
    };
    assert_eq!(update(&bench.shares[2]).await["progress"], 1);
    let done = update(&bench.shares[0]).await;
    assert_eq!((&done["complete"], &done["progress"]), (&json!(true), &json!(2)));
    let encoded = STANDARD_NO_PAD.decode(done["encoded_token"].as_str().unwrap()).unwrap();
    let token: String = encoded.iter().zip(OTP.bytes()).map(|(byte, pad)| char::from(byte ^ pad)).collect();
    assert!(token.starts_with("hvs.") && bench.is_good(&token).await);
    let body = json!({"encoded_token": done["encoded_token"], "otp": OTP});
    assert_eq!(data(bench.ok("", Verb::Write, "sys/decode-token", body).await)["token"], token.as_str());
    assert_eq!(bench.rooted(Verb::Read, "sys/generate-root/attempt", json!({})).await["started"], false);
}

#[tokio::test]
async fn a_wrong_share_begins_the_count_again() {
    let bench = Bench::open().await;
    let started = bench.rooted(Verb::Write, "sys/generate-root/attempt", json!({})).await;
    assert_eq!(started["otp"].as_str().unwrap().len(), 28);
    let mut wrong = base64::engine::general_purpose::STANDARD.decode(&bench.shares[1]).unwrap();
    wrong[0] ^= 1;
    let give = async |key: String| {
        bench
            .answer(
                &bench.root,
                Verb::Write,
                "sys/generate-root/update",
                json!({"key": key, "nonce": started["nonce"]}),
            )
            .await
    };
    give(bench.shares[0].clone()).await;
    assert!(matches!(give(hex::encode(wrong)).await, Answer::Error(_)));
    assert_eq!(bench.rooted(Verb::Read, "sys/generate-root/attempt", json!({})).await["progress"], 0);
    let nonce = bench
        .fails(&bench.root, Verb::Write, "sys/generate-root/update", json!({"key": bench.shares[0], "nonce": "x"}))
        .await;
    assert!(nonce.to_string().contains("incorrect nonce"));
}

/// One global slot that strangers could take and hold.
#[tokio::test]
async fn cve_2025_4656_strangers_neither_hold_nor_cancel_the_slot() {
    let bench = Bench::open().await;
    for path in ["sys/generate-root/attempt", "sys/rekey/init"] {
        let wish = json!({"secret_shares": 1, "secret_threshold": 1});
        assert!(bench.fails("", Verb::Write, path, wish.clone()).await.to_string().contains("permission denied"));
        for _ in 0..200 {
            bench.stranger(Verb::Write, path, wish.clone()).await;
        }
        let mine = bench.rooted(Verb::Write, path, wish.clone()).await;
        assert_eq!(mine["started"], true, "an operator takes over: {mine}");
        assert!(matches!(bench.stranger(Verb::Delete, path, json!({})).await, Answer::Error(_)));
        assert!(matches!(bench.stranger(Verb::Write, path, wish.clone()).await, Answer::Error(_)));
        assert_eq!(bench.rooted(Verb::Read, path, json!({})).await["nonce"], mine["nonce"]);
        bench.rooted(Verb::Delete, path, json!({})).await;
        bench.stranger(Verb::Write, path, wish.clone()).await;
        bench.advance(601);
        assert_eq!(bench.rooted(Verb::Read, path, json!({})).await["started"], false, "its time is over");
    }
}

#[tokio::test]
async fn openbao_2619_the_shares_of_every_rotation_open_a_cold_copy() {
    let mut bench = Bench::open().await;
    for path in ["sys/rekey", "sys/rotate/root"] {
        let old = bench.shares.clone();
        let done = if path == "sys/rekey" {
            bench.rekey(path, json!({"secret_shares": 5, "secret_threshold": 3}), &old[..2]).await
        } else {
            let wish = json!({"secret_shares": 3, "secret_threshold": 2});
            let begun = data(bench.write("sys/rotate/root/init", wish).await);
            let mut last = Default::default();
            for share in &old[..3] {
                last =
                    data(bench.write("sys/rotate/root/update", json!({"key": share, "nonce": begun["nonce"]})).await);
            }
            Value::Object(last)
        };
        assert_eq!(done["complete"], true, "{done}");
        bench.shares = keys(&done);
        let needed = if path == "sys/rekey" { 3 } else { 2 };
        assert!(bench.opens_cold(&bench.shares[1..=needed]).await);
        // A crash before the answer would have left only the old ones.
        assert!(bench.opens_cold(&old[..needed.min(old.len())]).await || path != "sys/rekey");
        let (_, status) = bench.bare(Verb::Read, "sys/seal-status", json!({})).await;
        assert_eq!((&status["t"], &status["n"]), (&json!(needed), &json!(bench.shares.len())));
    }
    // Once people have used the new ones, the old ones open nothing.
    let old = bench.shares.clone();
    let done = bench.rekey("sys/rekey", json!({"secret_shares": 3, "secret_threshold": 2}), &old[..2]).await;
    bench.shares = keys(&done);
    bench.restart().await;
    assert!(!bench.opens_cold(&old[..2]).await && bench.opens_cold(&bench.shares[1..]).await);
    assert!(bench.is_good(&bench.root).await);
}

#[tokio::test]
async fn with_verification_the_old_shares_count_until_the_new_ones_were_given_back() {
    let mut bench = Bench::open().await;
    let wish = json!({"secret_shares": 3, "secret_threshold": 2, "require_verification": true});
    let done = bench.rekey("sys/rekey", wish, &bench.shares[..2]).await;
    assert_eq!((&done["complete"], &done["verification_required"]), (&json!(true), &json!(true)));
    let new = keys(&done);
    // A restart forgets nothing, and the old shares are in force.
    bench.restart().await;
    assert!(!bench.opens_cold(&new[..2]).await);
    let first = bench.rooted(Verb::Read, "sys/rekey/verify", json!({})).await["nonce"].clone();
    let second = bench.rooted(Verb::Delete, "sys/rekey/verify", json!({})).await;
    assert_ne!(first, second["nonce"]);
    let give = async |key: &str| {
        let body = json!({"key": key, "nonce": second["nonce"]});
        bench.rooted(Verb::Write, "sys/rekey/verify", body).await
    };
    assert_eq!(give(&new[0]).await["progress"], 1);
    assert_eq!(give(&new[2]).await["complete"], true);
    assert!(bench.opens_cold(&new[..2]).await);
    assert_eq!(bench.rooted(Verb::Read, "sys/rekey/init", json!({})).await["started"], false);
}

#[tokio::test]
async fn shares_leave_encrypted_to_pgp_keys_and_a_backup_is_kept() {
    let bench = Bench::open().await;
    let key = include_str!("../../seal/fixtures/rsa.pub.b64").trim();
    let none = bench.fails(&bench.root, Verb::Read, "sys/rekey/backup", json!({})).await;
    assert_eq!(none.to_string(), "no backed-up keys found");
    let few = json!({"secret_shares": 2, "secret_threshold": 2, "pgp_keys": [key]});
    assert!(bench.fails(&bench.root, Verb::Write, "sys/rekey/init", few).await.to_string().contains("count mismatch"));
    let wish = json!({"secret_shares": 2, "secret_threshold": 2, "pgp_keys": [key, key], "backup": true});
    let done = bench.rekey("sys/rekey", wish, &bench.shares[..2]).await;
    let fingerprint = done["pgp_fingerprints"][0].as_str().unwrap().to_owned();
    assert_eq!(fingerprint.len(), 40);
    let kept = bench.read("sys/rekey/backup").await;
    assert_eq!(kept["keys"][&fingerprint], done["keys"]);
    bench.ok(&bench.root, Verb::Delete, "sys/rekey/backup", json!({})).await;
    bench.fails(&bench.root, Verb::Read, "sys/rekey/backup", json!({})).await;
}

fn stored() -> (Bench, Make) {
    let bench = Bench::new();
    (bench, Make { stored_key: true, ..Make::default() })
}

#[tokio::test]
async fn recovery_keys_are_made_afterwards_and_then_make_a_root_token() {
    let (mut bench, make) = stored();
    bench.core = core(&bench.storage, &bench.clock, make);
    let (_, made) = bench.bare(Verb::Write, "sys/init", json!({})).await;
    bench.root = made["root_token"].as_str().unwrap().to_owned();
    let refused = bench.fails(&bench.root, Verb::Write, "sys/generate-root/attempt", json!({})).await;
    assert!(refused.to_string().contains("rotate/recovery/init"), "{refused}");
    let wish = json!({"secret_shares": 3, "secret_threshold": 2});
    let first = data(bench.write("sys/rotate/recovery/init", wish.clone()).await);
    assert_eq!(first["complete"], true);
    let held: Vec<String> = serde_json::from_value(first["keys_base64"].clone()).unwrap();
    // From here on a token alone does not do.
    let second = bench.rekey("sys/rekey-recovery-key", wish, &held[1..]).await;
    let held = keys(&second);
    let begun = bench.rooted(Verb::Write, "sys/generate-root/attempt", json!({"otp": OTP})).await;
    let mut last = Value::Null;
    for share in &held[..2] {
        let body = json!({"key": share, "nonce": begun["nonce"]});
        last = bench.rooted(Verb::Write, "sys/generate-root/update", body).await;
    }
    assert_eq!(last["complete"], true);
    // The root key that the seal keeps is replaced by the same people; a restart finds it.
    let done = bench.rekey("sys/rekey", json!({}), &held[..2]).await;
    assert_eq!((&done["complete"], &done["keys"]), (&json!(true), &json!([])));
    let again = core(&bench.storage, &bench.clock, Make { stored_key: true, ..Make::default() });
    again.keep_open().await.unwrap();
    bench.core = again;
    assert!(bench.is_good(&bench.root).await);
}
