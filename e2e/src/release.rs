//! The chart, installed as a user would.

use std::{future::Future, path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow};

use crate::{
    shell::{kubectl, run},
    wait::{eventually, eventually_within},
};

/// A release of the chart.
#[derive(Clone, Debug)]
pub struct Release {
    /// Name and namespace of the release.
    pub name: String,
}

/// Repositories of the images that a release runs, as `e2e/images.sh` makes them.
pub const IMAGES: [&str; 6] =
    ["holdfast", "holdfast-operator", "holdfast-csi", "holdfast-webhook", "holdfast-agent", "etcd"];

/// Values for images made on this machine and for nodes without a volume provisioner; and what a test needs and nobody else
/// notices.
const VALUES: [&str; 6] = [
    "image.tag=dev",
    "etcd.persistence.enabled=false",
    "server.audit.persistence.enabled=false",
    "operator.resources.requests.cpu=1m",
    "log.level=info",
    "csi.provider.enabled=true",
];

impl Release {
    /// `helm upgrade --install` and wait until everything is ready; more `--set` values may be given.
    pub async fn install(name: &str, values: &[&str]) -> Result<Self> {
        let chart = root().join("charts/holdfast");
        let chart = chart.to_str().context("the checkout's path is not UTF-8")?;
        let mut arguments =
            vec!["upgrade", "--install", name, chart, "-n", name, "--create-namespace", "--wait", "--timeout", "180s"];
        let images = format!("commonLabels.images={}", images().await?);
        let images = [images.as_str()];
        for value in VALUES.iter().chain(values).chain(&images) {
            arguments.extend(["--set", value]);
        }
        let outcome = run("helm", &arguments).await;
        let release = Self { name: name.to_owned() };
        if let Err(error) = outcome {
            let state = release.state().await;
            return Err(error.context(state));
        }
        Ok(release)
    }

    /// `helm uninstall`.
    pub async fn uninstall(&self) -> Result<()> {
        run("helm", &["uninstall", &self.name, "-n", &self.name, "--wait", "--timeout", "120s"]).await.map(drop)
    }

    /// The namespace, which has the release's name.
    pub fn namespace(&self) -> &str {
        &self.name
    }

    /// Name of the server's first pod.
    pub fn server_pod(&self) -> String {
        format!("{}-server-0", self.name)
    }

    /// Kills the containers of a component as kill -9 does, and waits until each runs again and is ready.
    pub async fn kill(&self, component: &str) -> Result<()> {
        let before = self.containers(component).await?;
        for container in &before {
            kill_container(&container.node, &container.id).await?;
        }
        // Kubelet holds back what it has started several times in ten minutes.
        eventually_within(Duration::from_secs(180), &format!("{component} is started again"), || async {
            let now = self.containers(component).await?;
            let restarted = |old: &Container| now.iter().any(|new| new.pod == old.pod && new.restarts > old.restarts);
            Ok((before.iter().all(restarted) && now.iter().all(|new| new.ready)).then_some(()))
        })
        .await
    }

    /// Stops the processes of a component, without an end, as one that hangs: connections stay and nobody answers. What
    /// kubelet starts instead is stopped too. Lasts as long as `meanwhile` runs, then all of them go on.
    pub async fn while_stopped<T>(&self, component: &str, meanwhile: impl Future<Output = Result<T>>) -> Result<T> {
        let stopping = async {
            loop {
                // A container that is about to be replaced has no process.
                let _ = self.signal(component, "STOP").await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let outcome = tokio::select! {
            outcome = meanwhile => outcome,
            never = stopping => never,
        };
        eventually_within(Duration::from_secs(240), &format!("{component} goes on"), || async {
            self.signal(component, "CONT").await.map(Some)
        })
        .await?;
        outcome
    }

    async fn signal(&self, component: &str, signal: &str) -> Result<()> {
        for container in self.containers(component).await? {
            signal_container(&container.node, &container.id, signal).await?;
        }
        Ok(())
    }

    /// How often the containers of a component were restarted, all together.
    pub async fn restarts(&self, component: &str) -> Result<u32> {
        Ok(self.containers(component).await?.iter().map(|container| container.restarts).sum())
    }

    async fn containers(&self, component: &str) -> Result<Vec<Container>> {
        let selector = format!("app.kubernetes.io/component={component}");
        let path = "jsonpath={range .items[*]}{.metadata.name},{.spec.nodeName},{.status.containerStatuses[0].restartCount},{.status.containerStatuses[0].ready},{.status.containerStatuses[0].containerID}{'\\n'}{end}";
        let list = run("kubectl", &["get", "pod", "-n", self.namespace(), "-l", &selector, "-o", path]).await?;
        list.lines().map(Container::parse).collect()
    }

    /// Waits until all pods of a component are ready (and there is at least one).
    pub async fn ready(&self, component: &str) -> Result<()> {
        let ns = self.namespace();
        eventually(&format!("{component} is ready"), || async {
            let path = "jsonpath={range.items[*]}{.status.conditions[?(@.type==\"Ready\")].status}{.metadata.deletionTimestamp}{'\\n'}{end}";
            let selector = format!("app.kubernetes.io/component={component}");
            let out = run("kubectl", &["get", "pod", "-n", ns, "-l", &selector, "-o", path]).await?;
            let ready = !out.trim().is_empty() && out.lines().all(|line| line == "True");
            Ok(ready.then_some(()))
        })
        .await
    }

    /// What the replicas of a component show at the port of their admin listener, one after the other.
    pub async fn metrics(&self, component: &str, port: u16) -> Result<String> {
        let ns = self.namespace();
        let selector = format!("app.kubernetes.io/component={component}");
        let path = "jsonpath={.items[*].metadata.name}";
        let pods = run("kubectl", &["get", "pod", "-n", ns, "-l", &selector, "-o", path]).await?;
        let mut all = String::new();
        for pod in pods.split_whitespace() {
            all += &kubectl(&format!("get --raw /api/v1/namespaces/{ns}/pods/{pod}:{port}/proxy/metrics")).await?;
        }
        Ok(all)
    }

    /// Lines of the server's audit file, oldest first, read on the node (the image has no shell).
    pub async fn audit(&self) -> Result<Vec<serde_json::Value>> {
        let (ns, pod) = (self.namespace(), self.server_pod());
        let path = "jsonpath={.spec.nodeName},{.metadata.uid}";
        let place = run("kubectl", &["get", "pod", "-n", ns, &pod, "-o", path]).await?;
        let (node, uid) = place.split_once(',').context("no node")?;
        let file = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/audit/audit.log");
        let text = run("docker", &["exec", node, "cat", &file]).await?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// What a person would look at when something is wrong.
    pub async fn state(&self) -> String {
        let ns = self.namespace();
        let pods = kubectl("get pods -A -o wide").await.unwrap_or_default();
        let events = kubectl(&format!("get events -n {ns} --sort-by=.lastTimestamp")).await.unwrap_or_default();
        let mut logs = String::new();
        for component in ["server", "operator", "csi", "webhook", "etcd"] {
            let command =
                format!("logs -n {ns} -l app.kubernetes.io/component={component} --all-containers --tail=15 --prefix");
            logs.push_str(&kubectl(&command).await.unwrap_or_default());
        }
        format!("pods:\n{pods}\nevents:\n{events}\nlogs:\n{logs}")
    }
}

struct Container {
    pod: String,
    node: String,
    restarts: u32,
    ready: bool,
    id: String,
}

impl Container {
    fn parse(line: &str) -> Result<Self> {
        let parts: Vec<&str> = line.split(',').collect();
        let [pod, node, restarts, ready, id] = parts[..] else { anyhow::bail!("kubectl said {line:?}") };
        let id = id.trim_start_matches("containerd://");
        anyhow::ensure!(!id.is_empty(), "{pod} has no container yet");
        Ok(Self {
            pod: pod.to_owned(),
            node: node.to_owned(),
            restarts: restarts.parse()?,
            ready: ready == "true",
            id: id.to_owned(),
        })
    }
}

/// The first digits of the images' ids. Their tag never changes: as a label, this makes new pods of new images.
async fn images() -> Result<String> {
    let names = IMAGES.map(|name| format!("holdfast.dev/{name}:dev"));
    let arguments = ["image", "inspect", "-f", "{{.Id}}"].into_iter().chain(names.iter().map(String::as_str));
    let ids = run("docker", &arguments.collect::<Vec<_>>()).await?;
    let short = ids.lines().map(|id| id.trim_start_matches("sha256:").chars().take(8).collect::<String>());
    Ok(short.collect::<Vec<_>>().join("-"))
}

/// kill -9 of a container's first process, from its node.
pub async fn kill_container(node: &str, id: &str) -> Result<()> {
    signal_container(node, id, "KILL").await
}

/// A signal to a container's first process, from its node.
async fn signal_container(node: &str, id: &str, signal: &str) -> Result<()> {
    let tasks = run("docker", &["exec", node, "ctr", "-n", "k8s.io", "tasks", "list"]).await?;
    let task =
        tasks.lines().find(|line| line.starts_with(id)).with_context(|| format!("{node} runs no container {id}"))?;
    let pid = task.split_whitespace().nth(1).context("no pid")?;
    run("docker", &["exec", node, "kill", "-s", signal, pid]).await.map(drop)
}

/// kill -9 of the agent in an injected pod, and waits until it runs again.
pub async fn kill_agent(namespace: &str, pod: &str) -> Result<()> {
    let agent = || async {
        let status = "{.status.initContainerStatuses[?(@.name==\"holdfast-agent\")]";
        let path =
            format!("jsonpath={{.spec.nodeName}},{status}.restartCount}},{status}.started}},{status}.containerID}}");
        let said = run("kubectl", &["get", "pod", "-n", namespace, pod, "-o", &path]).await?;
        let parts: Vec<String> = said.split(',').map(str::to_owned).collect();
        let [node, restarts, started, id]: [String; 4] =
            parts.try_into().map_err(|_| anyhow!("{pod} has no agent: {said}"))?;
        let id = id.trim_start_matches("containerd://").to_owned();
        anyhow::Ok((node, restarts.parse::<u32>()?, started == "true", id))
    };
    let (node, before, _, id) = agent().await?;
    kill_container(&node, &id).await?;
    eventually_within(Duration::from_secs(120), &format!("the agent of {pod} is started again"), || async {
        let (_, restarts, started, _) = agent().await?;
        Ok((restarts > before && started).then_some(()))
    })
    .await
}

/// The checkout.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}
