//! A crash while database users are made, renewed, revoked and swept: none is left that nothing owns.

use std::sync::Arc;

use holdfast_client::Client;
use serde_json::json;

use super::site::{Keys, Site};
use crate::fixture::{
    data,
    etcd::Etcd,
    postgres::{ADMIN, Postgres},
};

/// A database mount whose users have this word in their names.
async fn connect(client: &Client, postgres: &Postgres, role: &str) {
    client.write("sys/mounts/database", json!({"type": "database"})).await.unwrap();
    let url =
        format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable", postgres.port);
    let config = json!({"plugin_name": "postgresql-database-plugin", "connection_url": url, "allowed_roles": [role],
                        "username": ADMIN.0, "password": ADMIN.1});
    client.write("database/config/main", config).await.unwrap();
    let statement = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
    let role_config =
        json!({"db_name": "main", "creation_statements": [statement], "default_ttl": "1h", "max_ttl": "24h"});
    client.write(&format!("database/roles/{role}"), role_config).await.unwrap();
}

/// A lease of a new user, and the user.
async fn user(client: &Client, role: &str) -> (String, String) {
    let made = client.read(&format!("database/creds/{role}")).await.unwrap().unwrap();
    (made.lease_id, made.data.unwrap()["username"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn no_user_is_left_that_nothing_owns() {
    let (etcd, postgres) = (Etcd::start().await, Arc::new(Postgres::start().await));
    let mut site = Site::furnished(&etcd, "leases", Keys::File).await;
    let role = "swept";
    // Seconds instead of a minute until somebody else takes over what was begun.
    site.arm("lease.soon", "");
    connect(&site.client(), &postgres, role).await;
    let creds = format!("database/creds/{role}");

    for point in [
        "lease.create.intent-stored",
        "database.create.before",
        "database.create.done",
        "lease.create.outside-done",
        "lease.create.recorded",
    ] {
        let (client, creds) = (site.client(), creds.clone());
        site.crash(point, async move { client.read(&creds).await.is_ok() }).await;
    }
    for point in ["lease.renew.outside-done", "lease.renew.recorded"] {
        let (lease, name) = user(&site.client(), role).await;
        site.crash(point, site.write("sys/leases/renew", json!({"lease_id": lease, "increment": "2h"}))).await;
        assert!(postgres.has_user(&name).await, "{point}");
        site.client().renew_lease(&lease, None).await.unwrap();
    }
    for point in
        ["lease.revoke.claimed", "database.revoke.done", "lease.revoke.outside-done", "lease.revoke.before-forget"]
    {
        let (lease, name) = user(&site.client(), role).await;
        site.crash(point, site.write("sys/leases/revoke", json!({"lease_id": lease, "sync": true}))).await;
        // Begun is begun: the next who comes finishes it.
        site.until("the user is gone", async || !postgres.has_user(&name).await).await;
    }
    let (_, bound) = user_of_pod(&site.client(), &creds).await;
    site.crash("binding.entombed", site.delete("sys/bindings/pod/1234")).await;
    assert!(site.client().read_bound(&creds, "env", Some("pod/1234"), None).await.is_err(), "it was released");
    site.client().delete("sys/bindings/pod/1234").await.unwrap();
    site.until("the pod's user is gone", async || !postgres.has_user(&bound).await).await;

    a_maker_whose_token_goes(&mut site, &creds).await;
    an_intent_that_is_swept(&mut site, &creds).await;

    // Everything that has a lease goes with it, everything else is swept.
    let client = site.client();
    site.until("all leases are revoked", async || {
        let _ = client.write("sys/leases/revoke-prefix/database", json!({"sync": true})).await;
        data(&client, "sys/fsck").await["leases"] == 0
    })
    .await;
    site.until("nothing is left at the database", async || postgres.users_with(role).await.is_empty()).await;
    site.check("the sweep").await;
    site.disarm("lease.soon");
}

async fn user_of_pod(client: &Client, creds: &str) -> (String, String) {
    let made = client.read_bound(creds, "env", Some("pod/1234"), None).await.unwrap().unwrap();
    (made.lease_id, made.data.unwrap()["username"].as_str().unwrap().to_owned())
}

/// The token is revoked while the user is made; who made it takes it back, and dies doing so.
async fn a_maker_whose_token_goes(site: &mut Site, creds: &str) {
    let point = "lease.take-back.outside-done";
    let made = site.client().write("auth/token/create", json!({"policies": "root", "ttl": "1h"})).await.unwrap();
    let child = site.client().with_token(made.unwrap().auth.unwrap().client_token.as_str().into());
    site.arm("lease.create.outside-done", "pause");
    let (client, creds) = (child.clone(), creds.to_owned());
    let work = tokio::spawn(async move { client.read(&creds).await.is_ok() });
    site.hit("lease.create.outside-done").await;
    child.write("auth/token/revoke-self", json!({})).await.unwrap();
    site.arm(point, "abort");
    site.disarm("lease.create.outside-done");
    site.died_at(point).await;
    assert!(!work.await.unwrap());
    site.start().await;
    site.open().await;
    site.check(point).await;
}

/// Its maker died; so does who sweeps it.
async fn an_intent_that_is_swept(site: &mut Site, creds: &str) {
    let (client, creds) = (site.client(), creds.to_owned());
    let point = "lease.create.recorded";
    site.crash(point, async move { client.read(&creds).await.is_ok() }).await;
    for point in ["lease.sweep.claimed", "lease.sweep.outside-done"] {
        let creds = "database/creds/swept";
        let client = site.client();
        site.crash("lease.create.outside-done", async move { client.read(creds).await.is_ok() }).await;
        site.crash(point, std::future::pending::<()>()).await;
    }
}

/// The first replica stands still with a session, before it makes the user; the second evicts it and sweeps.
#[tokio::test]
async fn a_replica_that_stood_still_makes_no_user_after_it_was_swept() {
    let (etcd, postgres) = (Etcd::start().await, Postgres::start().await);
    let first = Site::furnished(&etcd, "still", Keys::File).await;
    let mut second = Site::new(&etcd, "still", Keys::File).await;
    second.configuration += "cluster_name = \"second\"\n";
    second.root = first.root.as_ref().map(holdfast_secret::SecretString::duplicate);
    std::fs::copy(first.folder.path().join("seal.key"), second.folder.path().join("seal.key")).unwrap();
    first.arm("lease.soon", "");
    second.arm("lease.soon", "");
    connect(&first.client(), &postgres, "still").await;
    let admin = postgres.connect(ADMIN.0, ADMIN.1).await.unwrap();
    let sessions = async || {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'holdfast/%'";
        let rows = admin.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>()
    };

    first.arm("database.create.before", "pause");
    let client = first.client();
    let work = tokio::spawn(async move { client.read("database/creds/still").await.is_ok() });
    first.hit("database.create.before").await;
    let held = sessions().await;
    assert!(!held.is_empty());
    first.server.as_ref().unwrap().signal("-STOP");
    second.start().await;
    second.open().await;
    second.until("its sessions are ended", async || sessions().await.iter().all(|pid| !held.contains(pid))).await;

    first.disarm("database.create.before");
    first.server.as_ref().unwrap().signal("-CONT");
    assert!(!work.await.unwrap());
    assert!(postgres.users_with("-still-").await.is_empty());
    // It goes on as another member.
    user(&first.client(), "still").await;
    second.check("the sweep").await;
}

/// The password of the connection's own user: the old one or the new one, and the server knows which.
#[tokio::test]
async fn a_rotated_root_password_is_known() {
    let (etcd, postgres) = (Etcd::start().await, Postgres::start().await);
    let mut site = Site::furnished(&etcd, "root", Keys::File).await;
    connect(&site.client(), &postgres, "rotated").await;
    for point in ["database.rotate.next-stored", "database.rotate.set", "database.rotate.proved"] {
        site.crash(point, site.write("database/rotate-root/main", json!({}))).await;
        let client = site.client();
        site.until("users can be made", async || client.read("database/creds/rotated").await.is_ok()).await;
        site.client().write("database/rotate-root/main", json!({})).await.unwrap();
        user(&site.client(), "rotated").await;
    }
    let hidden = data(&site.client(), "database/config/main").await;
    assert!(!hidden.to_string().contains(ADMIN.1));
}
