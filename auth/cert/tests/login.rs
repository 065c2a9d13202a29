use std::time::Duration;

use holdfast_base::Timestamp;
use holdfast_logical::Error;
use rcgen::{CustomExtension, DnType, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use serde_json::{Value, json};

use crate::{
    authority::{Authority, params, self_signed},
    mount::{Mount, with},
};

#[tokio::test]
async fn a_login_gives_what_the_role_says() {
    let ca = Authority::new("ca");
    let client = ca.issue(params("ada", 0x1234));
    let mount = Mount::of(&ca.pem).await;
    mount.role(json!({"token_policies": "app", "token_ttl": "20m", "display_name": "people"})).await;
    let grant = mount.login(&[&client.der]).await.unwrap();
    assert_eq!((grant.alias.as_str(), grant.display_name.as_str()), ("ada", "people"));
    assert_eq!((grant.policies.clone(), grant.ttl), (vec!["app".to_owned()], Some(Duration::from_secs(1200))));
    for (name, value) in [("cert_name", "app"), ("common_name", "ada"), ("serial_number", "4660")] {
        assert_eq!(grant.metadata[name], value);
    }
    assert_eq!(grant.metadata["authority_key_id"].split(':').count(), 20);
    assert!(grant.metadata.contains_key("subject_key_id"));
    assert_eq!(mount.login_as("App", &[&client.der]).await.unwrap().metadata["cert_name"], "app");
    assert!(mount.login_as("other", &[&client.der]).await.is_err());
    assert!(grant.alias_metadata.is_empty());
    mount.write("config", json!({"enable_identity_alias_metadata": true})).await;
    assert_eq!(mount.login(&[&client.der]).await.unwrap().alias_metadata["common_name"], "ada");
    mount.role(json!({"token_bound_cidrs": "192.168.0.0/16"})).await;
    assert!(matches!(mount.login(&[&client.der]).await, Err(Error::Denied(_))));
}

#[tokio::test]
async fn a_chain_is_verified_up_to_the_ca_of_the_role() {
    let (ca, other) = (Authority::new("ca"), Authority::new("ca"));
    let between = ca.below("between", 2);
    let client = between.issue(params("ada", 1));
    let mount = Mount::of(&ca.pem).await;
    mount.login(&[&client.der, &between.der]).await.unwrap();
    mount.login(&[&client.der, &ca.der, &between.der]).await.unwrap();
    mount.no_login(&[&client.der]).await;
    mount.no_login(&[&other.issue(params("ada", 1)).der]).await;
    mount.no_login(&[&other.issue(params("ada", 1)).der, &ca.der]).await;
    // What a certificate that is no CA issued is nobody's.
    mount.no_login(&[&between.der]).await;
    mount.no_login(&[&self_signed(params("ada", 1)).der]).await;
    let mut server = params("ada", 2);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    mount.no_login(&[&ca.issue(server).der]).await;
    mount.no_login(&[b"no certificate"]).await;
    match mount.login(&[]).await {
        Err(Error::Invalid(text)) => assert_eq!(text, "client certificate must be supplied"),
        other => panic!("{other:?}"),
    }
    // A CA of the role may log in itself, as one that signed itself may.
    mount.login(&[&ca.der]).await.unwrap();
}

#[tokio::test]
async fn a_certificate_serves_within_its_times_only() {
    let ca = Authority::new("ca");
    let mut times = params("ada", 1);
    (times.not_before, times.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2024, 1, 1));
    for (client, trusted) in [(ca.issue(times.clone()), Some(&ca)), (self_signed(times.clone()), None)] {
        let mount = Mount::of(trusted.map_or(&client.pem, |ca| &ca.pem)).await;
        let grant = mount.login(&[&client.der]).await.unwrap();
        for (at, part) in [(1_800_000_000, "has expired"), (1_500_000_000, "not valid yet")] {
            mount.clock.set_wall(Timestamp::from_second(at).unwrap());
            match mount.login(&[&client.der]).await {
                Err(Error::Invalid(text)) => assert!(text.contains(part), "{text}"),
                other => panic!("{other:?}"),
            }
            let renewed = mount.backend.renew_grant(grant.clone(), &with(&[&client.der])).await;
            assert!(matches!(renewed, Err(Error::Denied(_))));
        }
    }
}

#[tokio::test]
async fn cve_2025_3879_each_demand_of_the_role_is_made() {
    let ca = Authority::new("ca");
    let mut rich = params("ada", 1);
    rich.subject_alt_names.push(SanType::Rfc822Name("ada@example.com".try_into().unwrap()));
    rich.subject_alt_names.push(SanType::URI("spiffe://example.com/ada".try_into().unwrap()));
    rich.distinguished_name.push(DnType::OrganizationName, "example");
    rich.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3, 4], b"\x0c\x05green".to_vec()));
    let client = ca.issue(rich);
    for (field, good, bad) in [
        ("allowed_names", json!(["x", "ada@*"]), json!(["bob", "*.example.org"])),
        ("allowed_common_names", json!("a*a"), json!("ada.example.com")),
        ("allowed_dns_sans", json!("*.example.com"), json!("ada")),
        ("allowed_email_sans", json!("ada@example.com"), json!("ada@example")),
        ("allowed_uri_sans", json!("spiffe://example.com/*"), json!("spiffe://example.org/*")),
        ("allowed_organizational_units", json!("eng*"), json!("example")),
        ("allowed_organization_units", json!("engineering"), json!("sales")),
        ("required_extensions", json!(["1.2.3.4:gr*n"]), json!(["1.2.3.4:green", "1.2.3.5:*"])),
        ("required_extensions", json!("hex:1.2.3.4:0C05677265656e"), json!("hex:1.2.3.4:0c05")),
    ] {
        let mount = Mount::of(&ca.pem).await;
        mount.role(json!({field: good})).await;
        let grant = mount.login(&[&client.der]).await.unwrap();
        mount.role(json!({field: bad})).await;
        mount.no_login(&[&client.der]).await;
        let renewed = mount.backend.renew_grant(grant, &with(&[&client.der])).await;
        assert!(matches!(renewed, Err(Error::Denied(_))), "{field}");
    }
    let mount = Mount::of(&ca.pem).await;
    mount.role(json!({"allowed_metadata_extensions": "1.2.3.4,1.2.3.5"})).await;
    assert_eq!(mount.login(&[&client.der]).await.unwrap().metadata["1-2-3-4"], "green");
}

#[tokio::test]
async fn cve_2026_39388_a_token_is_renewed_with_the_certificate_of_its_login_only() {
    let ca = Authority::new("ca");
    let (client, sibling) = (ca.issue(params("ada", 1)), ca.issue(params("ada", 1)));
    let mount = Mount::of(&ca.pem).await;
    mount.role(json!({"token_ttl": "5m", "token_policies": "app"})).await;
    let grant = mount.login(&[&client.der]).await.unwrap();
    let renew = async |der: &[&[u8]]| mount.backend.renew_grant(grant.clone(), &with(der)).await;
    assert_eq!(renew(&[&client.der]).await.unwrap().ttl, Some(Duration::from_secs(300)));
    mount.login(&[&sibling.der]).await.unwrap();
    for other in [&[sibling.der.as_slice()][..], &[&sibling.der, &client.der], &[]] {
        assert!(matches!(renew(other).await, Err(Error::Denied(_))));
    }
    mount.write("config", json!({"disable_binding": true})).await;
    renew(&[]).await.unwrap();
    mount.write("config", json!({"disable_binding": false})).await;
    mount.role(json!({"token_policies": "other"})).await;
    assert_eq!(renew(&[&client.der]).await.unwrap_err().to_string(), "policies have changed, not renewing");
    mount.delete("certs/app").await;
    assert!(renew(&[&client.der]).await.unwrap_err().to_string().contains("does not exist"));
    assert_eq!(mount.get("config").await["disable_binding"], Value::Bool(false));
}

/// CVE-2025-11621, CVE-2025-59048: two tenants that trust the same CA share nothing that was found out about a certificate,
/// nor do two roles of one mount.
#[tokio::test]
async fn cve_2025_11621_cve_2025_59048_mounts_and_roles_with_the_same_ca_share_no_result() {
    let ca = Authority::new("ca");
    let (ada, bob) = (ca.issue(params("ada", 1)), ca.issue(params("bob", 2)));
    let (ours, theirs) = (Mount::of(&ca.pem).await, Mount::of(&ca.pem).await);
    ours.role(json!({"allowed_common_names": "ada", "token_policies": "ours"})).await;
    theirs.role(json!({"allowed_common_names": "bob", "token_policies": "theirs"})).await;
    theirs
        .write("certs/wide", json!({"certificate": ca.pem, "allowed_common_names": "x", "token_policies": "wide"}))
        .await;
    for _ in 0..2 {
        assert_eq!(ours.login(&[&ada.der]).await.unwrap().policies, ["ours"]);
        theirs.no_login(&[&ada.der]).await;
        assert_eq!(theirs.login(&[&bob.der]).await.unwrap().policies, ["theirs"]);
        ours.no_login(&[&bob.der]).await;
        assert!(theirs.login_as("wide", &[&bob.der]).await.is_err());
    }
    // A list of revocations of the one is none of the other, whose CA is the same.
    ours.write("crls/own", json!({"crl": ca.crl(2023, &[1])})).await;
    ours.no_login(&[&ada.der]).await;
    theirs.role(json!({"allowed_common_names": "ada"})).await;
    assert_eq!(theirs.login(&[&ada.der]).await.unwrap().policies, ["theirs"]);
}
