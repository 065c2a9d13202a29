//! Is a certificate issued by the CA of a role? (RFC 5280 §6, by rustls-webpki.)

use std::time::Duration;

use holdfast_logical::Timestamp;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime},
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::certificate::Certificate;

/// Most certificates that are taken from a client.
const MOST: usize = 16;

/// The chain from the client's certificate to one of the CAs: the client's first, the CA last. `presented` is
/// what the client sent, its own first.
pub(crate) fn verify(
    presented: &[Vec<u8>],
    authorities: &[Certificate],
    now: Timestamp,
) -> Result<Vec<Certificate>, String> {
    let told = |error: webpki::Error| match error {
        webpki::Error::UnknownIssuer => "certificate is signed by unknown authority".to_owned(),
        other => format!("certificate cannot be verified: {other}"),
    };
    let leaf = CertificateDer::from(presented.first().ok_or("no certificate")?.as_slice());
    let leaf = EndEntityCert::try_from(&leaf).map_err(told)?;
    let between: Vec<CertificateDer<'_>> =
        presented.iter().skip(1).take(MOST).map(|der| CertificateDer::from(der.as_slice())).collect();
    let roots: Vec<CertificateDer<'_>> =
        authorities.iter().map(|authority| CertificateDer::from(authority.der.as_slice())).collect();
    let anchors: Vec<_> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let path = leaf
        .verify_for_usage(
            algorithms,
            &anchors,
            &between,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(told)?;
    let chain: Option<Vec<Certificate>> = std::iter::once(path.end_entity().der())
        .chain(path.intermediate_certificates().map(|certificate| certificate.der()))
        .map(|der| Certificate::read(&der))
        .collect();
    let mut chain = chain.ok_or("certificate of the chain cannot be read")?;
    let last = chain.last().map(|last| last.issuer.clone()).unwrap_or_default();
    let anchor = path.anchor().subject_public_key_info.as_ref();
    let root = authorities.iter().find(|root| root.subject == last && root.key.ends_with(anchor));
    chain.extend(root.cloned());
    Ok(chain)
}
