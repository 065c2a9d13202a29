//! The key of the mount's hashes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use holdfast_logical::{Check, Error, Services, StoreError, Txn};
use holdfast_secret::SecretBytes;
use sha2::Sha256;
use tokio::sync::OnceCell;

const PATH: &str = "salt";

/// Makes hashes under which role ids and secret ids are stored. The key is read, or made, when it is first needed.
#[derive(Default)]
pub(crate) struct Salt(OnceCell<SecretBytes>);

/// What is hashed: the same text has another hash for each.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    RoleId,
    SecretId,
}

impl Salt {
    /// HMAC-SHA256 in hexadecimal.
    pub async fn hash(&self, purpose: Purpose, text: &str, services: &Services) -> Result<String, Error> {
        let key = self.0.get_or_try_init(|| load(services)).await?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose())
            .map_err(|_| Error::Internal("the salt of the mount is not a key".to_owned()))?;
        mac.update(match purpose {
            Purpose::RoleId => b"role-id:",
            Purpose::SecretId => b"secret-id:",
        });
        mac.update(text.as_bytes());
        Ok(hex::encode(mac.finalize().into_bytes()))
    }
}

async fn load(services: &Services) -> Result<SecretBytes, Error> {
    let damaged = || Error::Internal("the salt of the mount is damaged".to_owned());
    loop {
        if let Some(entry) = services.view.get(PATH).await? {
            let key = BASE64_STANDARD.decode(entry.value.expose()).map_err(|_| damaged())?;
            return if key.len() == 32 { Ok(SecretBytes::new(key)) } else { Err(damaged()) };
        }
        let mut key = [0u8; 32];
        services.entropy.fill(&mut key);
        let mut txn = Txn::new();
        let path = services.view.path(PATH);
        txn.check(path.clone(), Check::Absent);
        txn.put(path, SecretBytes::new(BASE64_STANDARD.encode(key)));
        match services.view.commit(txn).await {
            // Somebody else made it, or it was made by us: read what is there.
            Ok(_) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
