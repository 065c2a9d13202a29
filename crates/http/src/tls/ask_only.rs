//! The verifier for client certificates that are asked for and not verified: it checks that the client holds the key.
//!
//! The certificate itself is only read as far as its public key. Clients present whatever they have, also X.509
//! version 1 (what `openssl req -x509` makes without extensions), which the web PKI verifier refuses to parse.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::RawPublicKeyEntity;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// Asks for a certificate, takes any or none, and has the provider check that the client holds its key.
#[derive(Debug)]
pub(super) struct AskOnly(pub(super) Arc<CryptoProvider>);

impl ClientCertVerifier for AskOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key(certificate)?;
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad_encoding())?;
        let known = self.0.signature_verification_algorithms.mapping.iter();
        let algorithms = known.filter(|(scheme, _)| *scheme == signature.scheme).flat_map(|(_, found)| *found);
        let mut outcome = Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        for algorithm in algorithms {
            match key.verify_signature(*algorithm, message, signature.signature()) {
                Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
                Err(_) => outcome = Err(CertificateError::BadSignature.into()),
            }
        }
        outcome
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (key, algorithms) = (public_key(certificate)?, &self.0.signature_verification_algorithms);
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'a>, Error> {
    let (_, parsed) = X509Certificate::from_der(certificate.as_ref()).map_err(|_| bad_encoding())?;
    Ok(SubjectPublicKeyInfoDer::from(parsed.tbs_certificate.subject_pki.raw))
}

fn bad_encoding() -> Error {
    CertificateError::BadEncoding.into()
}
