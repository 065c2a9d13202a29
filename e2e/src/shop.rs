//! The shop: the example that the documentation uses, in a namespace of its own.

use std::time::Duration;

use anyhow::{Context, Result};
use holdfast_client::Client;
use serde_json::json;

use crate::{
    Release, Server, postgres,
    shell::{exec, kubectl, kubectl_apply, run},
    wait::{eventually, eventually_within},
};

const OBJECTS: &str = include_str!("../manifests/shop.yaml");
const PODS: &str = include_str!("../manifests/pods.yaml");

/// The two pods and where each finds what.
pub const PODS_AND_PLACES: [Place; 2] = [
    Place { pod: "pod-a", url: "/secrets/url", brief: "/secrets/orders-brief/username", token: "/secrets/api-token" },
    Place {
        pod: "pod-b",
        url: "/holdfast/secrets/db",
        brief: "/holdfast/secrets/brief",
        token: "/holdfast/secrets/api",
    },
];

/// Where a pod finds what.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Name of the pod.
    pub pod: &'static str,
    /// File with the connection URL of `orders-ro`.
    pub url: &'static str,
    /// File with the username of `orders-brief`.
    pub brief: &'static str,
    /// File with the value from kv.
    pub token: &'static str,
}

/// A shop whose objects are Ready, with a value in kv, and who may write that.
#[derive(Debug)]
pub struct Opened {
    /// The shop.
    pub shop: Shop,
    /// The connection that `admin` needs.
    pub server: Server,
    /// May write the shop's kv engine.
    pub admin: Client,
}

/// A namespace with a database, engines, policies, credentials.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The namespace.
    pub namespace: String,
}

impl Shop {
    /// Makes the namespace anew, with its database. Nothing of Holdfast in it yet.
    pub async fn open(namespace: &str) -> Result<Self> {
        kubectl(&format!("delete namespace {namespace} --ignore-not-found --wait=true --timeout=90s")).await?;
        let manifest = run("kubectl", &["create", "namespace", namespace, "--dry-run=client", "-o", "yaml"]).await?;
        kubectl_apply("default", &manifest).await?;
        postgres::start(namespace).await?;
        Ok(Self { namespace: namespace.to_owned() })
    }

    /// Makes the namespace anew with all that the shop has but pods; the value that pods show is `first`.
    pub async fn opened(release: &Release, namespace: &str) -> Result<Opened> {
        let shop = Self::open(namespace).await?;
        shop.apply().await?;
        let server = connect(release).await?;
        let admin = shop.admin(&server).await?;
        shop.set_token(&admin, "first").await?;
        Ok(Opened { shop, server, admin })
    }

    /// Applies the objects and waits until all are Ready.
    pub async fn apply(&self) -> Result<()> {
        kubectl_apply(&self.namespace, &OBJECTS.replace("NAMESPACE", &self.namespace)).await?;
        self.wait_ready().await
    }

    /// Waits until every object of the three kinds is Ready.
    pub async fn wait_ready(&self) -> Result<()> {
        let ns = &self.namespace;
        let wait = format!(
            "wait --for=condition=Ready -n {ns} secretengine,vaultpolicy,dynamiccredential --all --timeout=60s"
        );
        if let Err(error) = kubectl(&wait).await {
            let shown = kubectl(&format!("describe -n {ns} secretengine,vaultpolicy,dynamiccredential")).await?;
            return Err(error.context(shown));
        }
        Ok(())
    }

    /// A client that may write the namespace's kv engine.
    pub async fn admin(&self, server: &Server) -> Result<Client> {
        server.login(&self.namespace, "admin", "").await
    }

    /// Writes the value that both pods show.
    pub async fn set_token(&self, admin: &Client, value: &str) -> Result<()> {
        let path = format!("k8s/{}/kv/data/orders/api", self.namespace);
        admin.write(&path, json!({"data": {"token": value}})).await?.context("kv answered without a body")?;
        Ok(())
    }

    /// Starts both pods and waits until they run.
    pub async fn start_pods(&self) -> Result<()> {
        self.start_pods_where("").await
    }

    /// The same with something more in the pods' specifications.
    pub async fn start_pods_where(&self, spec: &str) -> Result<()> {
        let pods = PODS.replace("NAMESPACE", &self.namespace);
        let pods = pods.replace("  serviceAccountName:", &format!("  {spec}\n  serviceAccountName:"));
        kubectl_apply(&self.namespace, &pods).await?;
        let ns = &self.namespace;
        let wait = format!("wait --for=condition=Ready -n {ns} pod/pod-a pod/pod-b --timeout=120s");
        if let Err(error) = kubectl(&wait).await {
            let shown = kubectl(&format!("describe -n {ns} pod/pod-a pod/pod-b")).await?;
            return Err(error.context(shown));
        }
        Ok(())
    }

    /// Content of a file in a pod.
    pub async fn file(&self, pod: &str, path: &str) -> Result<String> {
        Ok(exec(&self.namespace, pod, "app", &format!("cat {path}")).await?.trim().to_owned())
    }

    /// The password of the pod's user.
    pub async fn password(&self, place: Place) -> Result<Option<String>> {
        let url = self.file(place.pod, place.url).await?;
        Ok(url.split([':', '@']).nth(2).map(str::to_owned))
    }

    /// Queries the database from the pod with what the pod was given: its own user, and a row.
    pub async fn query_from(&self, place: Place) -> Result<String> {
        let line = format!(
            "psql \"$(cat {})\" -tA -F ' ' -c 'select current_user, id, item from orders order by id limit 1'",
            place.url
        );
        Ok(exec(&self.namespace, place.pod, "app", &line).await?.trim().to_owned())
    }

    /// Waits until the file in the pod has this content; how long it took.
    pub async fn wait_file(&self, pod: &str, path: &str, content: &str, limit: Duration) -> Result<Duration> {
        let start = std::time::Instant::now();
        eventually_within(limit, &format!("{path} in {pod} says {content}"), || async {
            Ok((self.file(pod, path).await? == content).then_some(()))
        })
        .await?;
        Ok(start.elapsed())
    }

    /// How often the containers of a pod were restarted, all together.
    pub async fn restarts(&self, pod: &str) -> Result<u32> {
        let path =
            "jsonpath={.status.containerStatuses[*].restartCount} {.status.initContainerStatuses[*].restartCount}";
        let out = run("kubectl", &["get", "pod", "-n", &self.namespace, pod, "-o", path]).await?;
        Ok(out.split_whitespace().filter_map(|count| count.parse::<u32>().ok()).sum())
    }

    /// Users at the database that were made by Holdfast and whose name does not say that they are of the brief role.
    pub async fn lasting_users(&self) -> Result<Vec<String>> {
        let users = postgres::minted(&self.namespace).await?;
        Ok(users.into_iter().filter(|user| !user.contains("-brief-")).collect())
    }

    /// Deletes the namespace and waits until it is gone; how long it took.
    pub async fn close(&self, limit: Duration) -> Result<Duration> {
        let start = std::time::Instant::now();
        let seconds = limit.as_secs();
        kubectl(&format!("delete namespace {} --wait=true --timeout={seconds}s", self.namespace)).await?;
        Ok(start.elapsed())
    }
}

/// The release that demo and tests share, installed if it is not there.
pub async fn shared_release() -> Result<Release> {
    Release::install("holdfast", &[]).await
}

/// A server connection that is up: after a restart the port-forward must be made anew.
pub async fn connect(release: &Release) -> Result<Server> {
    eventually("the server answers", || async {
        let server = Server::connect(release).await?;
        let status = server.client.seal_status().await?;
        Ok((!status.sealed).then_some(server))
    })
    .await
}
