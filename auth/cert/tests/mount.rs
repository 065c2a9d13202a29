//! A mount of the method and what its tests ask.

use std::{ops::Deref, sync::Arc};

use holdfast_harness::{HOME, Harness, from};
use holdfast_logical::{Connection, Error, Grant, Operation};
use serde_json::{Value, json};

pub struct Mount(Harness);

impl Deref for Mount {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.0
    }
}

/// A connection with these certificates.
pub fn with(certificates: &[&[u8]]) -> Connection {
    let certificates = certificates.iter().map(|der| der.to_vec()).collect();
    Connection { certificates: Arc::new(certificates), ..from(HOME) }
}

impl Mount {
    pub async fn new() -> Self {
        Self(Harness::new("cert", holdfast_auth_cert::factory).await)
    }

    /// A mount with a role `app` for this certificate.
    pub async fn of(pem: &str) -> Self {
        let mount = Self::new().await;
        mount.role(json!({"certificate": pem})).await;
        mount
    }

    /// Another server with the same mount.
    pub async fn restarted(&self) -> Self {
        Self(self.beside(holdfast_auth_cert::factory).await)
    }

    /// Changes the role `app`.
    pub async fn role(&self, changes: Value) {
        self.write("certs/app", changes).await;
    }

    pub async fn login(&self, certificates: &[&[u8]]) -> Result<Grant, Error> {
        self.login_as("", certificates).await
    }

    pub async fn login_as(&self, role: &str, certificates: &[&[u8]]) -> Result<Grant, Error> {
        let body = json!({"name": role});
        let response = self.ask_over(with(certificates), Operation::Update, "login", body).await?;
        Ok(response.grant.unwrap())
    }

    /// A login that must be refused; it does not say why.
    pub async fn no_login(&self, certificates: &[&[u8]]) {
        match self.login(certificates).await {
            Err(Error::Invalid(text)) => {
                assert_eq!(text, "invalid certificate or no client certificate supplied");
            }
            other => panic!("{other:?}"),
        }
    }
}
