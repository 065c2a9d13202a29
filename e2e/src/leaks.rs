//! Looks for values where they must not be: in whatever the cluster lists, in logs, on the nodes' disks, in environments
//! and command lines, as they are and as they look when somebody encodes or prints them.

use anyhow::{Context, Result, bail, ensure};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use crate::{
    Release, nodes,
    shell::{kubectl, run},
};

/// Names of our components, which are the values of their label.
const COMPONENTS: [&str; 5] = ["server", "operator", "csi", "webhook", "etcd"];
/// What a node's files are searched below: whatever kubelet keeps (etcd's data and the audit log of the release are in
/// volumes of pods), Kubernetes' own etcd, logs of all containers also of earlier ones.
const FOLDERS: &str = "/var/lib/kubelet /var/lib/etcd /var/log/pods";
/// In these the values belong: the memory that pods see.
const EXCLUDED: &str =
    "--exclude-dir=kubernetes.io~csi --exclude-dir=volume-subpaths --exclude-dir='holdfast-secrets*'";
/// Prints a process's command line and environment, for all of ours.
const PROCESSES: &str = "for p in $(pgrep holdfast); do cat /proc/$p/cmdline /proc/$p/environ; done | tr '\\0' '\\n'";
/// What containerd was told to start: arguments and environments of all containers.
const SPECS: &str = "find /run/containerd -maxdepth 4 -name config.json -exec cat {} +";
/// Journals of what runs outside containers.
const JOURNALS: &str = "journalctl -q --no-pager -u kubelet -u containerd";

/// Values that must not be found.
#[derive(Debug)]
pub struct Canaries {
    values: usize,
    /// Index of the value, what it is written as, and the text to look for.
    forms: Vec<(usize, String, String)>,
}

impl Canaries {
    /// Each must be long enough to be nobody else's.
    pub fn new(values: &[String]) -> Result<Self> {
        ensure!(values.iter().all(|value| value.len() > 12), "a canary is too short");
        let forms = values.iter().enumerate();
        let forms =
            forms.flat_map(|(index, value)| forms_of(value).into_iter().map(move |(how, text)| (index, how, text)));
        Ok(Self { values: values.len(), forms: forms.collect() })
    }

    /// Looks everywhere; says which value was found as what, and where, and not the value. `namespace` has the pods that
    /// were given the values.
    pub async fn are_nowhere(&self, release: &Release, namespace: &str) -> Result<()> {
        ensure!(self.values > 0, "nothing to look for");
        self.not_in_objects().await?;
        for component in COMPONENTS {
            let selector = format!("-l app.kubernetes.io/component={component}");
            self.not_in_logs(release.namespace(), &selector).await.context(component)?;
        }
        self.not_in_logs(namespace, "").await?;
        for node in nodes::names().await? {
            self.not_on(&node).await.with_context(|| format!("on {node}"))?;
        }
        Ok(())
    }

    /// In nothing that the API server lists.
    async fn not_in_objects(&self) -> Result<()> {
        let kinds = kubectl("api-resources --verbs=list -o name").await?;
        let kinds: Vec<&str> = kinds.split_whitespace().collect();
        ensure!(kinds.len() > 40, "only {} kinds", kinds.len());
        for some in kinds.chunks(20) {
            let objects = kubectl(&format!("get {} -A -o yaml --show-managed-fields", some.join(","))).await?;
            self.not_in("objects", &objects)?;
        }
        Ok(())
    }

    /// In no log of a pod, nor of the container that was there before.
    async fn not_in_logs(&self, namespace: &str, selector: &str) -> Result<()> {
        let path = "{range .items[*]}{.metadata.name}{range .status.containerStatuses[*]} {.name}={.restartCount}{end}{range .status.initContainerStatuses[*]} {.name}={.restartCount}{end}{\"\\n\"}{end}";
        let arguments = format!("get pod -n {namespace} {selector} -o");
        let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
        let path = format!("jsonpath={path}");
        arguments.push(&path);
        let pods = run("kubectl", &arguments).await?;
        ensure!(!pods.trim().is_empty(), "no pods in {namespace} {selector}");
        for line in pods.lines() {
            let (pod, containers) = line.split_once(' ').context("a pod without containers")?;
            for (container, restarts) in containers.split(' ').filter_map(|container| container.split_once('=')) {
                let log = format!("logs -n {namespace} {pod} -c {container} --tail=-1");
                self.not_in(&format!("log of {pod} {container}"), &kubectl(&log).await?)?;
                if restarts != "0" {
                    // Kubelet may have thrown it away; what it has is among the files of the node.
                    let log = kubectl(&format!("{log} --previous")).await.unwrap_or_default();
                    self.not_in(&format!("earlier log of {pod} {container}"), &log)?;
                }
            }
        }
        Ok(())
    }

    /// In no file, journal, environment or command line of a node.
    async fn not_on(&self, node: &str) -> Result<()> {
        for (place, line) in [("processes", PROCESSES), ("containers", SPECS), ("journals", JOURNALS)] {
            let text = nodes::shell(node, line).await?;
            ensure!(!text.trim().is_empty(), "no {place}");
            self.not_in(place, &text)?;
        }
        // By standard input: the values would be on a command line otherwise.
        let texts: Vec<&str> = self.forms.iter().map(|(_, _, text)| text.as_str()).collect();
        let line = format!("grep -rlaF {EXCLUDED} -f - {FOLDERS} 2>/dev/null || true");
        let found = nodes::shell_with_input(node, &line, &texts.join("\n")).await?;
        // A test's pod writes down what it sees into its own folder.
        let found: Vec<_> = found.lines().filter(|path| !path.contains("/kubernetes.io~empty-dir/tmp/")).collect();
        ensure!(found.is_empty(), "{found:?}");
        Ok(())
    }

    /// Not in this text.
    pub fn not_in(&self, place: &str, text: &str) -> Result<()> {
        match self.forms.iter().find(|(_, _, form)| text.contains(form)) {
            Some((index, how, _)) => bail!("value {index} is in the {place}, {how}"),
            None => Ok(()),
        }
    }
}

/// A value as it is, in base64 wherever it begins, in hexadecimal, and as a list of numbers.
fn forms_of(value: &str) -> Vec<(String, String)> {
    let bytes = value.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut forms = vec![
        ("as it is".to_owned(), value.to_owned()),
        ("in hexadecimal".to_owned(), hex),
        ("as numbers".to_owned(), numbers.join(", ")),
    ];
    for offset in 0..3 {
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            // What stands before and after decides on the characters at the borders.
            let padded = [&[0; 2][..offset], bytes].concat();
            let text = engine.encode(&padded);
            let (from, to) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
            let form = (format!("in base64 at offset {offset}"), text[from..to].to_owned());
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_base64_wherever_it_begins() {
        let canaries = Canaries::new(&["canary-7f3a9c51".to_owned()]).unwrap();
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "@", "@pg", "@pg/orders"] {
                let text = STANDARD_NO_PAD.encode(format!("{before}canary-7f3a9c51{after}"));
                assert!(canaries.not_in("text", &text).is_err(), "{before} {after}");
            }
        }
        assert!(canaries.not_in("text", "63616e6172792d3766336139633531").is_err());
        assert!(canaries.not_in("text", &format!("{:?}", b"canary-7f3a9c51")).is_err());
        assert!(canaries.not_in("text", "canary-7f3a9c52").is_ok());
        assert!(Canaries::new(&["short".to_owned()]).is_err());
    }
}
