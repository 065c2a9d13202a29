//! What is signed with a key of a certificate: revocation lists, answers of OCSP responders.

use rustls::{crypto::aws_lc_rs, pki_types::SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;
use x509_parser::{asn1_rs::Any, prelude::FromDer};

use crate::certificate::Certificate;

/// SEQUENCE { what is signed, AlgorithmIdentifier, BIT STRING }: the frame that X.509 puts around everything.
#[derive(Debug)]
pub(crate) struct Signed {
    message: Vec<u8>,
    /// AlgorithmIdentifier without tag and length.
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    /// Reads the frame.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, frame) = Any::from_der(der).ok()?;
        let (rest, _) = Any::from_der(frame.data).ok()?;
        let message = &frame.data[..frame.data.len() - rest.len()];
        let (rest, algorithm) = Any::from_der(rest).ok()?;
        let (_, signature) = Any::from_der(rest).ok()?;
        let (unused, signature) = signature.data.split_first()?;
        (*unused == 0).then(|| Self {
            message: message.to_vec(),
            algorithm: algorithm.data.to_vec(),
            signature: signature.to_vec(),
        })
    }

    /// Did the key of this certificate sign it?
    pub fn by(&self, signer: &Certificate) -> bool {
        let key = SubjectPublicKeyInfoDer::from(signer.key.as_slice());
        let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return false };
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .all
            .iter()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == self.algorithm)
            .any(|algorithm| key.verify_signature(*algorithm, &self.message, &self.signature).is_ok())
    }
}
