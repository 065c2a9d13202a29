//! `login`, and the renewal of the tokens it gave.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_logical::{Connection, Error, Grant, Response, cidr};
use serde_json::{Map, Value};

use crate::{certificate::Certificate, chain, constraints, engine::Certs, role_api::Trust};

/// For whoever has no certificate that a role takes. It does not say how near it was.
const REFUSED: &str = "invalid certificate or no client certificate supplied";

impl Certs {
    pub async fn login(&self, name: &str, connection: &Connection) -> Result<Response, Error> {
        let certificate = presented(connection)?;
        if let Some(reason) = certificate.time_error(self.services.clock.now()) {
            return Err(Error::Invalid(format!("failed to validate client's certificate: {reason}")));
        }
        for trust in self.trusts(name).await? {
            if self.takes(&trust, &certificate, connection).await? {
                let shared = self.config().await?.enable_identity_alias_metadata;
                return granted(&trust, &certificate, connection, shared);
            }
        }
        Err(Error::invalid(REFUSED))
    }

    /// Does a role take the certificate? A CA must have issued it; a certificate that is no CA must be it, in all bytes:
    /// key, names and serial number can be those of another one too.
    async fn takes(&self, trust: &Trust, certificate: &Certificate, connection: &Connection) -> Result<bool, Error> {
        let own =
            if trust.is_ca() { trust.certificates.as_slice() } else { trust.certificates.get(..1).unwrap_or_default() };
        let chain = if certificate.for_clients && own.iter().any(|own| own.der == certificate.der) {
            vec![certificate.clone()]
        } else if trust.is_ca() {
            match chain::verify(&connection.certificates, &trust.certificates, self.services.clock.now()) {
                Ok(chain) => chain,
                Err(reason) => {
                    tracing::debug!(role = trust.name, reason, "a client certificate was not taken");
                    return Ok(false);
                }
            }
        } else {
            return Ok(false);
        };
        if let Some(field) = constraints::unmet(&trust.role, certificate) {
            tracing::debug!(role = trust.name, field, "a client certificate was not taken");
            return Ok(false);
        }
        let lists = self.revoked().await?;
        if chain.iter().any(|certificate| lists.iter().any(|list| list.lists(certificate))) {
            return Ok(false);
        }
        Ok(!trust.role.ocsp.enabled || self.online(trust, &chain).await?)
    }

    /// May a token of this method be renewed? Over a connection with the certificate of the login only, which the role
    /// must still take; a sibling of the same CA is somebody else.
    pub async fn renew(&self, grant: Grant, connection: &Connection) -> Result<Grant, Error> {
        let fact = |name: &str| grant.internal.get(name).and_then(Value::as_str).unwrap_or_default();
        let name = fact("role");
        let Some(trust) = self.trust(name).await? else {
            return Err(Error::Invalid(format!("role {name:?} does not exist during renewal")));
        };
        if !self.config().await?.disable_binding {
            let denied = |reason: &str| Error::Denied(reason.to_owned());
            let certificate = presented(connection).map_err(|_| denied("no client certificate found"))?;
            if certificate.fingerprint() != fact("fingerprint") {
                return Err(denied("client identity during renewal not matching client identity used during login"));
            }
            let late = certificate.time_error(self.services.clock.now()).is_some();
            if late || !self.takes(&trust, &certificate, connection).await? {
                return Err(denied(REFUSED));
            }
        }
        let set = |policies: &[String]| policies.iter().map(|policy| policy.to_lowercase()).collect::<BTreeSet<_>>();
        if set(&trust.role.token.policies) != set(&grant.policies) {
            return Err(Error::invalid("policies have changed, not renewing"));
        }
        Ok(trust.role.token.limit(grant))
    }
}

/// The client's own certificate.
fn presented(connection: &Connection) -> Result<Certificate, Error> {
    let der = connection.certificates.first().ok_or_else(|| Error::invalid("client certificate must be supplied"))?;
    Certificate::read(der).ok_or_else(|| Error::invalid(REFUSED))
}

/// The token. `shared`: the alias in the identity store has the metadata too.
fn granted(trust: &Trust, certificate: &Certificate, connection: &Connection, shared: bool) -> Result<Response, Error> {
    let token = &trust.role.token;
    if !cidr::allows(&token.bound_cidrs, connection.remote) {
        return Err(Error::Denied("permission denied".to_owned()));
    }
    let mut metadata = constraints::metadata(&trust.role, certificate);
    metadata.extend(BTreeMap::from(
        [
            ("cert_name", &trust.name),
            ("common_name", &certificate.common_name),
            ("serial_number", &certificate.serial_text),
            ("subject_key_id", &certificate.subject_key_id),
            ("authority_key_id", &certificate.authority_key_id),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone())),
    ));
    let grant = token.grant(Grant {
        alias: certificate.common_name.clone(),
        alias_metadata: if shared { metadata.clone() } else { BTreeMap::new() },
        display_name: trust.role.display_name.clone(),
        metadata,
        internal: Map::from_iter([
            ("role".to_owned(), Value::from(trust.name.as_str())),
            ("fingerprint".to_owned(), Value::from(certificate.fingerprint())),
        ]),
        ..Grant::default()
    });
    Ok(Response { grant: Some(grant), ..Response::default() })
}
