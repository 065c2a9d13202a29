//! Entities and their aliases as clients see them.

use holdfast_logical::Operation::{Delete, Update};
use serde_json::{Value, json};

use crate::bench::{Bench, DOOR, GATE};

#[tokio::test]
async fn an_entity_is_made_changed_and_removed() {
    let bench = Bench::new().await;
    let made =
        bench.http.made("entity", json!({"name": "Bob", "policies": ["B", "a", "b "], "metadata": {"k": "v"}})).await;
    assert_eq!((&made["name"], &made["aliases"]), (&json!("Bob"), &Value::Null));
    let id = made["id"].as_str().unwrap();
    let read = bench.http.get(&format!("entity/id/{id}")).await;
    assert_eq!((&read["policies"], &read["metadata"]), (&json!(["a", "b"]), &json!({"k": "v"})));
    assert_eq!((&read["namespace_id"], &read["aliases"], &read["group_ids"]), (&json!("root"), &json!([]), &json!([])));
    // An update says nothing, whichever way the entity is named, and changes what is named only.
    for (path, body) in [
        ("entity", json!({"name": "BOB", "disabled": true})),
        (&*format!("entity/id/{id}"), json!({"metadata": "team=x"})),
        ("entity/name/bob", json!({"policies": "c"})),
    ] {
        assert!(bench.http.write(path, body).await.data.is_none());
    }
    let read = bench.http.get("entity/name/bOb").await;
    assert_eq!((&read["id"], &read["disabled"], &read["policies"]), (&json!(id), &json!(true), &json!(["c"])));
    assert_eq!(bench.http.keys("entity/id").await, [id]);
    assert_eq!(bench.http.keys("entity/name").await, ["bob"]);
    // Ids have one spelling, so that a policy about one cannot be passed by another.
    let loud = id.to_uppercase();
    let alias = bench.alias(id, "b", DOOR).await;
    bench.http.delete(&format!("entity/id/{loud}")).await;
    assert_eq!(bench.http.refused("entity", json!({"id": loud, "disabled": true})).await, "entity not found from id");
    for path in [format!("entity/id/{loud}"), format!("entity-alias/id/{}", alias.to_uppercase())] {
        assert!(bench.http.absent(&path).await, "{path}");
    }
    bench.http.delete(&format!("entity/id/{id}")).await;
    bench.http.delete("entity/id/nobody").await;
    bench.http.delete("entity/name/nobody").await;
    assert!(bench.http.absent(&format!("entity/id/{id}")).await && bench.http.absent("entity/name/bob").await);
    assert_eq!(bench.http.keys("entity/id").await, Vec::<String>::new());
}

#[tokio::test]
async fn cve_2024_9180_nobody_is_given_root_by_any_spelling() {
    let bench = Bench::new().await;
    for name in ["root", "Root", " rOOt ", "\u{a0}ROOT\n"] {
        for path in ["entity", "group"] {
            let text = bench.http.refused(path, json!({"name": "x", "policies": ["a", name]})).await;
            assert_eq!(text, "policies cannot contain root");
        }
    }
    assert_eq!(bench.http.keys("entity/id").await.len() + bench.http.keys("group/id").await.len(), 0);
}

#[tokio::test]
async fn names_and_ids_must_agree() {
    let bench = Bench::new().await;
    let a = bench.entity(json!({"name": "a"})).await;
    bench.entity(json!({"name": "b"})).await;
    assert_eq!(bench.http.refused("entity", json!({"id": a, "name": "B"})).await, "entity name is already in use");
    assert_eq!(bench.http.refused("entity", json!({"id": "x", "name": "c"})).await, "entity not found from id");
    bench.http.write("entity", json!({"id": a, "name": "c"})).await;
    // The old name is free again.
    bench.entity(json!({"name": "a"})).await;
    bench.http.refused("entity", json!({"name": "x\u{0}"})).await;
    bench.http.refused("entity", json!({"name": "x", "metadata": {"k": "v".repeat(513)}})).await;
}

#[tokio::test]
async fn cve_2021_43998_one_alias_for_a_mount_and_an_entity_and_one_entity_for_an_alias() {
    let bench = Bench::new().await;
    let (a, b) = (bench.entity(json!({"name": "a"})).await, bench.entity(json!({"name": "b"})).await);
    let alias = bench.alias(&a, "Alice", DOOR).await;
    let second = json!({"canonical_id": a, "name": "other", "mount_accessor": DOOR});
    let text = bench.http.refused("entity-alias", second).await;
    assert_eq!(text, "Alias already exists for requested entity and mount accessor");
    bench.alias(&a, "alice", GATE).await;
    let bobs = bench.alias(&b, "bob", DOOR).await;
    // Neither a new name nor a new owner merges anybody with anybody (CVE-2021-41802).
    let path = format!("entity-alias/id/{bobs}");
    let text = bench.http.refused(&path, json!({"name": "ALICE"})).await;
    assert_eq!(text, "alias with combination of mount accessor and name already exists");
    bench.http.refused(&path, json!({"canonical_id": a})).await;
    bench.http.refused(&path, json!({"mount_accessor": "none_1"})).await;
    assert_eq!(bench.http.get(&format!("entity-alias/id/{alias}")).await["canonical_id"], json!(a));
    assert_eq!(bench.http.get(&path).await["canonical_id"], json!(b));
    // A write by the name at the mount is a change of that alias.
    let body = json!({"name": "BOB", "mount_accessor": DOOR, "custom_metadata": {"k": "v"}});
    assert_eq!(bench.id("entity-alias", body).await, bobs);
    assert_eq!(bench.http.get(&path).await["custom_metadata"], json!({"k": "v"}));
}

#[tokio::test]
async fn an_alias_may_come_first_move_and_go() {
    let bench = Bench::new().await;
    let made = bench.http.made("entity-alias", json!({"name": "x", "mount_accessor": DOOR})).await;
    let (alias, entity) = (made["id"].as_str().unwrap(), made["canonical_id"].as_str().unwrap());
    let read = bench.http.get(&format!("entity/id/{entity}")).await;
    assert!(read["name"].as_str().unwrap().starts_with("entity_"));
    assert_eq!(
        (&read["aliases"][0]["mount_path"], &read["aliases"][0]["mount_type"]),
        (&json!("auth/door/"), &json!("door"))
    );
    let other = bench.entity(json!({"name": "other"})).await;
    bench.http.write(&format!("entity-alias/id/{alias}"), json!({"canonical_id": other, "name": "y"})).await;
    assert_eq!(bench.login("y", &[]).await.unwrap(), other);
    assert_ne!(bench.login("x", &[]).await.unwrap(), entity);
    assert_eq!(bench.http.get(&format!("entity/id/{entity}")).await["aliases"], json!([]));
    bench.http.delete(&format!("entity-alias/id/{alias}")).await;
    bench.http.delete("entity-alias/id/none").await;
    assert!(bench.http.absent(&format!("entity-alias/id/{alias}")).await);
    bench.http.refused("entity-alias", json!({"name": "x"})).await;
    let text = bench.http.refused("entity-alias", json!({"name": "x", "mount_accessor": "no such"})).await;
    assert_eq!(text, "invalid mount accessor \"no such\"");
}

#[tokio::test]
async fn what_is_looked_up_and_not_there_is_204() {
    let bench = Bench::new().await;
    let entity = bench.entity(json!({"name": "a"})).await;
    let alias = bench.alias(&entity, "x", DOOR).await;
    for body in [
        json!({"id": entity}),
        json!({"name": "A"}),
        json!({"alias_id": alias}),
        json!({"alias_name": "X", "alias_mount_accessor": DOOR}),
    ] {
        assert_eq!(bench.http.made("lookup/entity", body).await["id"], json!(entity));
    }
    for path in ["lookup/entity", "lookup/group"] {
        assert!(bench.http.write(path, json!({"id": "entity_id"})).await.data.is_none());
        bench.http.refused(path, json!({})).await;
        bench.http.refused(path, json!({"alias_name": "x"})).await;
    }
}

#[tokio::test]
async fn a_mount_that_is_gone_takes_its_aliases_along() {
    let bench = Bench::new().await;
    let entity = bench.entity(json!({"name": "a"})).await;
    let alias = bench.alias(&entity, "x", DOOR).await;
    bench.alias(&entity, "x", GATE).await;
    bench.id("group-alias", json!({"name": "g", "mount_accessor": DOOR})).await;
    bench.doors.remove(DOOR);
    // Hidden at once, removed with the next round.
    assert!(bench.http.absent(&format!("entity-alias/id/{alias}")).await);
    assert_eq!(bench.http.keys("entity-alias/id").await.len(), 1);
    bench.http.backend.tick().await.unwrap();
    assert_eq!(bench.http.keys("group-alias/id").await.len(), 0);
    let left = bench.http.view.list("factor/", "", 0).await.unwrap();
    assert_eq!(left, [format!("{GATE}/")]);
    assert_eq!(bench.http.get(&format!("entity/id/{entity}")).await["aliases"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn many_are_removed_at_once() {
    let bench = Bench::new().await;
    let (a, b) = (bench.entity(json!({})).await, bench.entity(json!({})).await);
    bench.http.ask(Update, "entity/batch-delete", json!({"entity_ids": [a, b, "none"]})).await.unwrap();
    assert_eq!(bench.http.keys("entity/id").await.len(), 0);
    assert!(bench.http.ask(Delete, "entity/id/None", Value::Null).await.is_ok());
}
