//! TLS of a listener.

use std::{io, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

use crate::config::{Tls, TlsVersion};

/// Reads the files; errors name them.
pub(super) fn acceptor(tls: &Tls) -> io::Result<TlsAcceptor> {
    let private = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| other(&tls.key, error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[_] = match tls.only {
        None => &[&TLS13, &TLS12],
        Some(TlsVersion::Tls12) => &[&TLS12],
        Some(TlsVersion::Tls13) => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| other(&tls.chain, error))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| other(file, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| other(file, error))?)
        }
    };
    let config =
        builder.with_single_cert(certificates(&tls.chain)?, private).map_err(|error| other(&tls.chain, error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| other(file, error))
}

fn other(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::{ClientConfig, pki_types::ServerName};
    use tempfile::TempDir;
    use tokio::io::AsyncReadExt;
    use tokio_rustls::TlsConnector;

    use super::*;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(authority: &CertifiedIssuer<'static, KeyPair>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
    }

    /// Does a client with this certificate get through?
    async fn gets_through(tls: &Tls, roots: &str, identity: Option<(String, String)>) -> bool {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut trusted = RootCertStore::empty();
        trusted.add(CertificateDer::from_pem_slice(roots.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(trusted);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let (near, far) = tokio::io::duplex(1 << 16);
        let connector = TlsConnector::from(Arc::new(config));
        let client = async {
            let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), near).await?;
            // With TLS 1.3 a client learns of a refusal with its first read.
            stream.read(&mut [0; 1]).await
        };
        let (accepted, _) = tokio::join!(
            async {
                let accepted = acceptor(tls).unwrap().accept(far).await;
                accepted.is_ok()
            },
            client
        );
        accepted
    }

    fn written(folder: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[tokio::test]
    async fn a_named_authority_decides_who_comes_in() {
        let (ours, theirs, folder) = (authority(), authority(), tempfile::tempdir().unwrap());
        let (chain, key) = leaf(&ours);
        let mut tls = Tls {
            chain: written(&folder, "chain", &chain),
            key: written(&folder, "key", &key),
            client_ca: None,
            only: Some(TlsVersion::Tls12),
        };
        assert!(gets_through(&tls, &ours.pem(), None).await);
        tls.client_ca = Some(written(&folder, "ca", &ours.pem()));
        for only in [None, Some(TlsVersion::Tls12), Some(TlsVersion::Tls13)] {
            tls.only = only;
            assert!(gets_through(&tls, &ours.pem(), Some(leaf(&ours))).await);
            assert!(!gets_through(&tls, &ours.pem(), None).await);
            assert!(!gets_through(&tls, &ours.pem(), Some(leaf(&theirs))).await);
        }
        tls.client_ca = Some(written(&folder, "empty", ""));
        assert!(acceptor(&tls).is_err());
    }
}
