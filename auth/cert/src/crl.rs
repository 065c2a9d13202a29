//! Revocation lists (RFC 5280 §5).

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::{
    certificate::{Certificate, number},
    signed::Signed,
};

/// As it is stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Crl {
    /// Where it comes from; empty: it was uploaded.
    pub url: String,
    /// DER in base64.
    pub der: String,
}

/// A list that was read.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// The whole name as DER.
    issuer: Vec<u8>,
    /// Serial numbers, with their decimal text.
    serials: BTreeMap<Vec<u8>, String>,
    /// Seconds since 1970.
    pub this_update: i64,
    /// Seconds since 1970.
    pub next_update: Option<i64>,
    signed: Signed,
}

/// The DER in a text (PEM, or base64) or in bytes (PEM, or DER itself).
pub(crate) fn der_of(bytes: &[u8]) -> Option<Vec<u8>> {
    if let Ok(crl) = CertificateRevocationListDer::from_pem_slice(bytes) {
        return Some(crl.to_vec());
    }
    if bytes.first() == Some(&0x30) {
        return Some(bytes.to_vec());
    }
    let text: String = std::str::from_utf8(bytes).ok()?.split_whitespace().collect();
    BASE64_STANDARD.decode(text).ok()
}

impl Crl {
    pub fn of(url: &str, der: &[u8]) -> Self {
        Self { url: url.to_owned(), der: BASE64_STANDARD.encode(der) }
    }

    /// The list itself; `None` only if the record is damaged.
    pub fn revoked(&self) -> Option<Revoked> {
        Revoked::read(&BASE64_STANDARD.decode(&self.der).ok()?)
    }
}

impl Revoked {
    /// Reads DER. `None` if it is no list.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, crl) = CertificateRevocationList::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        Some(Self {
            issuer: crl.issuer().as_raw().to_vec(),
            serials: crl
                .iter_revoked_certificates()
                .map(|entry| (number(entry.raw_serial()), entry.serial().to_string()))
                .collect(),
            this_update: crl.last_update().timestamp(),
            next_update: crl.next_update().map(|time| time.timestamp()),
            signed: Signed::read(der)?,
        })
    }

    /// Is the certificate in it? The issuer must be that of the list: serial numbers are the issuer's own.
    pub fn lists(&self, certificate: &Certificate) -> bool {
        self.issuer == certificate.issuer && self.serials.contains_key(&certificate.serial)
    }

    /// Is the certificate one that, by its name, could have signed the list?
    pub fn names(&self, authority: &Certificate) -> bool {
        self.issuer == authority.subject
    }

    /// Did the key of this certificate sign the list?
    pub fn signed_by(&self, authority: &Certificate) -> bool {
        self.signed.by(authority)
    }

    /// Serial numbers, decimal.
    pub fn serials(&self) -> impl Iterator<Item = &String> {
        self.serials.values()
    }
}
