//! Certificate authorities in a file that may change while the process runs: it is looked at before each handshake.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tracing::{info, warn};

use crate::Error;

/// Checks servers' certificates against the authorities in a file. While the file can't be read, or holds none, the last
/// that it held are good.
pub struct FileRoots {
    path: PathBuf,
    provider: Arc<CryptoProvider>,
    held: Mutex<Held>,
}

#[derive(Clone)]
struct Held {
    stamp: Stamp,
    verifier: Arc<WebPkiServerVerifier>,
}

/// Tells one content of the file from another. A ConfigMap's file is a link, so that its time alone is not enough.
type Stamp = (PathBuf, Option<SystemTime>, u64);

impl FileRoots {
    /// Reads the file. Fails if it holds no authority.
    pub fn open(path: &Path, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let bad = |reason: String| Error::Config(format!("CA certificate {}: {reason}", path.display()));
        let stamp = stamp(path).map_err(|error| bad(error.to_string()))?;
        let verifier = read(path, &provider).map_err(bad)?;
        Ok(Self { path: path.to_owned(), provider, held: Mutex::new(Held { stamp, verifier }) })
    }

    fn current(&self) -> Arc<WebPkiServerVerifier> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match stamp(&self.path) {
            Ok(now) if now != held.stamp => match read(&self.path, &self.provider) {
                Ok(verifier) => {
                    info!(path = %self.path.display(), "the certificate authorities have changed");
                    *held = Held { stamp: now, verifier };
                }
                Err(reason) => {
                    warn!(path = %self.path.display(), reason, "keeping the certificate authorities of before")
                }
            },
            Ok(_) => {}
            Err(error) => warn!(path = %self.path.display(), %error, "keeping the certificate authorities of before"),
        }
        held.verifier.clone()
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    Ok((path, metadata.modified().ok(), metadata.len()))
}

fn read(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        // A bundle may hold certificates that this TLS library refuses; they are of no use, but no reason to stop.
        let _ = roots.add(certificate.map_err(|error| error.to_string())?);
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    built.map_err(|error| format!("no usable certificate in the PEM text ({error})"))
}

impl fmt::Debug for FileRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRoots").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for FileRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.current().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.inspect_err(|error| {
            if matches!(error, rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) {
                warn!(path = %self.path.display(), "the server's certificate comes from none of these authorities");
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(name: &str) -> rcgen::Issuer<'static, rcgen::KeyPair> {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        rcgen::Issuer::new(params, rcgen::KeyPair::generate().unwrap())
    }

    fn pem(authority: &rcgen::Issuer<'static, rcgen::KeyPair>, name: &str) -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.self_signed(authority.key()).unwrap().pem()
    }

    #[test]
    fn a_changed_file_counts_at_the_next_handshake_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let (one, two) = (authority("one"), authority("two"));
        let leaf = |issuer| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec!["h.example".to_owned()]).unwrap();
            params.signed_by(&key, issuer).unwrap().der().clone()
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        assert!(FileRoots::open(&path, provider.clone()).is_err());
        fs::write(&path, pem(&one, "one")).unwrap();
        let roots = FileRoots::open(&path, provider).unwrap();
        let good = |certificate: &CertificateDer<'_>| {
            let name = ServerName::try_from("h.example").unwrap();
            roots.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).is_ok()
        };
        let (first, second) = (leaf(&one), leaf(&two));
        assert!(good(&first) && !good(&second));
        fs::write(&path, "nothing").unwrap();
        assert!(good(&first), "a broken file changes nothing");
        fs::write(&path, pem(&two, "two")).unwrap();
        assert!(good(&second) && !good(&first));
    }
}
