//! Logins.

use std::collections::BTreeMap;

use holdfast_identity::Login;
use holdfast_logical::{Error, Subject, Template};
use serde_json::json;

use crate::bench::{Bench, DOOR, GATE, log_in};

#[tokio::test]
async fn the_first_login_makes_the_entity_and_the_next_find_it() {
    let bench = Bench::new().await;
    let id = bench.login("Alice", &[]).await.unwrap();
    let before = bench.http.view.get(&format!("entity/{id}")).await.unwrap().unwrap().revision;
    assert_eq!(log_in(&bench.replica(), DOOR, "ALICE", &[]).await.unwrap(), id);
    let after = bench.http.view.get(&format!("entity/{id}")).await.unwrap().unwrap().revision;
    assert_eq!(before, after, "a login that changes nothing writes nothing");
    assert_ne!(log_in(&bench.store, GATE, "alice", &[]).await.unwrap(), id, "another mount, another alias");
    bench.http.write(&format!("entity/id/{id}"), json!({"disabled": true})).await;
    assert!(matches!(bench.login("alice", &[]).await, Err(Error::Denied(_))));
}

#[tokio::test]
async fn many_first_logins_at_once_make_one_entity() {
    let bench = Bench::new().await;
    let stores = [bench.store.clone(), bench.replica(), bench.replica()];
    let logins = (0..24).map(|n| {
        let store = stores[n % 3].clone();
        tokio::spawn(async move { log_in(&store, DOOR, if n % 2 == 0 { "sa" } else { "SA" }, &[]).await.unwrap() })
    });
    let ids: std::collections::BTreeSet<String> =
        futures::future::join_all(logins).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(bench.http.keys("entity/id").await.len(), 1);
}

#[tokio::test]
async fn cve_2022_40186_metadata_of_one_alias_never_reaches_another() {
    let bench = Bench::new().await;
    let entity = bench.entity(json!({"name": "a"})).await;
    bench.alias(&entity, "x", DOOR).await;
    bench.alias(&entity, "x", GATE).await;
    let metadata = BTreeMap::from([("namespace".to_owned(), "shop".to_owned())]);
    let login = Login { accessor: GATE, alias: "X", metadata: &metadata, groups: &[] };
    assert_eq!(bench.store.login(login).await.unwrap(), entity);
    let standing = bench.store.standing(&entity).await.unwrap().unwrap();
    let fill = |accessor: &str| {
        let text = format!("k8s/{{{{identity.entity.aliases.{accessor}.metadata.namespace}}}}/*");
        Template::parse(&text).unwrap().unwrap().fill(&*standing as &dyn Subject)
    };
    assert_eq!(fill(GATE).unwrap(), "k8s/shop/*");
    assert!(fill(DOOR).is_err());
}

#[tokio::test]
async fn a_renewal_makes_nobody_anew() {
    let bench = Bench::new().await;
    bench.group(json!({"name": "g", "type": "external", "policies": "p"})).await;
    let group = bench.http.get("group/name/g").await["id"].clone();
    bench.id("group-alias", json!({"name": "g", "mount_accessor": DOOR, "canonical_id": group})).await;
    let id = bench.login("x", &["g"]).await.unwrap();
    let (metadata, groups) = (BTreeMap::new(), Vec::new());
    let login = Login { accessor: DOOR, alias: "x", metadata: &metadata, groups: &groups };
    bench.store.refresh(&id, login).await.unwrap();
    assert_eq!(bench.policies(&id).await, Vec::<String>::new());
    bench.http.delete(&format!("entity/id/{id}")).await;
    bench.store.refresh(&id, login).await.unwrap();
    assert_eq!(bench.http.keys("entity/id").await.len(), 0);
}
