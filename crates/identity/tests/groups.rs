//! Groups: members, nesting, external ones.

use serde_json::{Value, json};

use crate::bench::{Bench, DOOR};

#[tokio::test]
async fn members_have_the_policies_of_all_groups_above_until_they_leave() {
    let bench = Bench::new().await;
    let bob = bench.entity(json!({"name": "bob", "policies": "own"})).await;
    let inner = bench.group(json!({"name": "inner", "policies": "inner", "member_entity_ids": bob})).await;
    let outer = bench.group(json!({"name": "outer", "policies": "outer", "member_group_ids": [inner]})).await;
    assert_eq!(bench.policies(&bob).await, ["inner", "outer", "own"]);
    let read = bench.http.get(&format!("entity/id/{bob}")).await;
    assert_eq!((&read["direct_group_ids"], &read["inherited_group_ids"]), (&json!([inner]), &json!([outer])));
    let read = bench.http.get(&format!("group/id/{inner}")).await;
    assert_eq!((&read["parent_group_ids"], &read["member_group_ids"]), (&json!([outer]), &Value::Null));
    assert_eq!((&read["member_entity_ids"], &read["alias"]), (&json!([bob]), &json!({})));
    // CVE-2020-10660: who has left is out with the next look.
    bench.http.write("group", json!({"id": inner, "member_entity_ids": []})).await;
    assert_eq!(bench.policies(&bob).await, ["own"]);
    bench.http.write("group/name/INNER", json!({"member_entity_ids": [bob]})).await;
    bench.http.delete("group/name/Outer").await;
    assert_eq!(bench.policies(&bob).await, ["inner", "own"]);
    bench.http.delete(&format!("entity/id/{bob}")).await;
    assert_eq!(bench.http.get(&format!("group/id/{inner}")).await["member_entity_ids"], json!([]));
}

#[tokio::test]
async fn a_group_is_never_in_itself() {
    let bench = Bench::new().await;
    let a = bench.group(json!({"name": "a"})).await;
    let b = bench.group(json!({"name": "b", "member_group_ids": [a]})).await;
    let c = bench.group(json!({"name": "c", "member_group_ids": [b]})).await;
    for (group, member) in [(&a, &a), (&a, &b), (&a, &c), (&b, &c)] {
        let text = bench.http.refused("group", json!({"id": group, "member_group_ids": [member]})).await;
        assert!(text.contains("cyclic"), "{text}");
    }
    assert!(bench.http.refused("group", json!({"name": "d", "member_group_ids": ["x"]})).await.contains("no group"));
    assert!(bench.http.refused("group", json!({"name": "d", "member_entity_ids": ["x"]})).await.contains("no entity"));
}

#[tokio::test]
async fn create_and_update_answer_the_id_and_the_type_stays() {
    let bench = Bench::new().await;
    let made = bench.http.made("group", json!({"name": "G", "metadata": {"k": "v"}})).await;
    assert_eq!(made["name"], "G");
    assert_eq!(bench.http.made("group", json!({"name": "g", "type": "internal"})).await["id"], made["id"]);
    let refused = bench.http.refused("group", json!({"id": made["id"], "type": "external"})).await;
    assert_eq!(refused, "group type cannot be changed");
    assert!(bench.http.refused("group", json!({"type": "cosmic"})).await.contains("cosmic"));
    let external = json!({"name": "x", "type": "external", "member_entity_ids": ["e"]});
    bench.entity(json!({"name": "e"})).await;
    bench.http.refused("group", external).await;
    assert_eq!(bench.http.keys("group/name").await, ["g"]);
    bench.http.refused("group", json!({"id": "none"})).await;
}

#[tokio::test]
async fn external_groups_follow_what_the_method_says() {
    let bench = Bench::new().await;
    let group = bench.group(json!({"name": "admins", "type": "external", "policies": "admin"})).await;
    let outer = bench.group(json!({"name": "outer", "policies": "outer", "member_group_ids": [group]})).await;
    let alias =
        bench.id("group-alias", json!({"name": "LDAP/Admins", "mount_accessor": DOOR, "canonical_id": group})).await;
    let bob = bench.login("bob", &["ldap/admins", "unknown", ""]).await.unwrap();
    assert_eq!(bench.policies(&bob).await, ["admin", "outer"]);
    let read = bench.http.get(&format!("group/id/{group}")).await;
    assert_eq!((&read["member_entity_ids"], &read["alias"]["name"]), (&json!([bob]), &json!("LDAP/Admins")));
    // Another mount cannot speak for it.
    crate::bench::log_in(&bench.store, crate::bench::GATE, "eve", &["LDAP/Admins"]).await.unwrap();
    assert_eq!(bench.http.get(&format!("group/id/{group}")).await["member_entity_ids"], json!([bob]));
    bench.login("bob", &[]).await.unwrap();
    assert_eq!(bench.policies(&bob).await, Vec::<String>::new());
    bench.login("bob", &["LDAP/ADMINS"]).await.unwrap();
    bench.http.delete(&format!("group-alias/id/{alias}")).await;
    assert_eq!(bench.policies(&bob).await, Vec::<String>::new());
    bench.http.delete(&format!("group/id/{group}")).await;
    assert_eq!(bench.http.get(&format!("group/id/{outer}")).await["member_group_ids"], Value::Null);
    assert_eq!(bench.http.view.list("member/", "", 0).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn who_came_by_another_name_of_an_external_group_is_not_in_it() {
    let bench = Bench::new().await;
    let group = bench.group(json!({"name": "g", "type": "external", "policies": "g"})).await;
    let named = |name: &str| json!({"name": name, "mount_accessor": DOOR, "canonical_id": group});
    let alias = bench.id("group-alias", named("devs")).await;
    let bob = bench.login("bob", &["devs"]).await.unwrap();
    let members = async || bench.http.get(&format!("group/id/{group}")).await["member_entity_ids"].clone();
    // The case of a name does not count.
    bench.http.write("group-alias", json!({"id": alias, "name": "DEVS"})).await;
    assert_eq!((bench.policies(&bob).await, members().await), (vec!["g".to_owned()], json!([bob])));
    bench.http.write("group-alias", json!({"id": alias, "name": "admins"})).await;
    assert_eq!((bench.policies(&bob).await, members().await), (vec![], Value::Null));
    bench.http.delete(&format!("group-alias/id/{alias}")).await;
    bench.id("group-alias", named("owners")).await;
    assert_eq!((bench.policies(&bob).await, members().await), (vec![], Value::Null));
    bench.login("bob", &["devs", "owners"]).await.unwrap();
    assert_eq!((bench.policies(&bob).await, members().await), (vec!["g".to_owned()], json!([bob])));
    assert_eq!(bench.http.view.list(&format!("member/{group}/{DOOR}/"), "", 0).await.unwrap(), ["owners/"]);
}

#[tokio::test]
async fn the_alias_of_a_group_is_one_and_unique() {
    let bench = Bench::new().await;
    let made = bench.http.made("group-alias", json!({"name": "g", "mount_accessor": DOOR})).await;
    let (alias, group) = (made["id"].clone(), made["canonical_id"].as_str().unwrap());
    assert_eq!(bench.http.get(&format!("group/id/{group}")).await["type"], "external");
    assert!(bench.http.write("group-alias", json!({"id": alias, "name": "h"})).await.data.is_none());
    let other = bench.group(json!({"name": "o", "type": "external"})).await;
    bench.http.refused("group-alias", json!({"name": "H", "mount_accessor": DOOR, "canonical_id": other})).await;
    let internal = bench.group(json!({"name": "i"})).await;
    bench.http.refused("group-alias", json!({"name": "i", "mount_accessor": DOOR, "canonical_id": internal})).await;
    assert_eq!(bench.http.keys("group-alias/id").await, [alias.as_str().unwrap()]);
    let found = bench.http.made("lookup/group", json!({"alias_name": "h", "alias_mount_accessor": DOOR})).await;
    assert_eq!((&found["id"], &found["alias"]["name"]), (&json!(group), &json!("h")));
}
