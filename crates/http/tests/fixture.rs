//! A listener on a free port with a core that answers what it was asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use holdfast_base::SystemEntropy;
use holdfast_client::{Client, Config};
use holdfast_core::{Answer, Cors, Greeting, Raw, Verb};
use holdfast_http::{Budget, Handle, Limits, Listener, Site, Tls, TrustedProxies};
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// `slow` waits for a permit, as if for a store that confirms nothing once it is `stuck`; `panic` panics; faults come back; everything else is echoed.
pub struct Echo {
    pub permits: Semaphore,
    pub started: AtomicUsize,
    pub finished: AtomicUsize,
    pub observed: AtomicUsize,
    pub stuck: CancellationToken,
}

impl Echo {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(0),
            started: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            observed: AtomicUsize::new(0),
            stuck: CancellationToken::new(),
        })
    }
}

impl Handle for Echo {
    fn handle(&self, raw: Box<Raw>) -> BoxFuture<'_, Answer> {
        async move {
            if let Some(fault) = raw.fault {
                return fault.into();
            }
            match raw.path.as_str() {
                "slow" => {
                    self.started.fetch_add(1, Ordering::SeqCst);
                    self.permits.acquire().await.unwrap().forget();
                    self.finished.fetch_add(1, Ordering::SeqCst);
                }
                "panic" => panic!("as the test wants"),
                _ => {}
            }
            Answer::Bare {
                status: 200,
                body: json!({"path": raw.path, "body": raw.body, "certificates": raw.connection.certificates.len()}),
            }
        }
        .boxed()
    }

    fn greet<'a>(&'a self, raw: &'a Raw) -> BoxFuture<'a, Greeting> {
        let refusal = (raw.path == "limited").then(|| {
            let message = "rate limit quota exceeded".to_owned();
            holdfast_core::Error::Logical(holdfast_logical::Error::Status { code: 429, message })
        });
        let headers = vec![("x-ratelimit-limit", "1".to_owned())];
        async move { Greeting { headers, refusal, permit: None } }.boxed()
    }

    fn cors(&self) -> Option<Cors> {
        None
    }

    fn stands_still(&self) -> BoxFuture<'_, ()> {
        self.stuck.cancelled().boxed()
    }

    fn metrics(&self) -> String {
        "up 1\n".to_owned()
    }

    fn observe(&self, _: Option<Verb>, _: u16, _: Duration) {
        self.observed.fetch_add(1, Ordering::SeqCst);
    }
}

pub struct Running {
    pub port: u16,
    pub stop: CancellationToken,
    pub budget: Arc<Budget>,
    pub task: JoinHandle<()>,
}

pub async fn start(echo: Arc<Echo>, tls: Option<Tls>, limits: Limits) -> Running {
    let budget = Budget::new(8 << 20);
    let site = Site {
        handle: echo,
        entropy: Arc::new(SystemEntropy),
        limits,
        budget: budget.clone(),
        headers: Default::default(),
        metrics_only: false,
        proxies: TrustedProxies::default(),
        unauthenticated_metrics: true,
        doors: Default::default(),
        left: Default::default(),
    };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls, Arc::new(site)).await.unwrap();
    let (port, stop) = (listener.address().unwrap().port(), CancellationToken::new());
    let task = tokio::spawn(listener.serve(stop.clone().cancelled_owned()));
    Running { port, stop, budget, task }
}

pub fn client(port: u16) -> Client {
    Client::new(Config { address: format!("http://127.0.0.1:{port}"), ..Config::default() }).unwrap()
}

/// Waits until `condition`, at most ten seconds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}
