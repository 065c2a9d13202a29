//! Password policies as they are stored: `password/<name>`, in other namespaces than the root
//! `namespace/<id>/password/<name>`.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_logical::{Entropy, Error as Logical, Namespace, Passwords, StoreError, View, passwords::no_policy};
use holdfast_password::Policy;
use holdfast_secret::SecretString;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The password policies of one namespace.
pub struct PasswordPolicies {
    view: View,
    entropy: Arc<dyn Entropy>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    text: String,
}

impl PasswordPolicies {
    /// Those of a namespace; `root` is the whole key space.
    pub fn new(root: &View, namespace: &Namespace, entropy: Arc<dyn Entropy>) -> Self {
        let home = if namespace.is_root() { root.clone() } else { root.below("namespace").below(&namespace.id) };
        Self { view: home.below("password"), entropy }
    }

    /// Names of all, sorted.
    pub async fn names(&self) -> Result<Vec<String>, StoreError> {
        self.view.list("", "", 0).await
    }

    /// The text of a policy as it was written.
    pub async fn text(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.view.get_json::<Stored>(name).await?.map(|(stored, _)| stored.text))
    }

    /// Writes a policy by which passwords can be made.
    pub async fn put(&self, name: &str, text: &str) -> Result<(), Error> {
        Policy::parse(text).map_err(|error| Error::invalid(error.to_string()))?;
        self.view.put_json(name, &Stored { text: text.to_owned() }).await?;
        Ok(())
    }

    /// Deletes a policy; nothing happens if it is not there.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        self.view.delete(name).await?;
        Ok(())
    }
}

#[async_trait]
impl Passwords for PasswordPolicies {
    async fn generate(&self, name: &str) -> Result<SecretString, Logical> {
        let policy = match name {
            "" => Policy::default(),
            name if name.contains('/') => return Err(no_policy(name)),
            name => {
                let text = self.text(name).await?.ok_or_else(|| no_policy(name))?;
                Policy::parse(&text).map_err(|error| Logical::Internal(error.to_string()))?
            }
        };
        policy.generate(self.entropy.as_ref()).map_err(|error| Logical::Internal(error.to_string()))
    }
}
