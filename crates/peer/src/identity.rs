//! The authority that follows from the barrier's keys, and the certificate of this unseal.

use std::sync::Arc;

use aws_lc_rs::signature::Ed25519KeyPair;
use holdfast_secret::SecretBytes;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use sha2::{Digest, Sha256};

/// The name in every certificate: who it is, the fingerprint says.
pub const NAME: &str = "replica.holdfast.internal";

/// A certificate with its key, and what is needed to check those of others.
pub struct Identity {
    /// Of the certificate, hexadecimal.
    pub fingerprint: String,
    /// To listen with.
    pub server: Arc<ServerConfig>,
    /// To connect with.
    pub client: Arc<ClientConfig>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The secret is not 32 bytes.
    #[error("the secret of the authority of replicas must have 32 bytes")]
    Secret,
    /// By rcgen.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// By rustls.
    #[error("a certificate cannot be used: {0}")]
    Use(#[from] rustls::Error),
    /// The verifier of clients refuses the authority.
    #[error("the authority cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl Identity {
    /// A new one, vouched for by the authority of this secret.
    pub fn draw(secret: &SecretBytes) -> Result<Self, IdentityError> {
        let authority = authority_key(secret)?;
        let mut params = named("holdfast replicas");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&authority)?.der().clone();
        let issuer = Issuer::new(params, authority);

        let key = KeyPair::generate()?;
        let mut params = named(NAME);
        params.subject_alt_names = CertificateParams::new(vec![NAME.to_owned()])?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &issuer)?.der().clone();
        let private = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let mut roots = RootCertStore::empty();
        roots.add(root)?;
        let (roots, provider) = (Arc::new(roots), Arc::new(default_provider()));
        let versions = &[&rustls::version::TLS13];
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![leaf.clone()], private())?;
        // Every connection shows its certificate.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![leaf.clone()], private())?;
        client.resumption = Resumption::disabled();
        Ok(Self { fingerprint: fingerprint(&leaf), server: Arc::new(server), client: Arc::new(client) })
    }
}

/// SHA-256 of a certificate, hexadecimal.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

fn authority_key(secret: &SecretBytes) -> Result<KeyPair, IdentityError> {
    let key = Ed25519KeyPair::from_seed_unchecked(secret.expose()).map_err(|_| IdentityError::Secret)?;
    let document = key.to_pkcs8v1().map_err(|_| IdentityError::Secret)?;
    let document = PrivatePkcs8KeyDer::from(document.as_ref().to_vec());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&document, &PKCS_ED25519)?)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_and_the_secret_must_have_its_length() {
        let secret = SecretBytes::new([1; 32]);
        let (one, two) = (Identity::draw(&secret).unwrap(), Identity::draw(&secret).unwrap());
        assert_ne!(one.fingerprint, two.fingerprint);
        assert!(matches!(Identity::draw(&SecretBytes::new([1; 31])), Err(IdentityError::Secret)));
    }
}
