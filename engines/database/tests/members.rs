//! Replicas that come and go while users are made: whose sessions are whose, and that nothing is made too late.

use std::time::{Duration, Instant};

use holdfast_logical::{Error, Issue};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::{
    mount::Mount,
    postgres::{PASSWORD, Postgres, SUPERUSER, shared},
};

const CREATE: &str = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}'";

async fn mounted(postgres: &Postgres, username: &str, password: &str) -> Mount {
    let mount = Mount::new().await;
    let config = json!({
        "plugin_name": "postgresql-database-plugin", "connection_url": postgres.url("disable"),
        "username": username, "password": password, "allowed_roles": "*",
    });
    mount.put("config/main", config).await;
    mount
}

/// Sessions that say that they are of this member.
async fn sessions(admin: &Client, member: &str) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    admin.query_one(sql, &[&format!("holdfast/{member}")]).await.unwrap().get(0)
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "it does not come true that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A maker that stands still in its transaction, after the user and before the end, until the lock is released.
struct Halfway {
    lock: i64,
    admin: Client,
    username: String,
    internal: Map<String, Value>,
    making: JoinHandle<Result<(), Error>>,
}

impl Halfway {
    async fn new(postgres: &Postgres, mount: &Mount, lock: i64, then: &str) -> Self {
        let admin = postgres.admin().await;
        admin.execute("SELECT pg_advisory_lock($1)", &[&lock]).await.unwrap();
        let role = format!("half{lock}");
        let statements = json!([CREATE, format!("SELECT pg_advisory_xact_lock({lock})"), then]);
        mount.put(&format!("roles/{role}"), json!({"db_name": "main", "creation_statements": statements})).await;
        let Issue { internal, create, .. } = mount.issue(&role).await;
        let username = internal["username"].as_str().unwrap().to_owned();
        let making = tokio::spawn(create());
        let sql = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::int8::oid AND NOT granted";
        until("it waits", async || !admin.query(sql, &[&lock]).await.unwrap().is_empty()).await;
        Self { lock, admin, username, internal, making }
    }

    /// Goes on; what becomes of it.
    async fn go_on(self, postgres: &Postgres) -> (Result<(), Error>, usize) {
        self.admin.execute("SELECT pg_advisory_unlock($1)", &[&self.lock]).await.unwrap();
        let outcome = self.making.await.unwrap();
        (outcome, postgres.users_like(&self.username).await.len())
    }
}

#[tokio::test]
async fn a_maker_that_stood_still_with_a_session_makes_nothing_after_the_sweep() {
    let postgres = shared();
    let maker = mounted(&postgres, SUPERUSER, PASSWORD).await;
    let sweeper = maker.beside().await;
    let id = maker.member().await;
    let halfway = Halfway::new(&postgres, &maker, 41, "SELECT 1").await;
    let admin = postgres.admin().await;
    assert_eq!(sessions(&admin, &id).await, 1);
    // A revocation alone finds no user, since its transaction is still open.
    sweeper.backend.revoke(&halfway.internal).await.unwrap();
    assert_eq!(sessions(&admin, &id).await, 1);

    assert!(sweeper.backend.cut_off(&halfway.internal, &id).await.unwrap());
    sweeper.backend.revoke(&halfway.internal).await.unwrap();
    assert_eq!(sessions(&admin, &id).await, 0);
    let (outcome, users) = halfway.go_on(&postgres).await;
    // What was begun may go on: it is swept again.
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    assert_eq!(users, 0);
    assert_eq!(sessions(&admin, &sweeper.member().await).await, 1, "not those of the others");
}

#[tokio::test]
async fn a_maker_that_is_no_member_any_more_sends_nothing_more() {
    let postgres = shared();
    let maker = mounted(&postgres, SUPERUSER, PASSWORD).await;
    for then in ["SELECT 1", "CREATE ROLE late; SELECT 1"] {
        let halfway = Halfway::new(&postgres, &maker, 42, then).await;
        maker.barrier.seal().await;
        let (outcome, users) = halfway.go_on(&postgres).await;
        assert!(outcome.unwrap_err().to_string().contains("has not confirmed lately"));
        until("its transaction is undone", async || postgres.users_like("late").await.is_empty()).await;
        assert_eq!(users, 0);
        maker.barrier.unseal(holdfast_secret::SecretBytes::new([7u8; 32])).await.unwrap();
        maker.member().await;
    }
    // Nor does it begin anything.
    let Issue { create, internal, .. } = maker.issue("half42").await;
    maker.barrier.seal().await;
    let outcome = create().await;
    assert!(matches!(outcome, Err(Error::Status { code: 503, .. })), "nothing was begun: {outcome:?}");
    assert!(maker.backend.revoke(&internal).await.is_err());
}

#[tokio::test]
async fn connections_are_of_the_member_that_this_replica_is_now() {
    let postgres = shared();
    let mount = mounted(&postgres, SUPERUSER, PASSWORD).await;
    mount.put("roles/named", json!({"db_name": "main", "creation_statements": CREATE})).await;
    let (admin, before) = (postgres.admin().await, mount.member().await);
    mount.make("named").await;
    mount.make("named").await;
    assert_eq!(sessions(&admin, &before).await, 1);
    mount.barrier.seal().await;
    mount.barrier.unseal(holdfast_secret::SecretBytes::new([7u8; 32])).await.unwrap();
    let after = mount.member().await;
    assert_ne!(before, after);
    mount.make("named").await;
    assert_eq!(sessions(&admin, &after).await, 1);
    until("the old one is closed", async || sessions(&admin, &before).await == 0).await;
}

#[tokio::test]
async fn a_session_that_may_not_be_ended_does_not_keep_the_sweep() {
    let postgres = shared();
    let admin = postgres.admin().await;
    admin.batch_execute("CREATE ROLE modest LOGIN CREATEROLE PASSWORD 'modest'").await.unwrap();
    let mount = mounted(&postgres, "modest", "modest").await;
    mount.put("roles/kept", json!({"db_name": "main", "creation_statements": CREATE})).await;
    let made = mount.make("kept").await;
    // Somebody else, and mightier, says that he is the member.
    admin.batch_execute("SET application_name = 'holdfast/gone'").await.unwrap();
    assert!(!mount.backend.cut_off(&made.internal, "gone").await.unwrap());
    mount.backend.revoke(&made.internal).await.unwrap();
    assert!(postgres.users_like(&made.username).await.is_empty());
    assert_eq!(sessions(&admin, "gone").await, 1);
}

/// Its place is free for the next only when nothing of it goes on at the database.
#[tokio::test]
async fn a_statement_that_nobody_waits_for_any_more_is_broken_off() {
    let postgres = shared();
    let mount = mounted(&postgres, SUPERUSER, PASSWORD).await;
    let (admin, id) = (postgres.admin().await, mount.member().await);
    let statements = json!([CREATE, "SELECT pg_sleep(20)"]);
    mount.put("roles/slow", json!({"db_name": "main", "creation_statements": statements})).await;
    let busy = "SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'PgSleep'";
    let name = format!("holdfast/{id}");
    let making = tokio::spawn((mount.issue("slow").await.create)());
    until("it sleeps", async || !admin.query(busy, &[&name]).await.unwrap().is_empty()).await;
    making.abort();
    let begun = Instant::now();
    until("it is broken off", async || sessions(&admin, &id).await == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(postgres.users_like("v-kubernet-slow-%").await.is_empty());
}
