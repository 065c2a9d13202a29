//! Roles as they are stored, and what is read from them.

use holdfast_logical::{Error, Fields, TokenFields};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use crate::{certificate::Certificate, constraints};

/// As it is stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Role {
    pub certificate: String,
    pub display_name: String,
    pub allowed_names: Vec<String>,
    pub allowed_common_names: Vec<String>,
    pub allowed_dns_sans: Vec<String>,
    pub allowed_email_sans: Vec<String>,
    pub allowed_uri_sans: Vec<String>,
    pub allowed_organizational_units: Vec<String>,
    pub required_extensions: Vec<String>,
    pub allowed_metadata_extensions: Vec<String>,
    pub token: TokenFields,
}

impl Role {
    /// Takes over what was sent.
    pub fn set(&mut self, name: &str, fields: &Fields) -> Result<(), Error> {
        if let Some(certificate) = fields.string("certificate") {
            certificate.trim().clone_into(&mut self.certificate);
        }
        if let Some(display_name) = fields.string("display_name") {
            display_name.clone_into(&mut self.display_name);
        }
        if self.display_name.is_empty() {
            name.clone_into(&mut self.display_name);
        }
        for (name, target) in [
            ("allowed_names", &mut self.allowed_names),
            ("allowed_common_names", &mut self.allowed_common_names),
            ("allowed_dns_sans", &mut self.allowed_dns_sans),
            ("allowed_email_sans", &mut self.allowed_email_sans),
            ("allowed_uri_sans", &mut self.allowed_uri_sans),
            ("allowed_organizational_units", &mut self.allowed_organizational_units),
            ("required_extensions", &mut self.required_extensions),
            ("allowed_metadata_extensions", &mut self.allowed_metadata_extensions),
        ] {
            if let Some(list) = fields.list(name) {
                *target = list.into_iter().filter(|item| !item.is_empty()).collect();
            }
        }
        let units = fields.list("allowed_organization_units").filter(|_| !fields.has("allowed_organizational_units"));
        if let Some(units) = units {
            self.allowed_organizational_units = units;
        }
        if fields.bool("ocsp_enabled").unwrap_or_default() {
            return Err(Error::invalid("ocsp_enabled is not supported: give revocation lists by crls/<name>"));
        }
        self.token.set(fields)?;
        if let Some(lease) = fields.duration("lease").filter(|_| !fields.has("token_ttl") && !fields.has("ttl")) {
            self.token.ttl = lease.as_secs();
        }
        constraints::check(self)?;
        let first = self.certificates()?.swap_remove(0);
        if !first.is_ca && !first.for_clients {
            return Err(Error::invalid(
                "nonCA certificates should have TLS client authentication set as an extended key usage",
            ));
        }
        Ok(())
    }

    /// The certificates of the role, at least one; the first one says whether they are CAs.
    pub fn certificates(&self) -> Result<Vec<Certificate>, Error> {
        let read: Option<Vec<Certificate>> = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .map(|der| der.ok().and_then(|der| Certificate::read(&der)))
            .collect();
        read.filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| Error::invalid("failed to parse certificate: it is not one in PEM"))
    }
}
