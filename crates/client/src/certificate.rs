//! What clients look at in certificates: until when one is good, and whether keys are those of the certificates beside them.

use std::collections::BTreeSet;

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use serde_json::{Map, Value};
use x509_parser::pem::{Pem, parse_x509_pem};

/// Seconds since 1970: `expiration`, or the end of the first certificate in `certificate` (PEM).
pub fn good_until(data: &Map<String, Value>) -> Option<i64> {
    let said = data.get("expiration").and_then(Value::as_i64).filter(|at| *at > 0);
    said.or_else(|| not_after(data.get("certificate")?.as_str()?))
}

/// The end of the first certificate of a PEM text, in seconds since 1970.
pub fn not_after(pem: &str) -> Option<i64> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    Some(pem.parse_x509().ok()?.validity().not_after.timestamp())
}

/// What PEM texts that belong together hold: public keys, as certificates have them.
#[derive(Debug, Default)]
pub struct Keys {
    /// Of private keys.
    pub private: BTreeSet<Vec<u8>>,
    /// Of certificates, but those of authorities.
    pub certified: BTreeSet<Vec<u8>>,
}

impl Keys {
    /// Looks through one text. What is not PEM from its beginning has nothing: in a file of settings a key may be for
    /// something else.
    pub fn add(&mut self, text: &str) {
        if !text.trim_start().starts_with("-----BEGIN ") {
            return;
        }
        let keys = PrivateKeyDer::pem_slice_iter(text.as_bytes()).flatten();
        let public = keys.filter_map(|key| any_supported_type(&key).ok()?.public_key().map(|key| key.to_vec()));
        self.private.extend(public);
        let pems = Pem::iter_from_buffer(text.as_bytes()).flatten().filter(|pem| pem.label == "CERTIFICATE");
        for pem in pems {
            if let Ok(certificate) = pem.parse_x509()
                && !certificate.is_ca()
            {
                self.certified.insert(certificate.public_key().raw.to_vec());
            }
        }
    }

    /// Are there a certificate and a private key?
    pub fn is_pair(&self) -> bool {
        !self.private.is_empty() && !self.certified.is_empty()
    }

    /// Is there a private key of another certificate? Where there are more of the one than of the other, nobody can know.
    pub fn do_not_fit(&self) -> bool {
        self.is_pair() && self.private.len() == self.certified.len() && self.private != self.certified
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use serde_json::json;

    use super::*;

    fn good_until(data: &Value) -> Option<i64> {
        super::good_until(data.as_object().unwrap())
    }

    #[test]
    fn the_engine_says_it_or_the_certificate_does() {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(2030, 1, 1);
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let year_2030 = 1_893_456_000;
        assert_eq!(good_until(&json!({ "certificate": pem })), Some(year_2030));
        assert_eq!(good_until(&json!({ "certificate": pem, "expiration": 1_700_000_000 })), Some(1_700_000_000));
        assert_eq!(good_until(&json!({ "certificate": pem, "expiration": "soon" })), Some(year_2030));
        for nothing in [json!({}), json!({ "certificate": "x" }), json!({ "certificate": pem.replace("MII", "MIX") })] {
            assert_eq!(good_until(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_found_wherever_it_is() {
        let issue = || {
            let key = KeyPair::generate().unwrap();
            (CertificateParams::default().self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let mut authority = CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = authority.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let ((one, key), (other, _)) = (issue(), issue());
        let fits = |texts: &[&str]| {
            let mut keys = Keys::default();
            texts.iter().for_each(|text| keys.add(text));
            (keys.is_pair(), !keys.do_not_fit())
        };
        assert_eq!(fits(&[&format!("{one}{authority}"), &key]), (true, true));
        assert_eq!(fits(&[&format!("{key}{one}"), &authority]), (true, true));
        assert_eq!(fits(&[&other, &key, &authority]), (true, false));
        assert_eq!(fits(&[&authority, &key]), (false, true));
        assert_eq!(fits(&[&one, &other, &key]), (true, true), "one of both is somebody else's");
        assert_eq!(fits(&[&other, &format!("SIGNING_KEY=\"{key}\"")]), (false, true));
    }
}
