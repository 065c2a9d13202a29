//! Certificates of the webhook: its own authority, and short-lived leaves that never leave memory.

use std::time::Duration;

use holdfast_base::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(86_400);
/// Life of an authority.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Life of a leaf; a new one is made after a third of it.
pub const LEAF_LIFE: Duration = Duration::from_secs(6 * 86_400);

/// A certificate authority as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS #8.
    pub key: String,
    /// When it was made.
    pub made: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// By rcgen.
    #[error("certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// By rustls.
    #[error("certificate: {0}")]
    Use(#[from] rustls::Error),
    /// Stored text is no PEM.
    #[error("certificate: {0}")]
    Pem(String),
}

impl Authority {
    /// A new authority. Certificates have dates without time of day, a day earlier to allow for clocks that differ.
    pub fn new(now: Timestamp) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = params(now, AUTHORITY_LIFE, "holdfast webhook CA")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem(), made: now, expires: now + AUTHORITY_LIFE })
    }

    /// A new certificate for `names`, ready to serve with.
    pub fn leaf(&self, names: &[String], now: Timestamp) -> Result<CertifiedKey, Error> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        let key = KeyPair::generate()?;
        let mut params = params(now, LEAF_LIFE, names.first().map_or("holdfast webhook", String::as_str))?;
        params.subject_alt_names = CertificateParams::new(names.to_vec())?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &issuer)?;
        let authority = CertificateDer::from_pem_slice(self.certificate.as_bytes())
            .map_err(|error| Error::Pem(error.to_string()))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(CertifiedKey::from_der(vec![leaf.der().clone(), authority], private, &aws_lc_rs::default_provider())?)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("made", &self.made).field("expires", &self.expires).finish_non_exhaustive()
    }
}

fn params(now: Timestamp, life: Duration, name: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let date = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC);
        let part = |value: i8| u8::try_from(value).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    params.not_before = date(now - DAY);
    params.not_after = date(now + life);
    params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
