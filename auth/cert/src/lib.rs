//! Login with a TLS client certificate.
//!
//! The listener asks for certificates and proves that the client holds the key; whom a certificate is trusted by is
//! decided here. A role has either CA certificates, and takes what they issued, or certificates that are no CA, and takes
//! these very ones, byte by byte. Revocation lists are stored and looked at from the first login on. A token is renewed
//! over a connection with the certificate of its login only.
//!
//! ```text
//! config        [`config::Config`]
//! cert/<name>   [`role::Role`]
//! crl/<name>    [`crl::Crl`]
//! ```

mod certificate;
mod chain;
mod config;
mod constraints;
mod crl;
mod crl_api;
mod engine;
mod login;
mod ocsp;
mod paths;
mod responders;
mod role;
mod role_api;
mod signed;

use std::sync::Arc;

use holdfast_logical::{Backend, Error, MountInfo, Services};

/// Makes the backend of a mount.
pub fn factory(_mount: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(engine::Certs::new(services)))
}
