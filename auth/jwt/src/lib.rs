//! Login with a JSON Web Token: of an OpenID provider that is discovered, of an issuer with a key set at a URL, or of one
//! whose public keys are given. Registered as `jwt` and as `oidc`; both are the same method.
//!
//! The signature is checked with the keys that the configuration leads to and with nothing that the token brings; then
//! times, issuer, audience, subject and the claims that the role binds. Logins through a browser (`oidc/auth_url`) are
//! not served yet; their configuration and roles are kept.
//!
//! ```text
//! config        [`config::Config`]
//! role/<name>   [`role::Role`]
//! ```

mod claims;
mod config;
mod engine;
mod login;
mod paths;
mod provider;
mod role;

use std::sync::Arc;

use holdfast_logical::{Backend, Error, MountInfo, Services};

/// Makes the backend of a mount.
pub fn factory(_mount: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(engine::Jwt::new(services)))
}
