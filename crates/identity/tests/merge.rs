//! Merging entities.

use serde_json::json;

use crate::bench::{Bench, DOOR, GATE};

#[tokio::test]
async fn what_the_merged_one_had_goes_to_the_other_and_its_tokens_act_as_that() {
    let bench = Bench::new().await;
    let a = bench.entity(json!({"name": "a", "policies": "pa", "metadata": {"k": "a"}})).await;
    let b = bench.entity(json!({"name": "b", "policies": "pb", "metadata": {"k": "b"}})).await;
    bench.alias(&a, "x", DOOR).await;
    let alias = bench.alias(&b, "y", GATE).await;
    let group = bench.group(json!({"name": "g", "policies": "pg", "member_entity_ids": [b]})).await;
    bench.http.write("entity/merge", json!({"from_entity_ids": [b], "to_entity_id": a})).await;
    assert_eq!(bench.policies(&b).await, ["pa", "pb", "pg"]);
    assert_eq!(bench.store.standing(&b).await.unwrap().unwrap().entity.id, a);
    let read = bench.http.get(&format!("entity/id/{a}")).await;
    assert_eq!((&read["merged_entity_ids"], &read["metadata"]["k"]), (&json!([b]), &json!("a")));
    assert_eq!(bench.http.get(&format!("entity-alias/id/{alias}")).await["canonical_id"], json!(a));
    assert_eq!(bench.http.get(&format!("group/id/{group}")).await["member_entity_ids"], json!([a]));
    assert_eq!(crate::bench::log_in(&bench.store, GATE, "Y", &[]).await.unwrap(), a);
    // A chain of merges, and its end.
    let c = bench.entity(json!({"name": "c"})).await;
    bench.http.write("entity/merge", json!({"from_entity_ids": a, "to_entity_id": c})).await;
    assert_eq!(bench.store.standing(&b).await.unwrap().unwrap().entity.id, c);
    bench.http.delete(&format!("entity/id/{c}")).await;
    assert!(bench.store.standing(&b).await.unwrap().is_none());
    assert_eq!(bench.http.view.list("merged/", "", 0).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn cve_2021_41802_of_two_aliases_at_one_mount_the_caller_chooses() {
    for keep_own in [true, false] {
        let bench = Bench::new().await;
        let (a, b) = (bench.entity(json!({"name": "a"})).await, bench.entity(json!({"name": "b"})).await);
        let (x, y) = (bench.alias(&a, "x", DOOR).await, bench.alias(&b, "y", DOOR).await);
        let refused = bench.http.refused("entity/merge", json!({"from_entity_ids": [b], "to_entity_id": a})).await;
        assert!(refused.contains("conflicting_alias_ids_to_keep"), "{refused}");
        assert_eq!(bench.http.keys("entity/id").await.len(), 2, "nothing was touched");
        let keep = if keep_own { &x } else { &y };
        let body = json!({"from_entity_ids": [b], "to_entity_id": a, "conflicting_alias_ids_to_keep": [keep]});
        bench.http.write("entity/merge", body).await;
        assert_eq!(bench.http.keys("entity-alias/id").await, [keep.as_str()]);
        let name = if keep_own { "x" } else { "y" };
        assert_eq!(bench.login(name, &[]).await.unwrap(), a);
    }
}

#[tokio::test]
async fn both_must_be_there_and_differ() {
    let bench = Bench::new().await;
    let a = bench.entity(json!({"name": "a"})).await;
    for (from, to) in
        [(json!([a]), json!(a)), (json!(["x"]), json!(a)), (json!([a]), json!("x")), (json!([]), json!(a))]
    {
        bench.http.refused("entity/merge", json!({"from_entity_ids": from, "to_entity_id": to})).await;
    }
}
