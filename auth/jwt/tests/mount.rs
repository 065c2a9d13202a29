//! A mount of the method and what its tests ask.

use std::ops::Deref;

use holdfast_harness::Harness;
use holdfast_logical::{Error, Grant};
use serde_json::{Value, json};

pub struct Mount(Harness);

impl Deref for Mount {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.0
    }
}

impl Mount {
    /// A mount with this configuration and a role `app` for the audience `holdfast`.
    pub async fn of(config: Value) -> Self {
        let mount = Self(Harness::new("jwt", holdfast_auth_jwt::factory).await);
        mount.write("config", config).await;
        mount.role(json!({})).await;
        mount
    }

    /// Another server with the same mount, which has fetched nothing yet.
    pub async fn restarted(&self) -> Self {
        Self(self.beside(holdfast_auth_jwt::factory).await)
    }

    /// Writes the role `app` with these changes.
    pub async fn role(&self, changes: Value) {
        let mut body = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": "holdfast",
            "token_policies": "app", "token_ttl": "20m",
        });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.write("role/app", body).await;
    }

    pub async fn login(&self, token: &str) -> Result<Grant, Error> {
        self.grant("login", json!({"role": "app", "jwt": token})).await
    }

    /// The text of a login that must be a 400.
    pub async fn no_login(&self, token: &str) -> String {
        self.refused("login", json!({"role": "app", "jwt": token})).await
    }
}
