//! Checkpoints are signed with Ed25519, so that a log can be checked without the server and without a secret.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_base::Milestone;
use holdfast_secret::SecretBytes;

use crate::Head;

/// Signs checkpoints.
pub struct Signer(Ed25519KeyPair);

/// Checks checkpoints.
#[derive(Clone, Debug)]
pub struct PublicKey(Vec<u8>);

impl Signer {
    /// From 32 secret bytes.
    pub fn new(seed: &SecretBytes) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed.expose()).ok().map(Self)
    }

    /// What checks its signatures.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().to_vec())
    }

    pub(crate) fn sign(&self, head: &Head, store: Option<&Milestone>) -> Option<String> {
        self.0.try_sign(&message(head, store)).ok().map(|signature| STANDARD.encode(signature.as_ref()))
    }
}

impl PublicKey {
    /// 32 bytes in base64, as [`PublicKey::text`] writes them.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == 32).map(Self)
    }

    /// Base64.
    pub fn text(&self) -> String {
        STANDARD.encode(&self.0)
    }

    pub(crate) fn holds(&self, head: &Head, store: Option<&Milestone>, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&message(head, store), &signature).is_ok()
    }
}

/// What is signed: one field per line, each of them unable to hold a line feed of its own. With a milestone it is another
/// message from its first line on.
fn message(head: &Head, store: Option<&Milestone>) -> Vec<u8> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let Head { id, seq, head, time } = head;
    let (node, device, epoch) = (text(&id.node), text(&id.device), text(&id.epoch));
    let of_chain = format!("{node}\n{device}\n{epoch}\n{seq}\n{head}\n{time}\n");
    let message = match store {
        None => format!("holdfast audit checkpoint 1\n{of_chain}"),
        Some(Milestone { restores, number, revision }) => {
            format!("holdfast audit checkpoint 2\n{of_chain}{restores}\n{number}\n{revision}\n")
        }
    };
    message.into_bytes()
}
