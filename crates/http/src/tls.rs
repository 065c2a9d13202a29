//! TLS of a listener.
//!
//! Client certificates are asked for and possession of their key is proven, but the chain is not verified here: the
//! `cert` auth method does that against the authorities of its own roles, and clients present whatever they have (also
//! expired ones). Session tickets are off, so that every connection shows its certificate. The server's own certificate
//! is exchanged while running, by [`Certificate::reload`].

mod ask_only;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tracing::{info, warn};

use self::ask_only::AskOnly;

/// What is wrong with the files or settings of a TLS listener. Texts name the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {reason}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The TLS library refuses the combination.
    #[error("TLS settings: {0}")]
    Settings(String),
}

/// What is done about certificates of clients.
#[derive(Clone, Debug, Default)]
pub enum ClientCertificates {
    /// Not asked for (`tls_disable_client_certs`).
    Off,
    /// Asked for, possession proven, chain not verified.
    #[default]
    Ask,
    /// Needed, and verified against this bundle (`tls_require_and_verify_client_cert`).
    Require(PathBuf),
}

/// Versions of TLS that are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// TLS 1.2 only.
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// TLS of one listener: the configuration that handshakes use, and the certificate in it.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    certificate: Arc<Certificate>,
}

/// The server's certificate and key: two files, and what was last read from them.
#[derive(Debug)]
pub struct Certificate {
    chain_file: PathBuf,
    key_file: PathBuf,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

// === impl Tls ===

impl Tls {
    /// Reads the certificate and makes the configuration.
    pub fn new(certificate: Arc<Certificate>, clients: &ClientCertificates, versions: Versions) -> Result<Self, Error> {
        let settings = |error: rustls::Error| Error::Settings(error.to_string());
        let provider = certificate.provider.clone();
        let versions: &[_] = match versions {
            Versions::Both => &[&rustls::version::TLS13, &rustls::version::TLS12],
            Versions::Tls12 => &[&rustls::version::TLS12],
            Versions::Tls13 => &[&rustls::version::TLS13],
        };
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).map_err(settings)?;
        let builder = match clients {
            ClientCertificates::Off => builder.with_no_client_auth(),
            ClientCertificates::Ask => builder.with_client_cert_verifier(Arc::new(AskOnly(provider))),
            ClientCertificates::Require(bundle) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(bundle)?), provider)
                    .build()
                    .map_err(|error| Error::Settings(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// The certificate, for reloading.
    pub fn certificate(&self) -> Arc<Certificate> {
        self.certificate.clone()
    }
}

// === impl Certificate ===

impl Certificate {
    /// Reads the PEM files of chain and key.
    pub fn load(chain_file: &Path, key_file: &Path) -> Result<Arc<Self>, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = read_pair(chain_file, key_file, &provider)?;
        Ok(Arc::new(Self {
            chain_file: chain_file.to_owned(),
            key_file: key_file.to_owned(),
            provider,
            current: ArcSwap::from_pointee(current),
        }))
    }

    /// Reads the files again. New connections get the new certificate; when the files cannot be used, the old one stays
    /// and the error says why. Answers whether the certificate is another one now.
    pub fn reload(&self) -> Result<bool, Error> {
        let new = read_pair(&self.chain_file, &self.key_file, &self.provider)?;
        if new.cert == self.current.load().cert {
            return Ok(false);
        }
        self.current.store(Arc::new(new));
        info!(file = %self.chain_file.display(), "TLS certificate reloaded");
        Ok(true)
    }

    /// Like [`Self::reload`], with a failure in the log. For the watcher of the files, which may see them half written.
    pub fn reload_or_warn(&self) {
        if let Err(error) = self.reload() {
            warn!(%error, "TLS certificate not reloaded, the old one stays in use");
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read_pair(chain_file: &Path, key_file: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let chain = certificates(chain_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
        .map_err(|error| Error::Content { path: key_file.to_owned(), reason: format!("no private key: {error}") })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| Error::Content {
        path: key_file.to_owned(),
        reason: format!("the key does not fit the certificate in {}: {error}", chain_file.display()),
    })
}

fn roots(bundle: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bundle)? {
        roots
            .add(certificate)
            .map_err(|error| Error::Content { path: bundle.to_owned(), reason: error.to_string() })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let content = |reason: String| Error::Content { path: path.to_owned(), reason };
    let found = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(error.to_string()))?;
    if found.is_empty() {
        return Err(content("no certificate in it (PEM is needed)".to_owned()));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|reason| Error::Read { path: path.to_owned(), reason })
}
