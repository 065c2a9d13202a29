//! From flags to running controllers.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use anyhow::Context as _;
use futures::StreamExt;
use holdfast_base::{SystemClock, SystemEntropy};
use holdfast_crd_types::{DynamicCredential, SecretEngine, VaultPolicy};
use holdfast_runtime::{Admin, Shutdown, Tasks};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        Controller,
        controller::{Action, Config},
        reflector::ObjectRef,
        watcher,
    },
};
use tracing::{debug, info};

use crate::{
    bootstrap,
    context::Context,
    election::Election,
    janitor::{self, Gone},
    ledger,
    metrics::Metrics,
    missed,
    object::{self, Managed},
    settings::Settings,
};

/// Runs until the shutdown, or until something fails that a new start mends.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let admin = Admin::new();
    let metrics = admin.register(Metrics::register);
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("admin", admin.clone().serve(settings.admin_address, shutdown.clone()));

    let kube = Client::try_default().await.context("the Kubernetes API server: no configuration")?;
    // Before the election: the server's pods wait for it, and it is made once whoever is first.
    if let Some(name) = settings.seal_secret.clone() {
        let missing = metrics.seal_key_missing.clone();
        let keeper = bootstrap::keep_seal_key(kube.clone(), settings.clone(), name, missing, shutdown.clone());
        tasks.spawn("seal key", keeper);
    }
    let hash_key = bootstrap::hash_key(&kube, &settings, &SystemEntropy).await.context("the operator's Secrets")?;
    admin.set_ready(true);

    let election =
        Election::new(kube.clone(), &settings.namespace, &settings.lease_name, &settings.pod_name, SystemClock);
    if !election.win(&shutdown).await {
        return tasks.join().await;
    }
    metrics.leading.set(1);
    tasks.spawn("election", election.hold(shutdown.clone()));

    let context = Context::new(settings, kube, hash_key, Arc::new(SystemClock), Arc::new(SystemEntropy), metrics);
    let context = Arc::new(context);
    spawn_controllers(&mut tasks, &context, &shutdown);
    tasks.spawn("ledger", ledger::run(context.clone(), shutdown.clone()));
    tasks.join().await
}

fn spawn_controllers(tasks: &mut Tasks, context: &Arc<Context>, shutdown: &Shutdown) {
    let gone = Arc::new(Gone::default());
    for scope in context.settings.scopes() {
        info!(namespace = scope.as_deref().unwrap_or("all"), "watching");
        tasks.spawn("secret engines", control(controller::<SecretEngine>(context, &scope), context, shutdown));
        tasks.spawn("vault policies", control(controller::<VaultPolicy>(context, &scope), context, shutdown));

        // A credential waits for its engine: look at it as soon as the engine changes.
        let credentials = controller::<DynamicCredential>(context, &scope);
        let (store, waker) = (credentials.store(), context.clone());
        let depends = move |engine: SecretEngine| {
            let concerned = store.state().into_iter().filter(move |credential| {
                credential.namespace() == engine.namespace() && credential.spec.engine_ref.name == engine.name_any()
            });
            let found: Vec<_> = concerned.collect();
            for credential in &found {
                waker.backoff.wake(&credential.uid().unwrap_or_default(), std::time::Instant::now());
            }
            found.into_iter().map(|credential| ObjectRef::from_obj(credential.as_ref())).collect::<Vec<_>>()
        };
        let credentials =
            credentials.watches(api::<SecretEngine>(context, &scope), watcher::Config::default(), depends);
        tasks.spawn("dynamic credentials", control(credentials, context, shutdown));
        tasks.spawn("pods", janitor::watch(context.clone(), gone.clone(), scope.clone(), shutdown.clone()));
        if context.settings.find_missed {
            tasks.spawn("missed pods", missed::watch(context.clone(), scope, shutdown.clone()));
        }
    }
    tasks.spawn("janitor", janitor::run(context.clone(), gone, shutdown.clone()));
}

fn api<K: Managed>(context: &Context, scope: &Option<String>) -> Api<K> {
    match scope {
        Some(namespace) => Api::namespaced(context.kube.clone(), namespace),
        None => Api::all(context.kube.clone()),
    }
}

fn controller<K: Managed>(context: &Context, scope: &Option<String>) -> Controller<K>
where
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin,
{
    Controller::new(api::<K>(context, scope), watcher::Config::default()).with_config(Config::default().concurrency(16))
}

fn control<K: Managed>(
    controller: Controller<K>,
    context: &Arc<Context>,
    shutdown: &Shutdown,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let (context, ending) = (context.clone(), shutdown.clone());
    async move {
        controller
            .graceful_shutdown_on(async move { ending.cancelled().await })
            .run(object::reconcile::<K>, |_, never, _| -> Action { match *never {} }, context)
            .for_each(|outcome| async move {
                if let Err(error) = outcome {
                    debug!(kind = K::KIND, %error, "controller");
                }
            })
            .await;
        Ok(())
    }
}
