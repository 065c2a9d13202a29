//! End-to-end tests. `arrows` needs nothing; `shared` runs against one release, a namespace a test; `exclusive` breaks
//! things and runs one at a time.

mod arrows;
mod exclusive;
mod shared;

use std::time::Duration;

use anyhow::Result;
use holdfast_e2e::{Release, shell, shop, wait};
use tokio::sync::OnceCell;

/// The release that all tests share; installed by the first that asks.
async fn release() -> Result<&'static Release> {
    static RELEASE: OnceCell<Release> = OnceCell::const_new();
    holdfast_runtime::install_crypto_provider();
    RELEASE.get_or_try_init(shop::shared_release).await
}

/// Waits until a condition of an object has this status, and answers `reason: message`.
async fn condition(namespace: &str, object: &str, kind: &str, status: &str) -> Result<String> {
    let path = format!(
        "jsonpath={{range .status.conditions[?(@.type==\"{kind}\")]}}{{.status}} {{.reason}}: {{.message}}{{end}}"
    );
    wait::eventually(&format!("{object} has {kind}={status}"), || async {
        let seen = shell::run("kubectl", &["get", "-n", namespace, object, "-o", &path]).await?;
        Ok(seen.strip_prefix(&format!("{status} ")).map(str::to_owned))
    })
    .await
}

/// Waits until an event of the namespace has all these words.
async fn event(namespace: &str, words: &[&str]) -> Result<String> {
    wait::eventually_within(Duration::from_secs(90), &format!("an event with {words:?}"), || async {
        let path =
            "jsonpath={range .items[*]}{.regarding.name}{.involvedObject.name} {.reason} {.note}{.message}{'\\n'}{end}";
        let seen = shell::run("kubectl", &["get", "events", "-n", namespace, "-o", path]).await?;
        Ok(seen.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned))
    })
    .await
}
