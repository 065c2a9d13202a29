//! A certificate with its key: bundles, folders, keystores. A key that is not the certificate's makes no file, so that
//! what a pod sees always fits together.

use aws_lc_rs::{encoding::AsDer, rsa, signature};
use holdfast_template::fields;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use serde_json::{Map, Value};

/// Password of keystores that are given none; Java's own.
pub const PASSWORD: &str = "changeit";
/// Name of the entry in a keystore.
const ALIAS: &str = "tls";

/// PEM texts that belong together.
pub struct Pair {
    key: String,
    certificate: String,
    chain: String,
}

impl Pair {
    /// Finds key, certificate and chain in the fields of a secret, under the names that PKI engines, Kubernetes' TLS
    /// Secrets and people give them.
    pub fn of(given: &Map<String, Value>) -> Result<Self, String> {
        let [key, certificate, chain] = fields::pem(given)?;
        let pair = Self { key, certificate, chain };
        pair.check()?;
        Ok(pair)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let text = format!("{}{}", self.certificate, self.chain);
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        parsed.ok().filter(|parsed| !parsed.is_empty()).ok_or_else(|| "the certificate is not PEM".to_owned())
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|_| "the private key is not PEM".to_owned())
    }

    fn check(&self) -> Result<(), String> {
        let made = CertifiedKey::from_der(self.certificates()?, self.private_key()?, &default_provider());
        match made {
            Ok(_) => Ok(()),
            Err(rustls::Error::InconsistentKeys(_)) => Err("the private key is not the certificate's".to_owned()),
            Err(error) => Err(format!("certificate and key: {error}")),
        }
    }

    /// Key, certificate, chain.
    pub fn bundle(&self) -> String {
        format!("{}{}{}", self.key, self.certificate, self.chain)
    }

    /// The files of a folder, as Kubernetes names them. The certificate comes with its chain.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let mut files = vec![("tls.crt", format!("{}{}", self.certificate, self.chain)), ("tls.key", self.key.clone())];
        if !self.chain.is_empty() {
            files.push(("ca.crt", self.chain.clone()));
        }
        files
    }

    /// A keystore (RFC 7292; AES-256 and HMAC-SHA-256) with one entry.
    pub fn pkcs12(&self, password: &str) -> Result<Vec<u8>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot make a keystore: {error}");
        let key = PrivateKey::from_der(&pkcs8(&self.private_key()?)?).map_err(|error| failed(&error))?;
        let certificates = self.certificates()?;
        let certificates: Result<Vec<_>, _> = certificates.iter().map(|der| Certificate::from_der(der)).collect();
        let certificates = certificates.map_err(|error| failed(&error))?;
        let mut store = KeyStore::new();
        let chain = PrivateKeyChain::new(ALIAS.as_bytes().to_vec(), key, certificates);
        store.add_entry(ALIAS, KeyStoreEntry::PrivateKeyChain(chain));
        store.writer(password).write().map_err(|error| failed(&error))
    }
}

/// Keystores hold PKCS#8; engines also give PKCS#1 and SEC1.
fn pkcs8(key: &PrivateKeyDer<'static>) -> Result<Vec<u8>, String> {
    let unknown = |_| "the private key can't be read".to_owned();
    match key {
        PrivateKeyDer::Pkcs8(der) => Ok(der.secret_pkcs8_der().to_vec()),
        PrivateKeyDer::Pkcs1(der) => {
            let key = rsa::KeyPair::from_der(der.secret_pkcs1_der()).map_err(|error| unknown(error.to_string()))?;
            let der = key.as_der().map_err(|error| unknown(error.to_string()))?;
            Ok(der.as_ref().to_vec())
        }
        PrivateKeyDer::Sec1(der) => {
            let curves = [
                &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
                &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
            ];
            let key = curves
                .into_iter()
                .find_map(|curve| signature::EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der()).ok());
            let key = key.ok_or_else(|| unknown(String::new()))?;
            let der = key.to_pkcs8v1().map_err(|error| unknown(error.to_string()))?;
            Ok(der.as_ref().to_vec())
        }
        _ => Err("the private key has no known form".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn issued() -> (String, String) {
        let [key, certificate, _] = issued_by();
        (key, certificate)
    }

    /// Key, certificate, and that of the authority.
    fn issued_by() -> [String; 3] {
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        leaf.distinguished_name.push(rcgen::DnType::CommonName, "a.example");
        let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(authority, authority_key)).unwrap();
        [key.serialize_pem(), leaf.pem(), root.pem()]
    }

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_pair_becomes_a_bundle_a_folder_and_a_keystore() {
        let [key, certificate, ca] = issued_by();
        let pair = Pair::of(&fields(json!({"private_key": key, "certificate": certificate.trim(), "ca_chain": [ca]})))
            .unwrap();
        assert_eq!(pair.bundle().matches("-----BEGIN").count(), 3);
        assert!(pair.bundle().contains("-----END CERTIFICATE-----\n-----BEGIN"), "each begins on a line of its own");
        let names: Vec<_> = pair.files().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["tls.crt", "tls.key", "ca.crt"]);
        let store = pair.pkcs12("secret").unwrap();
        let policy = p12_keystore::Pkcs12ImportPolicy::Strict;
        let read = KeyStore::from_pkcs12(&store, "secret", policy).unwrap();
        let (alias, chain) = read.private_key_chain().unwrap();
        assert_eq!((alias, chain.certs().len()), (ALIAS, 2));
        assert!(KeyStore::from_pkcs12(&store, "wrong", policy).is_err());
    }

    #[test]
    fn a_key_of_another_certificate_makes_nothing() {
        let ((_, certificate), (key, _)) = (issued(), issued());
        let error = Pair::of(&fields(json!({"tls.key": key, "tls.crt": certificate}))).err().unwrap();
        assert_eq!(error, "the private key is not the certificate's");
        let error = Pair::of(&fields(json!({"tls.crt": certificate}))).err().unwrap();
        assert!(error.starts_with("no private key: none of the keys private_key, tls.key"), "{error}");
    }
}
