//! A certificate, read once: what roles look at (RFC 5280).

use holdfast_logical::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::{
    asn1_rs::{Any, Tag},
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_OCSP,
    prelude::FromDer,
};

use crate::signed::Signed;

/// What is known of a certificate. Nothing of it says that it is trusted.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub der: Vec<u8>,
    /// The whole name as DER.
    pub subject: Vec<u8>,
    /// The whole name as DER.
    pub issuer: Vec<u8>,
    /// As in the certificate, without leading zeros.
    pub serial: Vec<u8>,
    /// The number, decimal.
    pub serial_text: String,
    /// SubjectPublicKeyInfo as DER.
    pub key: Vec<u8>,
    pub is_ca: bool,
    /// May it be used by TLS clients? Also true if it does not say.
    pub for_clients: bool,
    not_before: i64,
    not_after: i64,
    pub common_name: String,
    pub units: Vec<String>,
    pub dns: Vec<String>,
    pub emails: Vec<String>,
    pub uris: Vec<String>,
    pub subject_key_id: String,
    pub authority_key_id: String,
    pub extensions: Vec<Extension>,
    /// The bits of the public key, as key identifiers are made of.
    pub key_bits: Vec<u8>,
    /// May it sign answers of OCSP responders?
    pub for_ocsp: bool,
    /// Responders that know about it.
    pub responders: Vec<String>,
}

/// One extension: its object identifier and its value as DER.
#[derive(Clone, Debug)]
pub(crate) struct Extension {
    pub oid: String,
    pub value: Vec<u8>,
}

impl Extension {
    /// The value, if it is an ASN.1 string.
    pub fn text(&self) -> Option<&str> {
        let (rest, any) = Any::from_der(&self.value).ok()?;
        let string = matches!(any.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
        (rest.is_empty() && string).then(|| std::str::from_utf8(any.data).ok()).flatten()
    }
}

impl Certificate {
    /// Reads DER. `None` if it is no certificate, has something behind it, or has an extension twice.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        parsed.extensions_map().ok()?;
        let attributes = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let subject = parsed.subject();
        let common_name = subject.iter_common_name().filter_map(|name| name.as_str().ok()).last().unwrap_or_default();
        let units = attributes(subject.iter_organizational_unit().filter_map(|unit| unit.as_str().ok()).collect());
        let (mut dns, mut emails, mut uris) = (Vec::new(), Vec::new(), Vec::new());
        for name in parsed.subject_alternative_name().ok()?.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => emails.push((*name).to_owned()),
                GeneralName::URI(name) => uris.push((*name).to_owned()),
                _ => {}
            }
        }
        let (mut subject_key_id, mut authority_key_id) = (String::new(), String::new());
        let mut responders = Vec::new();
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => subject_key_id = colons(id.0),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    authority_key_id = id.key_identifier.as_ref().map(|id| colons(id.0)).unwrap_or_default();
                }
                ParsedExtension::AuthorityInfoAccess(access) => {
                    for access in access
                        .accessdescs
                        .iter()
                        .filter(|access| access.access_method == OID_PKIX_ACCESS_DESCRIPTOR_OCSP)
                    {
                        if let GeneralName::URI(uri) = access.access_location {
                            responders.push(uri.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        let usage = parsed.extended_key_usage().ok()?.map(|usage| usage.value);
        Some(Self {
            der: der.to_vec(),
            subject: subject.as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            serial: number(parsed.raw_serial()),
            serial_text: parsed.serial.to_string(),
            key: parsed.public_key().raw.to_vec(),
            is_ca: parsed.basic_constraints().ok()?.is_some_and(|constraints| constraints.value.ca),
            for_clients: usage.is_none_or(|usage| usage.client_auth || usage.any),
            for_ocsp: usage.is_some_and(|usage| usage.ocsp_signing),
            responders,
            key_bits: parsed.public_key().subject_public_key.data.to_vec(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            common_name: common_name.to_owned(),
            units,
            dns,
            emails,
            uris,
            subject_key_id,
            authority_key_id,
            extensions: parsed
                .extensions()
                .iter()
                .map(|extension| Extension { oid: extension.oid.to_id_string(), value: extension.value.to_vec() })
                .collect(),
        })
    }

    /// What is wrong with its times.
    pub fn time_error(&self, now: Timestamp) -> Option<&'static str> {
        match now.as_second() {
            now if now > self.not_after => Some("certificate has expired"),
            now if now < self.not_before => Some("certificate is not valid yet"),
            _ => None,
        }
    }

    /// Is it within its times?
    pub fn lasts(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Did the key of the other one sign this one, and is that one named as its issuer?
    pub fn issued_by(&self, issuer: &Self) -> bool {
        self.issuer == issuer.subject && Signed::read(&self.der).is_some_and(|signed| signed.by(issuer))
    }

    /// SHA-256 of the whole certificate, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.der))
    }
}

/// An integer without the zeros in front that DER and careless issuers put there.
pub(crate) fn number(raw: &[u8]) -> Vec<u8> {
    raw.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
