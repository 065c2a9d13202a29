//! A mount of the method and what its tests ask.

use std::ops::Deref;

use holdfast_harness::Harness;
use holdfast_logical::{Error, Grant};
use serde_json::json;

pub struct Mount(Harness);

impl Deref for Mount {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.0
    }
}

impl Mount {
    pub async fn new() -> Self {
        Self(Harness::new("userpass", holdfast_auth_userpass::factory).await)
    }

    pub async fn login(&self, name: &str, password: &str) -> Result<Grant, Error> {
        self.grant(&format!("login/{name}"), json!({"password": password})).await
    }
}
