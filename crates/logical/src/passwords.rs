//! Passwords for users of outside systems, by the policies that the server keeps.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_password::Policy;
use holdfast_secret::SecretString;

use crate::{Entropy, Error};

/// Makes passwords. The core implements it over `sys/policies/password`.
#[async_trait]
pub trait Passwords: Send + Sync + 'static {
    /// A new password by a policy of the mount's namespace; an empty name is [`Policy::default`]. A 400 when there is
    /// no such policy.
    async fn generate(&self, policy: &str) -> Result<SecretString, Error>;
}

/// Knows the default policy only: for tests of plug-ins.
pub struct DefaultPasswords(pub Arc<dyn Entropy>);

#[async_trait]
impl Passwords for DefaultPasswords {
    async fn generate(&self, policy: &str) -> Result<SecretString, Error> {
        match policy {
            "" => Policy::default().generate(self.0.as_ref()).map_err(|error| Error::Internal(error.to_string())),
            other => Err(no_policy(other)),
        }
    }
}

/// What is answered for a policy that is not there.
pub fn no_policy(name: &str) -> Error {
    Error::Invalid(format!("password policy {name:?} does not exist: write it to sys/policies/password/{name}"))
}
