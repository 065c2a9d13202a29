//! Which hosts are trusted.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

use crate::Error;

/// TLS that trusts these certificates (PEM), or those of the system if there are none.
pub fn client_config(ca: &str) -> Result<ClientConfig, Error> {
    let wrong = |reason: &str| Error::Ca(format!("the CA certificate cannot be used: {reason}"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error.to_string()))?;
    let (roots, given) = if ca.trim().is_empty() { (system(), Vec::new()) } else { given(ca)? };
    // A machine without authorities can still ask hosts without TLS.
    if roots.is_empty() {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| wrong(&error.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { chain, given })).with_no_client_auth())
}

fn given(ca: &str) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Error> {
    let wrong = || Error::Ca("the CA certificate is not one in PEM".to_owned());
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(ca.as_bytes()).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| Error::Ca(format!("the CA certificate: {error}")))?;
    }
    if roots.is_empty() { Err(wrong()) } else { Ok((roots, certificates)) }
}

fn system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // What this TLS library cannot read is of no use, but no reason to stop.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Trusts chains, and a host whose own certificate is the very one that was given, also if it says that it is a CA: so
/// are the self-signed ones that `openssl req -x509` makes.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match self.chain.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The times are right by then: they are looked at first.
            Err(TlsError::InvalidCertificate(CertificateError::Other(OtherError(reason))))
                if matches!(reason.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
                    && self.given.iter().any(|given| given == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
