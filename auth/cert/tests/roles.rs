use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;

use crate::{
    authority::{Authority, params, self_signed},
    mount::Mount,
};

#[tokio::test]
async fn roles_are_checked_kept_and_shown() {
    let ca = Authority::new("ca");
    let mut server = params("server", 1);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mount = Mount::new().await;
    for (body, part) in [
        (json!({}), "failed to parse certificate"),
        (json!({"certificate": "x"}), "failed to parse certificate"),
        (json!({"certificate": ca.crl(2023, &[])}), "failed to parse certificate"),
        (json!({"certificate": self_signed(server).pem}), "nonCA certificates should have TLS client auth"),
        (json!({"certificate": ca.pem, "required_extensions": "1.2.3.4"}), "required_extensions"),
        (json!({"certificate": ca.pem, "required_extensions": "hex:x:1"}), "required_extensions"),
        (json!({"certificate": ca.pem, "allowed_metadata_extensions": "green"}), "allowed_metadata_extensions"),
        (json!({"certificate": ca.pem, "token_ttl": 20, "token_max_ttl": 10}), "'token_max_ttl'"),
    ] {
        let error = mount.refused("certs/web", body).await;
        assert!(error.contains(part), "{error}");
    }
    assert!(mount.absent("certs/web").await);
    mount
        .write("certs/Web", json!({"certificate": ca.pem, "allowed_names": "a,b", "policies": "p", "lease": 60}))
        .await;
    let role = mount.get("certs/web").await;
    for (name, value) in [
        ("certificate", json!(ca.pem.trim())),
        ("display_name", json!("web")),
        ("allowed_names", json!(["a", "b"])),
        ("allowed_dns_sans", json!(null)),
        ("token_policies", json!(["p"])),
        ("policies", json!(["p"])),
        ("token_ttl", json!(60)),
    ] {
        assert_eq!(role[name], value, "{name}");
    }
    mount.write("certs/web", json!({"display_name": "d"})).await;
    let role = mount.get("certs/web").await;
    assert_eq!((&role["display_name"], &role["allowed_names"]), (&json!("d"), &json!(["a", "b"])));
    assert_eq!(mount.keys("certs").await, ["web"]);
    mount.delete("certs/web").await;
    assert!(mount.absent("certs/web").await && mount.keys("certs").await.is_empty());
}
