//! Questions to OCSP responders and their answers (RFC 6960).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use x509_cert::{
    der::{
        Any, Decode, Encode,
        asn1::{Null, ObjectIdentifier, OctetString},
    },
    serial_number::SerialNumber,
    spki::AlgorithmIdentifierOwned,
};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request, SingleResponse,
    TbsRequest,
};

use crate::{
    certificate::{Certificate, number},
    signed::Signed,
};

/// What certificates are named by in questions and answers. It finds them and proves nothing.
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// id-pkix-ocsp-basic.
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// Clocks of responders may be off by this many seconds.
const SKEW: i64 = 300;

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Good,
    Revoked,
    /// Nothing that can be relied on; the text says why.
    Unsure(&'static str),
}

/// Whom an answer is about, whom it is trusted by, and when it is read.
pub(crate) struct Question<'q> {
    pub certificate: &'q Certificate,
    pub issuer: &'q Certificate,
    /// Certificates that answers are trusted by, besides the issuer's.
    pub trusted: &'q [Certificate],
    /// Seconds since 1970.
    pub now: i64,
    /// Seconds; 0: any age.
    pub max_age: u64,
}

impl Question<'_> {
    /// The question as DER.
    pub fn der(&self) -> Option<Vec<u8>> {
        let request_list = vec![Request { req_cert: self.id()?, single_request_extensions: None }];
        let tbs_request = TbsRequest { request_list, ..TbsRequest::default() };
        OcspRequest { tbs_request, optional_signature: None }.to_der().ok()
    }

    fn id(&self) -> Option<CertId> {
        let hashed = |bytes: &[u8]| OctetString::new(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref()).ok();
        Some(CertId {
            hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(Any::from(Null)) },
            issuer_name_hash: hashed(&self.issuer.subject)?,
            issuer_key_hash: hashed(&self.issuer.key_bits)?,
            serial_number: SerialNumber::new(&self.certificate.serial).ok()?,
        })
    }

    /// What the answer says. Only what the issuer, or somebody that it named for this, signed counts.
    pub fn read(&self, answer: &[u8]) -> Status {
        let Ok(answer) = OcspResponse::from_der(answer) else { return Status::Unsure("it is no OCSP answer") };
        if answer.response_status != OcspResponseStatus::Successful {
            return Status::Unsure("the responder could not answer");
        }
        let Some(bytes) = answer.response_bytes.filter(|bytes| bytes.response_type == BASIC) else {
            return Status::Unsure("it is of an unknown kind");
        };
        let der = bytes.response.as_bytes();
        let (Ok(basic), Some(signed)) = (BasicOcspResponse::from_der(der), Signed::read(der)) else {
            return Status::Unsure("it cannot be read");
        };
        if !self.signers(&basic).iter().any(|signer| signed.by(signer)) {
            return Status::Unsure("it is not signed by the issuer or for it");
        }
        let about = basic.tbs_response_data.responses.iter().find(|single| self.is_about(single));
        about.map_or(Status::Unsure("it is about other certificates"), |single| self.status(single))
    }

    /// The issuer, what the role trusts, and what these named for signing answers (RFC 6960 §4.2.2.2).
    fn signers(&self, basic: &BasicOcspResponse) -> Vec<Certificate> {
        let direct: Vec<&Certificate> = std::iter::once(self.issuer).chain(self.trusted).collect();
        let named = basic.certs.iter().flatten().filter_map(|certificate| {
            let der = certificate.to_der().ok()?;
            let (read, signed) = (Certificate::read(&der)?, Signed::read(&der)?);
            let by = |authority: &&Certificate| read.issuer == authority.subject && signed.by(authority);
            (read.for_ocsp && read.lasts(self.now) && direct.iter().any(by)).then_some(read)
        });
        named.chain(direct.iter().map(|certificate| (*certificate).clone())).collect()
    }

    fn is_about(&self, single: &SingleResponse) -> bool {
        self.id().is_some_and(|id| {
            single.cert_id.hash_algorithm.oid == SHA1
                && single.cert_id.issuer_name_hash == id.issuer_name_hash
                && single.cert_id.issuer_key_hash == id.issuer_key_hash
                && number(single.cert_id.serial_number.as_bytes()) == self.certificate.serial
        })
    }

    fn status(&self, single: &SingleResponse) -> Status {
        let seconds = |time: x509_ocsp::OcspGeneralizedTime| {
            i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
        };
        let made = seconds(single.this_update);
        if made > self.now.saturating_add(SKEW) {
            return Status::Unsure("it is from the future");
        }
        if single.next_update.is_some_and(|next| seconds(next) < self.now.saturating_sub(SKEW)) {
            return Status::Unsure("it is out of date");
        }
        let age = u64::try_from(self.now.saturating_sub(made)).unwrap_or_default();
        if self.max_age > 0 && age > self.max_age {
            return Status::Unsure("it is older than ocsp_this_update_max_age");
        }
        match single.cert_status {
            CertStatus::Good(_) => Status::Good,
            CertStatus::Revoked(_) => Status::Revoked,
            CertStatus::Unknown(_) => Status::Unsure("the responder does not know the certificate"),
        }
    }
}
