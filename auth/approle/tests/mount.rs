//! A mount of the method and what its tests ask.

use std::ops::Deref;

pub use holdfast_harness::HOME;
use holdfast_harness::Harness;
use holdfast_logical::{Error, Grant, Operation};
use serde_json::{Value, json};

/// What a wrong pair is answered with.
pub const REFUSED: &str = "invalid role or secret ID";

pub struct Mount(pub Harness);

impl Deref for Mount {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.0
    }
}

impl Mount {
    pub async fn new() -> Self {
        Self(Harness::new("approle", holdfast_auth_approle::factory).await)
    }

    /// A mount with a role `app` whose role id is `r`.
    pub async fn with_role(settings: Value) -> Self {
        let mount = Self::new().await;
        mount.write("role/app", settings).await;
        mount.write("role/app/role-id", json!({"role_id": "r"})).await;
        mount
    }

    /// Another server with the same mount.
    pub async fn second(&self) -> Self {
        Self(self.beside(holdfast_auth_approle::factory).await)
    }

    /// A new secret id of `app`.
    pub async fn secret_id(&self, body: Value) -> String {
        self.made("role/app/secret-id", body).await["secret_id"].as_str().unwrap().to_owned()
    }

    pub async fn login_from(&self, remote: &str, role_id: &str, secret_id: &str) -> Result<Grant, Error> {
        let body = json!({"role_id": role_id, "secret_id": secret_id});
        let response = self.ask_from(remote, Operation::Update, "login", body).await?;
        Ok(response.grant.unwrap())
    }

    pub async fn login(&self, secret_id: &str) -> Result<Grant, Error> {
        self.login_from(HOME, "r", secret_id).await
    }

    /// A login that must be refused as any wrong pair is.
    pub async fn no_login(&self, role_id: &str, secret_id: &str) {
        match self.login_from(HOME, role_id, secret_id).await {
            Err(Error::Credentials(text)) => assert_eq!(text, REFUSED),
            other => panic!("{other:?}"),
        }
    }
}
