//! A crash while a store is made: it is as if nothing had been done, or it is done.

use serde_json::json;

use super::site::{Keys, Site};
use crate::fixture::{data, etcd::Etcd};

/// Keys that reached nobody must not be the keys: whoever asks again gets new ones.
#[tokio::test]
async fn an_initialization_that_was_not_answered_can_be_asked_for_again() {
    let etcd = Etcd::start().await;
    for keys in [Keys::Shares, Keys::File] {
        for (number, point) in ["init.planned", "init.stored", "init.root-token-made"].into_iter().enumerate() {
            let mut site = Site::new(&etcd, &format!("init-{number}-{}", keys == Keys::File), keys).await;
            site.start().await;
            site.arm(point, "abort");
            let (client, wish) = (site.bare_client(), site.wish());
            let work = tokio::spawn(async move { client.init(&wish).await.is_ok() });
            site.died_at(point).await;
            assert!(!work.await.unwrap(), "{point}: there was an answer");
            site.start().await;
            assert!(!site.bare_client().health().await.unwrap().initialized, "after {point}");
            site.initialize().await;
            site.furnish().await;
            site.check(point).await;
            // And that one is for good.
            assert!(site.bare_client().init(&site.wish()).await.is_err(), "after {point}");
        }
    }
}

#[tokio::test]
async fn a_server_that_initializes_itself_goes_on_where_it_was() {
    let steps = r#"
        initialize "first" {
          request "kv" {
            operation = "update"
            path = "sys/mounts/kept"
            data = { type = "kv", options = { version = "2" } }
          }
          request "users" {
            operation = "update"
            path = "sys/auth/userpass"
            data = { type = "userpass" }
          }
          request "policy" {
            operation = "update"
            path = "sys/policies/acl/all"
            data = { policy = "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\", \"sudo\"] }" }
          }
          request "user" {
            operation = "update"
            path = "auth/userpass/users/admin"
            data = { password = "s3cret-pass", token_policies = "all" }
          }
        }
    "#;
    let etcd = Etcd::start().await;
    let points = ["self-init.made", "self-init.step-done", "self-init.before-marker", "self-init.marker-moved"];
    for (number, point) in points.into_iter().enumerate() {
        let mut site = Site::with(&etcd, &format!("self-{number}"), Keys::File, steps).await;
        site.arm(point, if point == "self-init.made" { "abort" } else { "abort 2" });
        site.start_and_die(point).await;
        site.start().await;
        site.open().await;
        let client = site.bare_client();
        let login = json!({"password": "s3cret-pass"});
        site.until("the steps are done", async || {
            client.write("auth/userpass/login/admin", login.clone()).await.is_ok()
        })
        .await;
        let envelope = client.write("auth/userpass/login/admin", login).await.unwrap().unwrap();
        site.root = Some(envelope.auth.unwrap().client_token.as_str().into());
        site.client().write("kept/data/secret", json!({"data": {"word": "kept"}})).await.unwrap();
        site.check(point).await;
        // No root token was made on the way.
        let found = data(&site.client(), "sys/fsck").await;
        assert_eq!(found["tokens"], 2, "after {point}: the two logins and no more: {found}");
    }
}
