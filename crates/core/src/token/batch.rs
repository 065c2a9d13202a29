//! Batch tokens: `hvb.`, all that there is to know of the token encrypted in its id, nothing stored.
//!
//! ```text
//! hvb.<base64url( version 1 | nonce 24 | XAES-256-GCM( JSON ) | tag 16 )>[.<namespace id>]
//! ```
//! The key follows from the keyring and a label, the same on all replicas and after rotation; the associated data is
//! the cluster's id, so that a token of another cluster is none here even if both were made of one backup of keys. A
//! batch token cannot be revoked by itself: it ends with its time, with its parent, or with the mount that made it.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use holdfast_barrier::xaes::{KEY, NONCE, Xaes};
use holdfast_logical::{Entropy, Namespace, PodIdentity, Timestamp};
use holdfast_secret::{SecretBytes, SecretString};
use serde::{Deserialize, Serialize};

use super::{Token, id::suffix_of};
use crate::Error;

pub(super) const PREFIX: &str = "hvb.";
const VERSION: u8 = 1;

/// Longest id: it has to fit into a header with the rest of a request.
pub(super) const LONGEST: usize = 6 * 1024;

/// Makes and reads the ids.
pub struct BatchKey {
    key: Xaes,
    aad: Vec<u8>,
}

/// What an id holds; names are short because ids travel with every request.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(rename = "n", default = "Namespace::root_id", skip_serializing_if = "is_root")]
    namespace: String,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(rename = "l")]
    policies: Vec<String>,
    #[serde(rename = "t")]
    path: String,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(rename = "d")]
    display_name: String,
    /// Milliseconds since 1970.
    #[serde(rename = "c")]
    created: i64,
    /// Milliseconds since 1970.
    #[serde(rename = "e")]
    expires: i64,
    #[serde(rename = "b", default, skip_serializing_if = "Vec::is_empty")]
    bound_cidrs: Vec<String>,
    #[serde(rename = "i", default, skip_serializing_if = "String::is_empty")]
    entity_id: String,
    #[serde(rename = "r", default, skip_serializing_if = "String::is_empty")]
    role: String,
    #[serde(rename = "o")]
    mount: String,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pod: Option<PodIdentity>,
}

fn is_root(namespace: &str) -> bool {
    *namespace == Namespace::root_id()
}

/// What the ids of a namespace end in.
fn suffix(namespace: &str) -> String {
    if is_root(namespace) { String::new() } else { format!(".{namespace}") }
}

/// Is it the id of a batch token, good or not?
pub fn is_batch(id: &SecretString) -> bool {
    id.expose().starts_with(PREFIX)
}

impl BatchKey {
    /// `key` has 32 bytes.
    pub fn new(key: &SecretBytes, cluster: &str) -> Self {
        let mut bytes = [0u8; KEY];
        bytes.iter_mut().zip(key.expose()).for_each(|(to, from)| *to = *from);
        let made = Self { key: Xaes::new(&bytes), aad: format!("holdfast batch token\0{cluster}").into_bytes() };
        bytes.fill(0);
        std::hint::black_box(&bytes);
        made
    }

    /// The id of a token.
    pub fn seal(&self, token: &Token, entropy: &dyn Entropy) -> Result<SecretString, Error> {
        let failed = || Error::internal("the batch token cannot be encoded");
        let expires = token.expires.ok_or_else(|| Error::invalid("batch tokens must have a TTL"))?;
        let sealed = Sealed {
            namespace: token.namespace.clone(),
            parent: token.parent.clone(),
            policies: token.policies.clone(),
            path: token.path.clone(),
            metadata: token.metadata.clone(),
            display_name: token.display_name.clone(),
            created: token.created.as_millisecond(),
            expires: expires.as_millisecond(),
            bound_cidrs: token.bound_cidrs.clone(),
            entity_id: token.entity_id.clone(),
            role: token.role.clone(),
            mount: token.mount.clone(),
            pod: token.pod.clone(),
        };
        let plain = SecretBytes::new(serde_json::to_vec(&sealed).map_err(|_| failed())?);
        let mut nonce = [0u8; NONCE];
        entropy.fill(&mut nonce);
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&nonce);
        bytes.extend(self.key.seal(&nonce, &self.aad, plain.expose()).map_err(|_| failed())?);
        let id = format!("{PREFIX}{}{}", URL_SAFE_NO_PAD.encode(bytes), suffix(&token.namespace));
        if id.len() > LONGEST {
            return Err(Error::invalid(format!(
                "the batch token would have {} bytes, at most {LONGEST} fit into a header: give it fewer policies or \
                 less metadata",
                id.len()
            )));
        }
        Ok(SecretString::new(id))
    }

    /// The token of an id that this cluster made; its time, parent and mount are not looked at.
    pub fn open(&self, id: &SecretString) -> Option<Token> {
        let (own, suffixed) = id.expose().split_at(id.expose().len() - suffix_of(id.expose()).len());
        let text = own.strip_prefix(PREFIX).filter(|text| text.len() <= LONGEST)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.strip_prefix(&[VERSION])?.split_first_chunk::<NONCE>()?;
        let plain = self.key.open(nonce, &self.aad, sealed).ok()?;
        let sealed: Sealed = serde_json::from_slice(&plain).ok()?;
        if suffixed != suffix(&sealed.namespace) {
            return None;
        }
        let (created, expires) =
            (Timestamp::from_millisecond(sealed.created).ok()?, Timestamp::from_millisecond(sealed.expires).ok()?);
        Some(Token {
            namespace: sealed.namespace,
            parent: sealed.parent,
            policies: sealed.policies,
            path: sealed.path,
            metadata: sealed.metadata,
            display_name: sealed.display_name,
            creation_ttl: super::seconds_up(expires.duration_since(created).try_into().unwrap_or_default()),
            expires: Some(expires),
            bound_cidrs: sealed.bound_cidrs,
            entity_id: sealed.entity_id,
            role: sealed.role,
            mount: sealed.mount,
            pod: sealed.pod,
            batch: true,
            ..Token::empty(created)
        })
    }
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;

    use super::*;

    fn key(cluster: &str) -> BatchKey {
        BatchKey::new(&SecretBytes::new([5; 32]), cluster)
    }

    fn token() -> Token {
        let at = |second| Timestamp::from_second(second).unwrap();
        Token { policies: vec!["app".into()], expires: Some(at(2_000)), mount: "u".into(), ..Token::empty(at(1_000)) }
    }

    #[test]
    fn an_id_holds_the_token_and_every_flipped_bit_and_foreign_cluster_is_noticed() {
        let id = key("here").seal(&token(), &SeededEntropy::new(1)).unwrap();
        let found = key("here").open(&id).unwrap();
        assert_eq!(
            (found.policies.as_slice(), found.creation_ttl, found.batch),
            (&["app".to_owned()][..], 1_000, true)
        );
        assert!(key("there").open(&id).is_none());
        assert!(id.expose().len() < 300, "{}", id.expose().len());
        let raw = URL_SAFE_NO_PAD.decode(&id.expose()[PREFIX.len()..]).unwrap();
        for at in 0..raw.len() {
            let mut flipped = raw.clone();
            flipped[at] ^= 1;
            let flipped = SecretString::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(flipped)));
            assert!(key("here").open(&flipped).is_none(), "byte {at}");
        }
    }

    #[test]
    fn what_does_not_fit_into_a_header_is_refused_and_a_token_without_end_too() {
        let long = Token { policies: vec!["p".repeat(9_000)], ..token() };
        assert!(key("c").seal(&long, &SeededEntropy::new(1)).unwrap_err().to_string().contains("fewer policies"));
        let endless = Token { expires: None, ..token() };
        assert!(key("c").seal(&endless, &SeededEntropy::new(1)).is_err());
    }
}
