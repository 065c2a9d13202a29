//! CVE-2024-2048, CVE-2025-6037: a role for a certificate that is no CA takes that certificate, and none that looks like
//! it.

use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber};

use crate::{
    authority::{Authority, Issued, params, self_signed},
    mount::Mount,
};

/// The same key again.
fn key_of(issued: &Issued) -> KeyPair {
    KeyPair::from_pem(&issued.key.serialize_pem()).unwrap()
}

fn changed(issued: &Issued, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = issued.params.clone();
    change(&mut params);
    params
}

#[tokio::test]
async fn cve_2024_2048_cve_2025_6037_only_the_very_certificate_is_taken() {
    let ca = Authority::new("ca");
    let pinned = ca.issue(params("ada", 7));
    let mount = Mount::of(&pinned.pem).await;
    mount.login(&[&pinned.der]).await.unwrap();

    let other_name = changed(&pinned, |params| params.distinguished_name.push(DnType::CommonName, "root"));
    let other_serial = changed(&pinned, |params| params.serial_number = Some(SerialNumber::from(8)));
    let same_key_other_issuer = Authority::new("ca").issue_for(pinned.params.clone(), key_of(&pinned));
    for forged in [
        // Same key: another name, another serial number, another issuer of the same name.
        ca.issue_for(other_name, key_of(&pinned)),
        ca.issue_for(other_serial, key_of(&pinned)),
        same_key_other_issuer,
        // Same serial number, same names, another key: by the same CA, by itself.
        ca.issue(pinned.params.clone()),
        self_signed(pinned.params.clone()),
        Authority::new("ca").issue(pinned.params.clone()),
        // The CA's other children.
        ca.issue(params("bob", 9)),
    ] {
        mount.no_login(&[&forged.der]).await;
        mount.no_login(&[&forged.der, &pinned.der]).await;
        mount.no_login(&[&forged.der, &ca.der]).await;
    }
    mount.no_login(&[&ca.der]).await;
    let mut longer = pinned.der.clone();
    longer.push(0);
    mount.no_login(&[&longer]).await;
}
