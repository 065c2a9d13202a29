//! TLS to the database, as far as `sslmode` asks for it.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Failure, url::Mode};
use crate::config::Config;

/// What makes TLS connections; `None` without TLS.
pub(super) fn connector(mode: Mode, config: &Config) -> Result<Option<MakeRustlsConnect>, Failure> {
    if mode == Mode::Disable {
        return Ok(None);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = match (mode, config.tls_ca.is_empty()) {
        (Mode::VerifyCa | Mode::VerifyFull, true) => {
            return Err(Failure::Config("sslmode verify-ca and verify-full need tls_ca".to_owned()));
        }
        (_, true) => None,
        (_, false) => {
            let roots = Arc::new(roots(&config.tls_ca)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            Some(verifier.map_err(|error| Failure::Config(format!("tls_ca: {error}")))?)
        }
    };
    let verifier = Verifier { chain, names: mode == Mode::VerifyFull, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Config(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let client = if config.tls_certificate.is_empty() {
        builder.with_no_client_auth()
    } else {
        let chain = certificates("tls_certificate", &config.tls_certificate)?;
        let key = PrivateKeyDer::from_pem_slice(config.private_key.as_bytes())
            .map_err(|_| Failure::Config("private_key: no key in PEM".to_owned()))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| Failure::Config(format!("tls_certificate: {error}")))?
    };
    Ok(Some(MakeRustlsConnect::new(client)))
}

fn certificates(field: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Failure::Config(format!("{field}: no certificate in PEM"))),
    }
}

fn roots(pem: &str) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls_ca", pem)? {
        roots.add(certificate).map_err(|error| Failure::Config(format!("tls_ca: {error}")))?;
    }
    Ok(roots)
}

/// Checks the chain if there is a CA, and the name if `names`. Without a CA the connection is encrypted only, as
/// `require` and `prefer` are defined.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    names: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.names => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
