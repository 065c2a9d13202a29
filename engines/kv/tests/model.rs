//! Version 2 against a model that is too simple to be wrong.

use std::{collections::BTreeMap, time::Duration};

use holdfast_logical::{Error, Operation, Response};
use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value, json};

use crate::mount::Mount;

const PATHS: [&str; 2] = ["a", "b/c"];

#[derive(Clone, Debug)]
enum Step {
    Put {
        cas: Option<u64>,
        key: u8,
        value: u8,
    },
    Patch {
        key: u8,
        value: Option<u8>,
    },
    DeleteNewest,
    Delete(u64),
    Undelete(u64),
    Destroy(u64),
    MaxVersions(u64),
    CasRequired(bool),
    Custom {
        key: u8,
        value: Option<u8>,
        cas: Option<u64>,
    },
    MetadataCasRequired {
        required: bool,
        cas: Option<u64>,
    },
    /// Seconds that the versions to come live; 0 is for ever.
    DeleteAfter(u64),
    /// The same for the whole mount.
    MountDeleteAfter(u64),
    Wait(u64),
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let version = 0u64..9;
    prop_oneof![
        6 => (prop::option::of(0u64..6), 0u8..3, any::<u8>()).prop_map(|(cas, key, value)| Step::Put { cas, key, value }),
        3 => (0u8..3, prop::option::of(any::<u8>())).prop_map(|(key, value)| Step::Patch { key, value }),
        2 => Just(Step::DeleteNewest),
        1 => version.clone().prop_map(Step::Delete),
        2 => version.clone().prop_map(Step::Undelete),
        1 => version.prop_map(Step::Destroy),
        1 => (0u64..4).prop_map(Step::MaxVersions),
        1 => any::<bool>().prop_map(Step::CasRequired),
        2 => (0u8..3, prop::option::of(any::<u8>()), prop::option::of(0u64..6))
            .prop_map(|(key, value, cas)| Step::Custom { key, value, cas }),
        1 => (any::<bool>(), prop::option::of(0u64..6))
            .prop_map(|(required, cas)| Step::MetadataCasRequired { required, cas }),
        1 => prop_oneof![Just(0), 1u64..100].prop_map(Step::DeleteAfter),
        1 => prop_oneof![Just(0), 1u64..100].prop_map(Step::MountDeleteAfter),
        3 => (1u64..60).prop_map(Step::Wait),
        1 => Just(Step::Forget),
    ]
}

#[derive(Clone)]
struct Version {
    data: Map<String, Value>,
    /// When it is deleted, if it is, be it in the past or to come.
    deleted: Option<u64>,
    destroyed: bool,
}

#[derive(Default)]
struct Secret {
    current: u64,
    versions: BTreeMap<u64, Version>,
    max: u64,
    cas_required: bool,
    metadata: u64,
    metadata_cas_required: bool,
    delete_after: u64,
    custom: Option<BTreeMap<String, String>>,
}

/// What is not of one secret alone.
#[derive(Clone, Copy, Default)]
struct World {
    now: u64,
    delete_after: u64,
}

impl Version {
    fn live(&self, now: u64) -> bool {
        !self.destroyed && self.deleted.is_none_or(|at| at > now)
    }
}

impl Secret {
    fn newest(&self, now: u64) -> Option<&Version> {
        self.versions.get(&self.current).filter(|version| version.live(now))
    }

    /// The shorter of both lives counts, from now.
    fn add(&mut self, data: Map<String, Value>, world: World) {
        let after = [self.delete_after, world.delete_after].into_iter().filter(|after| *after > 0).min();
        self.current += 1;
        self.versions
            .insert(self.current, Version { data, deleted: after.map(|after| world.now + after), destroyed: false });
        let keep = if self.max == 0 { 10 } else { self.max };
        self.versions.retain(|number, _| number + keep > self.current);
    }
}

/// May the metadata be written with this `metadata_cas`? Each write counts.
fn writes_metadata(secret: &mut Secret, cas: Option<u64>) -> bool {
    let allowed = cas.map_or(!secret.metadata_cas_required, |cas| cas == secret.metadata);
    secret.metadata += u64::from(allowed);
    allowed
}

/// Applies a step to the model; false: it must be refused.
fn apply(model: &mut Option<Secret>, world: &mut World, step: &Step) -> bool {
    let now = world.now;
    match step {
        Step::Put { cas, key, value } => {
            let (current, required) = model.as_ref().map_or((0, false), |secret| (secret.current, secret.cas_required));
            if cas.is_some_and(|cas| cas != current) || (required && cas.is_none()) {
                return false;
            }
            model.get_or_insert_default().add(Map::from_iter([(key.to_string(), json!(value))]), *world);
        }
        Step::Patch { key, value } => {
            let Some(secret) = model else { return false };
            let Some(newest) = secret.newest(now) else { return false };
            if secret.cas_required {
                return false;
            }
            let mut data = newest.data.clone();
            match value {
                Some(value) => data.insert(key.to_string(), json!(value)),
                None => data.remove(&key.to_string()),
            };
            secret.add(data, *world);
        }
        Step::DeleteNewest => {
            if let Some(secret) = model
                && let Some(version) = secret.versions.get_mut(&secret.current)
                && version.live(now)
            {
                version.deleted = Some(now);
            }
        }
        Step::Delete(number) | Step::Undelete(number) | Step::Destroy(number) => {
            if let Some(version) = model.as_mut().and_then(|secret| secret.versions.get_mut(number)) {
                match step {
                    Step::Delete(_) if version.live(now) => version.deleted = Some(now),
                    Step::Delete(_) => {}
                    // Also a deletion that is still to come is taken back.
                    Step::Undelete(_) if !version.destroyed => version.deleted = None,
                    Step::Undelete(_) => {}
                    _ => version.destroyed = true,
                }
            }
        }
        Step::MaxVersions(_) | Step::CasRequired(_) | Step::DeleteAfter(_) | Step::MetadataCasRequired { .. } => {
            let cas = if let Step::MetadataCasRequired { cas, .. } = step { *cas } else { None };
            let mut secret = model.take().unwrap_or_default();
            let (existed, allowed) = (secret.metadata > 0 || secret.current > 0, writes_metadata(&mut secret, cas));
            if allowed {
                match step {
                    Step::MaxVersions(max) => secret.max = *max,
                    Step::CasRequired(required) => secret.cas_required = *required,
                    Step::DeleteAfter(after) => secret.delete_after = *after,
                    Step::MetadataCasRequired { required, .. } => secret.metadata_cas_required = *required,
                    _ => {}
                }
            }
            *model = (allowed || existed).then_some(secret);
            return allowed;
        }
        Step::MountDeleteAfter(after) => world.delete_after = *after,
        Step::Wait(seconds) => world.now += seconds,
        Step::Custom { key, value, cas } => {
            let Some(secret) = model else { return false };
            if !writes_metadata(secret, *cas) {
                return false;
            }
            let custom = secret.custom.get_or_insert_default();
            match value {
                Some(value) => custom.insert(key.to_string(), value.to_string()),
                None => custom.remove(&key.to_string()),
            };
        }
        Step::Forget => *model = None,
    }
    true
}

async fn ask(mount: &Mount, path: &str, step: &Step) -> Result<Response, Error> {
    let versions = |number: &u64| json!({"versions": [number]});
    let (operation, folder, body) = match step {
        Step::Put { cas, key, value } => {
            let mut body = json!({"data": {key.to_string(): value}});
            if let Some(cas) = cas {
                body["options"] = json!({ "cas": cas });
            }
            (Operation::Update, "data", body)
        }
        Step::Patch { key, value } => (Operation::Patch, "data", json!({"data": {key.to_string(): value}})),
        Step::DeleteNewest => (Operation::Delete, "data", Value::Null),
        Step::Delete(number) => (Operation::Update, "delete", versions(number)),
        Step::Undelete(number) => (Operation::Update, "undelete", versions(number)),
        Step::Destroy(number) => (Operation::Update, "destroy", versions(number)),
        Step::Wait(seconds) => {
            mount.clock.advance(Duration::from_secs(*seconds));
            return Ok(Response::empty());
        }
        Step::MountDeleteAfter(after) => {
            return mount.ask(Operation::Update, "config", json!({ "delete_version_after": after })).await;
        }
        Step::DeleteAfter(after) => (Operation::Update, "metadata", json!({ "delete_version_after": after })),
        Step::MetadataCasRequired { required, cas } => {
            (Operation::Update, "metadata", with_cas(json!({ "metadata_cas_required": required }), *cas))
        }
        Step::MaxVersions(max) => (Operation::Update, "metadata", json!({ "max_versions": max })),
        Step::CasRequired(required) => (Operation::Update, "metadata", json!({ "cas_required": required })),
        Step::Custom { key, value, cas } => {
            let value = value.map(|value| value.to_string());
            (Operation::Patch, "metadata", with_cas(json!({"custom_metadata": {key.to_string(): value}}), *cas))
        }
        Step::Forget => (Operation::Delete, "metadata", Value::Null),
    };
    mount.ask(operation, &format!("{folder}/{path}"), body).await
}

fn with_cas(mut body: Value, cas: Option<u64>) -> Value {
    if let Some(cas) = cas {
        body["metadata_cas"] = json!(cas);
    }
    body
}

async fn compare(mount: &Mount, path: &str, model: Option<&Secret>, now: u64) {
    let metadata = mount.ask(Operation::Read, &format!("metadata/{path}"), Value::Null).await;
    let Some(model) = model else {
        assert!(metadata.is_err());
        return;
    };
    let metadata = Value::Object(metadata.unwrap().data.unwrap().to_map());
    assert_eq!(metadata["current_version"], model.current);
    assert_eq!(metadata["max_versions"], model.max);
    assert_eq!(metadata["cas_required"], model.cas_required);
    assert_eq!(metadata["custom_metadata"], json!(model.custom));
    assert_eq!(metadata["current_metadata_version"], model.metadata);
    assert_eq!(metadata["metadata_cas_required"], model.metadata_cas_required);
    let numbers: Vec<String> = metadata["versions"].as_object().unwrap().keys().cloned().collect();
    let mut expected: Vec<String> = model.versions.keys().map(u64::to_string).collect();
    expected.sort();
    let mut numbers = numbers;
    numbers.sort();
    assert_eq!(numbers, expected);
    for number in 0..=model.current + 1 {
        let read = mount.ask(Operation::Read, &format!("data/{path}"), json!({ "version": number })).await;
        let wanted = if number == 0 { model.current } else { number };
        match model.versions.get(&wanted) {
            None => assert!(matches!(read, Err(Error::NotFound(None))), "version {number}"),
            Some(version) => {
                let read = read.unwrap();
                let live = version.live(now);
                let data = read.data.unwrap().to_map();
                assert_eq!(read.status, (!live).then_some(404), "version {number}");
                assert_eq!(data["data"], if live { json!(version.data) } else { Value::Null });
                assert_eq!(data["metadata"]["destroyed"], version.destroyed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_engine_does_what_the_model_does(steps in vec((0usize..2, step()), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mount = Mount::new("2").await;
            let mut models: [Option<Secret>; 2] = [None, None];
            let mut world = World::default();
            for (which, step) in &steps {
                let allowed = apply(&mut models[*which], &mut world, step);
                let outcome = ask(&mount, PATHS[*which], step).await;
                let done = matches!(&outcome, Ok(response) if response.status.is_none());
                assert_eq!(done, allowed, "{step:?}: {outcome:?}");
                for (path, model) in PATHS.iter().zip(&models) {
                    compare(&mount, path, model.as_ref(), world.now).await;
                }
            }
        });
    }
}
