//! Whatever several replicas do at once: every key says what the records say.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_identity::{Entity, Group, GroupKind, Identity};
use holdfast_logical::{Backend, Operation, View, fold};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::bench::{Bench, DOOR, GATE, ask, log_in};

/// One thing that somebody does; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Entity(u8),
    Alias(u8, u8, bool),
    Rename(u8, u8),
    MoveAlias(u8, u8),
    Delete(u8),
    Merge(u8, u8),
    Group(u8, Vec<u8>, Vec<u8>),
    DeleteGroup(u8),
    Login(u8, Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::vec(0u8..4, 0..3);
    prop_oneof![
        (0u8..6).prop_map(Step::Entity),
        (0u8..6, 0u8..4, any::<bool>()).prop_map(|(entity, name, door)| Step::Alias(entity, name, door)),
        (0u8..6, 0u8..6).prop_map(|(entity, name)| Step::Rename(entity, name)),
        (0u8..6, 0u8..6).prop_map(|(alias, entity)| Step::MoveAlias(alias, entity)),
        (0u8..6).prop_map(Step::Delete),
        (0u8..6, 0u8..6).prop_map(|(from, to)| Step::Merge(from, to)),
        (0u8..4, some(), some()).prop_map(|(group, members, groups)| Step::Group(group, members, groups)),
        (0u8..4).prop_map(Step::DeleteGroup),
        (0u8..4, some()).prop_map(|(alias, groups)| Step::Login(alias, groups)),
    ]
}

/// Refusals are as good as success: what counts is what is stored.
async fn write(backend: &dyn Backend, operation: Operation, path: &str, body: Value) {
    let _ = ask(backend, "", operation, path, body).await;
}

async fn all<T: serde::de::DeserializeOwned>(view: &View, folder: &str) -> BTreeMap<String, T> {
    let mut found = BTreeMap::new();
    for name in view.list(folder, "", 0).await.unwrap() {
        if name.ends_with('/') {
            for inner in view.list(&format!("{folder}{name}"), "", 0).await.unwrap() {
                let (value, _) = view.get_json(&format!("{folder}{name}{inner}")).await.unwrap().unwrap();
                found.insert(format!("{name}{inner}"), value);
            }
        } else {
            found.insert(name.clone(), view.get_json(&format!("{folder}{name}")).await.unwrap().unwrap().0);
        }
    }
    found
}

async fn carry_out(store: std::sync::Arc<Identity>, view: View, step: Step) {
    let backend = store.backend();
    let entities: Vec<String> = view.list("entity/", "", 0).await.unwrap();
    let groups: Vec<String> = view.list("group/", "", 0).await.unwrap();
    let aliases: Vec<String> = view.list("alias/", "", 0).await.unwrap();
    let pick = |from: &[String], at: u8| from.get(usize::from(at) % from.len().max(1)).cloned().unwrap_or_default();
    let picks = |from: &[String], at: &[u8]| {
        at.iter().map(|at| pick(from, *at)).filter(|id| !id.is_empty()).collect::<Vec<_>>()
    };
    match step {
        Step::Entity(name) => write(&*backend, Operation::Update, "entity", json!({"name": format!("e{name}")})).await,
        Step::Alias(entity, name, door) => {
            let accessor = if door { DOOR } else { GATE };
            let body = json!({"canonical_id": pick(&entities, entity), "name": format!("A{name}"), "mount_accessor": accessor});
            write(&*backend, Operation::Update, "entity-alias", body).await;
        }
        Step::Rename(entity, name) => {
            let body = json!({"id": pick(&entities, entity), "name": format!("E{name}")});
            write(&*backend, Operation::Update, "entity", body).await;
        }
        Step::MoveAlias(alias, entity) => {
            let body = json!({"id": pick(&aliases, alias), "canonical_id": pick(&entities, entity)});
            write(&*backend, Operation::Update, "entity-alias", body).await;
        }
        Step::Delete(entity) if !entities.is_empty() => {
            write(&*backend, Operation::Delete, &format!("entity/id/{}", pick(&entities, entity)), Value::Null).await;
        }
        Step::Merge(from, to) => {
            let body = json!({"from_entity_ids": [pick(&entities, from)], "to_entity_id": pick(&entities, to)});
            write(&*backend, Operation::Update, "entity/merge", body).await;
        }
        Step::Group(name, members, inner) => {
            let body = json!({
                "name": format!("g{name}"),
                "member_entity_ids": picks(&entities, &members),
                "member_group_ids": picks(&groups, &inner),
            });
            write(&*backend, Operation::Update, "group", body).await;
        }
        Step::DeleteGroup(group) if !groups.is_empty() => {
            write(&*backend, Operation::Delete, &format!("group/id/{}", pick(&groups, group)), Value::Null).await;
        }
        Step::Login(alias, groups) => {
            let groups: Vec<String> = groups.iter().map(|group| format!("x{group}")).collect();
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            let _ = log_in(&store, DOOR, &format!("a{alias}"), &groups).await;
        }
        Step::Delete(_) | Step::DeleteGroup(_) => {}
    }
}

async fn check(bench: &Bench) {
    let view = &bench.http.view;
    let entities: BTreeMap<String, Entity> = all(view, "entity/").await;
    let groups: BTreeMap<String, Group> = all(view, "group/").await;
    let names: BTreeMap<String, String> = all(view, "entity-name/").await;
    let wanted = entities.values().map(|entity| (fold(&entity.name), entity.id.clone())).collect();
    assert_eq!(names, wanted, "each entity has its name, and no name is left over");
    let aliases: BTreeMap<String, String> = all(view, "alias/").await;
    let own = || entities.values().flat_map(|entity| entity.aliases.iter().map(move |alias| (entity, alias)));
    assert_eq!(aliases, own().map(|(entity, alias)| (alias.id.clone(), entity.id.clone())).collect());
    let factors: BTreeMap<String, Value> = all(view, "factor/").await;
    let wanted = own().map(|(entity, alias)| {
        (format!("{}/{}", alias.accessor, fold(&alias.name)), json!({"alias": alias.id, "entity": entity.id}))
    });
    assert_eq!(factors, wanted.collect());
    for entity in entities.values() {
        let accessors: BTreeSet<&str> = entity.aliases.iter().map(|alias| alias.accessor.as_str()).collect();
        assert_eq!(accessors.len(), entity.aliases.len(), "one alias for a mount");
    }
    let group_names: BTreeMap<String, String> = all(view, "group-name/").await;
    assert_eq!(group_names, groups.values().map(|group| (fold(&group.name), group.id.clone())).collect());
    let mut members = BTreeSet::new();
    for entity in entities.values() {
        for (accessor, named) in &entity.external {
            members.extend(named.iter().map(|(group, name)| format!("{group}/{accessor}/{name}/{}", entity.id)));
        }
    }
    for group in view.list("member/", "", 0).await.unwrap() {
        for accessor in view.list(&format!("member/{group}"), "", 0).await.unwrap() {
            let listed: BTreeMap<String, ()> = all(view, &format!("member/{group}{accessor}")).await;
            let known = |key: &String| members.contains(&format!("{group}{accessor}{key}"));
            assert!(listed.keys().all(known), "nobody is listed who does not say so");
        }
    }
    for group in groups.values().filter(|group| group.kind == GroupKind::Internal) {
        assert!(group.members.iter().all(|member| entities.contains_key(member)), "members are there");
        assert!(group.groups.iter().all(|inner| groups.contains_key(inner)), "groups in groups are there");
    }
    let depth = |mut at: BTreeSet<String>| {
        for _ in 0..=groups.len() {
            at = at.iter().filter_map(|id| groups.get(id)).flat_map(|group| group.groups.clone()).collect();
        }
        at
    };
    assert!(groups.keys().all(|id| depth(BTreeSet::from([id.clone()])).is_empty()), "no group is in itself");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_key_says_what_the_records_say(rounds in prop::collection::vec(prop::collection::vec(step(), 1..5), 1..12)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            for n in 0..4 {
                bench.id("group-alias", json!({"name": format!("x{n}"), "mount_accessor": DOOR})).await;
            }
            let replicas = [bench.store.clone(), bench.replica(), bench.replica()];
            for steps in rounds {
                // The steps of a round run at once, each on a replica.
                let tasks = steps.into_iter().enumerate().map(|(at, step)| {
                    tokio::spawn(carry_out(replicas[at % 3].clone(), bench.http.view.clone(), step))
                });
                for task in futures::future::join_all(tasks).await {
                    task.unwrap();
                }
            }
            check(&bench).await;
        });
    }
}
