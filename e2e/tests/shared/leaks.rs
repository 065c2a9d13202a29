//! Secrets are in the files of pods, and nowhere else.

use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_e2e::{
    Shop,
    leaks::Canaries,
    release::kill_agent,
    shell::exec,
    shop::{self, PODS_AND_PLACES},
};

use crate::release;

/// A value and the passwords of both pods are in the pods' files, and nowhere else that others can look: no object of any
/// kind, log (of earlier containers too), journal, environment or command line, and no file of the nodes, etcd's included.
#[tokio::test]
async fn canaries_are_in_the_files_of_pods_and_nowhere_else() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-canary";
    let shop = Shop::open(ns).await?;
    shop.apply().await?;
    let server = shop::connect(release).await?;
    let value = "canary-7f3a9c51";
    shop.set_token(&shop.admin(&server).await?, value).await?;
    shop.start_pods().await?;
    kill_agent(ns, "pod-b").await?;
    let mut values = vec![value.to_owned()];
    for place in PODS_AND_PLACES {
        ensure!(shop.file(place.pod, place.token).await? == value);
        values.extend(shop.password(place).await?);
    }
    ensure!(values.len() == 3, "{} canaries", values.len());
    let canaries = Canaries::new(&values)?;
    for place in PODS_AND_PLACES {
        canaries.not_in(&format!("environment of {}", place.pod), &exec(ns, place.pod, "app", "env").await?)?;
    }
    canaries.are_nowhere(release, ns).await?;
    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}
