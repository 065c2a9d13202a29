//! A core over a store in memory, a clock that stands still, and two plug-ins that do what tests need.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use holdfast_api_types::Envelope;
use holdfast_barrier::Barrier;
use holdfast_base::{ManualClock, SeededEntropy};
use holdfast_core::{
    Answer, AuditConfig, Class, Core, CoreConfig, Error, InitStep, Metrics, Raw, Registry, SYSTEM_TTL, Verb,
    lockout::Lockouts,
};
use holdfast_logical::{
    Auth, Backend, Data, Error as Logical, Field, Grant, Issue, Kind, MountInfo, Operation, PathTable, PodIdentity,
    Request, Response, Row, Services,
};
use holdfast_seal::{Seal, ShamirSeal, StaticSeal};
use holdfast_secret::{SecretBytes, SecretString};
use holdfast_storage::{MemoryStorage, Storage};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

pub struct Bench {
    pub core: Arc<Core>,
    pub clock: Arc<ManualClock>,
    pub storage: Arc<MemoryStorage>,
    pub root: String,
    pub shares: Vec<String>,
}

/// How a bench is made.
#[derive(Default)]
pub struct Make {
    pub stored_key: bool,
    /// Instead of the one that `stored_key` chooses.
    pub seal: Option<Arc<dyn Seal>>,
    /// The one before it.
    pub previous_seal: Option<Arc<dyn Seal>>,
    pub initialize: Vec<InitStep>,
    pub audit: AuditConfig,
    /// What stands before the storage.
    pub store: Option<Arc<dyn Storage>>,
}

pub fn core(storage: &Arc<MemoryStorage>, clock: &Arc<ManualClock>, make: Make) -> Arc<Core> {
    // One seed per core: the tests of this process must not draw the same uuids.
    static SEED: AtomicU64 = AtomicU64::new(1);
    let entropy = Arc::new(SeededEntropy::new(SEED.fetch_add(1, Ordering::Relaxed) << 32));
    let seal: Arc<dyn Seal> = match make.stored_key {
        _ if make.seal.is_some() => make.seal.unwrap(),
        true => Arc::new(StaticSeal::new(&SecretBytes::new([7; 32]), "test", entropy.clone()).unwrap()),
        false => Arc::new(ShamirSeal),
    };
    Core::new(CoreConfig {
        limits: Default::default(),
        barrier: Barrier::open(make.store.unwrap_or_else(|| storage.clone()), clock.clone(), entropy.clone()),
        seal,
        previous_seal: make.previous_seal,
        registry: Registry::new().with(Class::Secret, "probe", probe).with(Class::Auth, "door", door).with(
            Class::Auth,
            "userpass",
            crate::lockout::gate,
        ),
        open_audit: crate::audit::open,
        clock: clock.clone(),
        entropy,
        audit: make.audit,
        process: Arc::new(holdfast_core::NoProcess),
        raw_storage: false,
        metrics: Metrics::default(),
        default_lease_ttl: SYSTEM_TTL,
        max_lease_ttl: SYSTEM_TTL,
        lockouts: Lockouts { records: 8, ..Lockouts::default() },
        cluster_name: String::new(),
        version: "1.0.0".to_owned(),
        build_date: String::new(),
        storage_kind: "inmem".to_owned(),
        api_addr: "http://127.0.0.1:8200".to_owned(),
        hostname: "test".to_owned(),
        initialize: make.initialize,
    })
}

impl Bench {
    /// Sealed and not initialised.
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
        let storage = Arc::new(MemoryStorage::new());
        let core = core(&storage, &clock, Make::default());
        Self { core, clock, storage, root: String::new(), shares: Vec::new() }
    }

    /// Initialised with 2 of 3 shares, and unsealed.
    pub async fn open() -> Self {
        let mut bench = Self::new();
        let body = bench.bare(Verb::Write, "sys/init", json!({"secret_shares": 3, "secret_threshold": 2})).await.1;
        bench.root = body["root_token"].as_str().unwrap().to_owned();
        bench.shares = serde_json::from_value(body["keys_base64"].clone()).unwrap();
        bench.unseal().await;
        bench
    }

    pub async fn unseal(&self) {
        for share in &self.shares[..2] {
            let (status, _) = self.bare(Verb::Write, "sys/unseal", json!({ "key": share })).await;
            assert_eq!(status, 200);
        }
        assert!(self.core.is_unsealed());
    }

    pub async fn unseal_with(&self, share: &str) {
        let (status, _) = self.bare(Verb::Write, "sys/unseal", json!({ "key": share })).await;
        assert!(status == 200 && self.core.is_unsealed());
    }

    /// A new process over the same store.
    pub async fn restart(&mut self) {
        self.core = core(&self.storage, &self.clock, Make::default());
        self.unseal().await;
    }

    pub fn raw(&self, token: &str, verb: Verb, path: &str, body: Value) -> Raw {
        let mut raw = Raw::new("request", verb, path);
        raw.token = (!token.is_empty()).then(|| SecretString::new(token));
        raw.body = body.as_object().cloned().unwrap_or_default();
        raw
    }

    pub async fn bare(&self, verb: Verb, path: &str, body: Value) -> (u16, Value) {
        match self.core.handle(self.raw("", verb, path, body)).await {
            Answer::Bare { status, body } => (status, body),
            other => panic!("{path}: {other:?}"),
        }
    }

    /// The answer of a request with this token.
    pub async fn answer(&self, token: &str, verb: Verb, path: &str, body: Value) -> Answer {
        self.core.handle(self.raw(token, verb, path, body)).await
    }

    /// The envelope of a request that must succeed; an empty one for 204.
    pub async fn ok(&self, token: &str, verb: Verb, path: &str, body: Value) -> Envelope<Data> {
        envelope(path, self.answer(token, verb, path, body).await)
    }

    /// `data` of a read by root that must succeed.
    pub async fn read(&self, path: &str) -> Map<String, Value> {
        data(self.ok(&self.root, Verb::Read, path, json!({})).await)
    }

    /// A write by root that must succeed.
    pub async fn write(&self, path: &str, body: Value) -> Envelope<Data> {
        self.ok(&self.root, Verb::Write, path, body).await
    }

    /// The answer of a request in a namespace.
    pub async fn within(&self, namespace: &str, token: &str, verb: Verb, path: &str, body: Value) -> Answer {
        let mut raw = self.raw(token, verb, path, body);
        raw.namespace = Some(namespace.to_owned());
        self.core.handle(raw).await
    }

    /// The error of a request that must fail.
    pub async fn fails(&self, token: &str, verb: Verb, path: &str, body: Value) -> Error {
        match self.answer(token, verb, path, body).await {
            Answer::Error(error) => error,
            other => panic!("{path}: {other:?}"),
        }
    }

    /// A new child of root.
    pub async fn token(&self, body: Value) -> String {
        self.write("auth/token/create", body).await.auth.unwrap().client_token
    }

    pub async fn is_good(&self, token: &str) -> bool {
        !matches!(self.answer(token, Verb::Read, "auth/token/lookup-self", json!({})).await, Answer::Error(_))
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub fn envelope(path: &str, answer: Answer) -> Envelope<Data> {
    match answer {
        Answer::Envelope { envelope, .. } => *envelope,
        Answer::Empty => Envelope::default(),
        other => panic!("{path}: {other:?}"),
    }
}

pub fn data(envelope: Envelope<Data>) -> Map<String, Value> {
    envelope.data.unwrap().into_map()
}

/// Waits for something that a background task does.
pub async fn until(mut what: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if what().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 5 s");
}

// === plug-ins ===

/// Credentials that exist outside, by mount uuid.
static OUTSIDE: LazyLock<Mutex<HashMap<String, Vec<String>>>> = LazyLock::new(Mutex::default);

pub fn outside(uuid: &str) -> Vec<String> {
    OUTSIDE.lock().get(uuid).cloned().unwrap_or_default()
}

struct Probe {
    services: Services,
    uuid: String,
}

const PROBE: &PathTable = &[
    Row {
        id: "creds",
        pattern: "creds/:name",
        operations: &[Operation::Read],
        fields: &[],
        auth: Auth::Token,
        help: "Makes a credential.",
    },
    Row {
        id: "data",
        pattern: "data/*path",
        operations: &[Operation::Create, Operation::Read, Operation::Update, Operation::Delete],
        fields: &[Field::new("count", Kind::Int, "A number.")],
        auth: Auth::Token,
        help: "Keeps what is written.",
    },
];

fn probe(mount: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Logical> {
    Ok(Arc::new(Probe { services, uuid: mount.uuid.clone() }))
}

#[async_trait]
impl Backend for Probe {
    fn paths(&self) -> &'static PathTable {
        PROBE
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Logical> {
        Ok(Some(self.services.view.get(&request.path).await?.is_some()))
    }

    async fn handle(&self, request: Request) -> Result<Response, Logical> {
        match (request.route, request.operation) {
            ("creds", _) => {
                assert_ne!(request.fields.string("name"), Some("panic"), "asked for");
                let name = holdfast_base::id::hex(self.services.entropy.as_ref(), 8);
                let (uuid, made) = (self.uuid.clone(), name.clone());
                let breaks = request.fields.string("name") == Some("break-audit");
                Ok(Response {
                    issue: Some(Issue {
                        internal: Map::from_iter([("name".to_owned(), json!(name))]),
                        data: json!({ "username": name }).into(),
                        ttl: Some(Duration::from_secs(600)),
                        max_ttl: None,
                        renewable: true,
                        create: Box::new(move || {
                            Box::pin(async move {
                                OUTSIDE.lock().entry(uuid).or_default().push(made);
                                if breaks {
                                    crate::audit::break_traps();
                                }
                                Ok(())
                            })
                        }),
                    }),
                    ..Response::default()
                })
            }
            (_, Operation::Read) => match self.services.view.get_json::<Map<String, Value>>(&request.path).await? {
                Some((data, _)) => Ok(Response::data(data)),
                None => Err(Logical::not_found()),
            },
            (_, Operation::Delete) => {
                self.services.view.delete(&request.path).await?;
                Ok(Response::empty())
            }
            _ => {
                self.services.view.put_json(&request.path, request.fields.unknown()).await?;
                Ok(Response::empty())
            }
        }
    }

    async fn revoke(&self, internal: &Map<String, Value>) -> Result<(), Logical> {
        if let Some(names) = OUTSIDE.lock().get_mut(&self.uuid) {
            names.retain(|name| json!(name) != internal["name"]);
        }
        Ok(())
    }
}

struct Door;

const DOOR: &PathTable = &[Row {
    id: "login",
    pattern: "login",
    operations: &[Operation::Update],
    fields: &[
        Field::new("pod", Kind::String, "Uid of the pod."),
        Field::new("alias", Kind::String, "Who; orders unless given."),
        Field::new("groups", Kind::StringList, "Groups."),
        Field::new("policies", Kind::StringList, "Policies; app unless given."),
        Field::new("fails", Kind::String, "How it goes wrong although there is a grant."),
    ],
    auth: Auth::None,
    help: "Lets everyone in.",
}];

fn door(_: Arc<MountInfo>, _: Services) -> Result<Arc<dyn Backend>, Logical> {
    Ok(Arc::new(Door))
}

#[async_trait]
impl Backend for Door {
    fn paths(&self) -> &'static PathTable {
        DOOR
    }

    async fn handle(&self, request: Request) -> Result<Response, Logical> {
        let pod = request.fields.string("pod").map(|uid| PodIdentity {
            uid: uid.to_owned(),
            name: "orders".to_owned(),
            namespace: "shop".to_owned(),
        });
        let grant = Grant {
            alias: request.fields.string("alias").unwrap_or("orders").to_owned(),
            groups: request.fields.list("groups").unwrap_or_default(),
            display_name: "orders".to_owned(),
            policies: request.fields.list("policies").unwrap_or_else(|| vec!["app".to_owned()]),
            ttl: Some(Duration::from_secs(3600)),
            max_ttl: Some(Duration::from_secs(7200)),
            renewable: true,
            pod,
            ..Grant::default()
        };
        match request.fields.string("fails") {
            Some("error") => Err(Logical::Invalid("as the test wants".to_owned())),
            Some("status") => Ok(Response { grant: Some(grant), status: Some(400), ..Response::default() }),
            Some("panic") => panic!("as the test wants, with {grant:?}"),
            _ => Ok(Response { grant: Some(grant), ..Response::default() }),
        }
    }
}
