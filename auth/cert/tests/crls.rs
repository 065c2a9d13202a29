use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use holdfast_logical::Error;
use rcgen::CrlDistributionPoint;
use serde_json::json;

use crate::{
    authority::{Authority, params},
    mount::{Mount, with},
    publisher::Publisher,
};

#[tokio::test]
async fn cve_2022_41316_a_revoked_certificate_is_refused_from_the_first_request_after_a_start() {
    let (ca, namesake) = (Authority::new("ca"), Authority::new("other"));
    let (good, revoked) = (ca.issue(params("ada", 1)), ca.issue(params("bob", 0xff00_0000_0002)));
    let mount = Mount::of(&ca.pem).await;
    let grant = mount.login(&[&revoked.der]).await.unwrap();
    // A list of another issuer says nothing of these.
    mount.write("crls/other", json!({"crl": namesake.crl(2023, &[1, 0xff00_0000_0002])})).await;
    mount.login(&[&revoked.der]).await.unwrap();
    mount.write("crls/main", json!({"crl": ca.crl(2023, &[0xff00_0000_0002, 9])})).await;
    let restarted = mount.restarted().await;
    for server in [&restarted, &mount] {
        server.no_login(&[&revoked.der]).await;
        server.login(&[&good.der]).await.unwrap();
        let renewed = server.backend.renew_grant(grant.clone(), &with(&[&revoked.der])).await;
        assert!(matches!(renewed, Err(Error::Denied(_))));
    }
    assert_eq!(mount.get("crls/main").await, json!({"serials": {"280375465082882": {}, "9": {}}}));
    assert_eq!(mount.keys("crls").await, ["main", "other"]);
    mount.delete("crls/main").await;
    mount.login(&[&revoked.der]).await.unwrap();
}

#[tokio::test]
async fn cve_2022_41316_every_list_of_an_issuer_counts_whichever_distribution_point_it_is_of() {
    let ca = Authority::new("ca");
    let mut several = params("ada", 5);
    several.crl_distribution_points = ["http://one.example/crl", "http://two.example/crl"]
        .map(|uri| CrlDistributionPoint { uris: vec![uri.to_owned()] })
        .into();
    let client = ca.issue(several);
    let mount = Mount::of(&ca.pem).await;
    mount.write("crls/one", json!({"crl": ca.crl(2023, &[1])})).await;
    mount.login(&[&client.der]).await.unwrap();
    mount.write("crls/two", json!({"crl": ca.crl(2022, &[5])})).await;
    mount.no_login(&[&client.der]).await;
}

#[tokio::test]
async fn intermediates_and_pinned_certificates_are_revoked_too() {
    let ca = Authority::new("ca");
    let between = ca.below("between", 77);
    let client = between.issue(params("ada", 1));
    let mount = Mount::of(&ca.pem).await;
    mount.login(&[&client.der, &between.der]).await.unwrap();
    mount.write("crls/x", json!({"crl": ca.crl(2023, &[77])})).await;
    mount.no_login(&[&client.der, &between.der]).await;

    let leaf = ca.issue(params("carl", 4));
    let mount = Mount::of(&leaf.pem).await;
    mount.login(&[&leaf.der]).await.unwrap();
    mount.write("crls/x", json!({"crl": ca.crl(2023, &[4])})).await;
    mount.no_login(&[&leaf.der]).await;
}

#[tokio::test]
async fn a_list_is_fetched_checked_and_kept_fresh() {
    let (ca, forger) = (Authority::new("ca"), Authority::new("ca"));
    let client = ca.issue(params("ada", 1));
    let text = Arc::new(Mutex::new(String::new()));
    let shared = text.clone();
    let url = Publisher::start(move |_| Bytes::from(shared.lock().unwrap().clone())).await.url;
    let mount = Mount::new().await;
    *text.lock().unwrap() = ca.crl(2022, &[7]);
    let error = mount.refused("crls/main", json!({"url": url})).await;
    assert!(error.contains("write the role"), "{error}");
    mount.role(json!({"certificate": ca.pem})).await;
    mount.write("crls/main", json!({"url": url})).await;
    assert_eq!(mount.get("crls/main").await["cdp"]["url"], url);
    mount.login(&[&client.der]).await.unwrap();

    // NOW is in November 2023, so the list is old. What is fetched is taken only from the CA, and only if it is newer.
    for (list, taken) in [(forger.crl(2023, &[1]), false), (ca.crl(2021, &[1]), false), (ca.crl(2023, &[1]), true)] {
        *text.lock().unwrap() = list;
        mount.backend.tick().await.unwrap();
        mount.clock.advance(Duration::from_secs(301));
        assert_eq!(mount.login(&[&client.der]).await.is_err(), taken);
    }
    for (body, part) in [
        (json!({"url": url, "crl": "x"}), "give one of"),
        (json!({}), "must be given"),
        (json!({"crl": "x"}), "failed to parse CRL"),
        (json!({"crl": ca.pem}), "failed to parse CRL"),
        (json!({"url": "file:///etc/passwd"}), "is not a URL"),
    ] {
        let error = mount.refused("crls/x", body).await;
        assert!(error.contains(part), "{error}");
    }
    *text.lock().unwrap() = forger.crl(2023, &[]);
    assert!(mount.refused("crls/x", json!({"url": url})).await.contains("not signed by its issuer"));
    *text.lock().unwrap() = " ".repeat(2 << 20);
    assert!(mount.refused("crls/x", json!({"url": url})).await.contains("did not answer"));
}
