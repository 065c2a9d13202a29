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
    pub ocsp: Ocsp,
    pub token: TokenFields,
}

/// Whether and how OCSP responders are asked.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ocsp {
    pub enabled: bool,
    pub ca_certificates: String,
    pub servers: Vec<String>,
    pub fail_open: bool,
    pub query_all: bool,
    /// Seconds; 0: any age.
    pub max_age: u64,
    pub retries: u64,
}

impl Default for Ocsp {
    fn default() -> Self {
        Self {
            enabled: false,
            ca_certificates: String::new(),
            servers: Vec::new(),
            fail_open: false,
            query_all: false,
            max_age: 0,
            retries: 4,
        }
    }
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
        self.ocsp.set(fields)?;
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
        from_pem(&self.certificate)
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| Error::invalid("failed to parse certificate: it is not one in PEM"))
    }
}

impl Ocsp {
    fn set(&mut self, fields: &Fields) -> Result<(), Error> {
        for (name, target) in [
            ("ocsp_enabled", &mut self.enabled),
            ("ocsp_fail_open", &mut self.fail_open),
            ("ocsp_query_all_servers", &mut self.query_all),
        ] {
            if let Some(truth) = fields.bool(name) {
                *target = truth;
            }
        }
        if let Some(pem) = fields.string("ocsp_ca_certificates") {
            pem.trim().clone_into(&mut self.ca_certificates);
        }
        if let Some(servers) = fields.list("ocsp_servers_override") {
            self.servers = servers.into_iter().filter(|server| !server.is_empty()).collect();
        }
        if let Some(age) = fields.duration("ocsp_this_update_max_age") {
            self.max_age = age.as_secs();
        }
        if let Some(retries) = fields.int("ocsp_max_retries") {
            self.retries = u64::try_from(retries).map_err(|_| Error::invalid("ocsp_max_retries cannot be negative"))?;
        }
        self.authorities().map(|_| ())
    }

    /// Certificates that answers are trusted by, besides that of the issuer.
    pub fn authorities(&self) -> Result<Vec<Certificate>, Error> {
        if self.ca_certificates.is_empty() {
            return Ok(Vec::new());
        }
        from_pem(&self.ca_certificates)
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| Error::invalid("failed to parse ocsp_ca_certificates: they are not certificates in PEM"))
    }
}

fn from_pem(pem: &str) -> Option<Vec<Certificate>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| der.ok().and_then(|der| Certificate::read(&der))).collect()
}
