//! `…/backup`: the new shares, encrypted to people's PGP keys, kept for those who lose theirs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

use super::Target;
use crate::{Error, lifecycle::keyholders::Handout, open::Open};

#[derive(Serialize, Deserialize)]
struct Backup {
    nonce: String,
    /// By fingerprint: hexadecimal.
    keys: BTreeMap<String, Vec<String>>,
    /// By fingerprint: base64.
    keys_base64: BTreeMap<String, Vec<String>>,
}

fn name(target: Target) -> &'static str {
    match target {
        Target::Root => "unseal-keys-backup",
        Target::Recovery => "recovery-keys-backup",
    }
}

/// Keeps them, instead of those before.
pub(super) async fn keep(open: &Open, target: Target, nonce: &str, handout: &Handout) -> Result<(), Error> {
    let mut backup = Backup { nonce: nonce.to_owned(), keys: BTreeMap::new(), keys_base64: BTreeMap::new() };
    let shares = handout.keys.iter().zip(&handout.keys_base64);
    for (person, (hexadecimal, base64)) in handout.fingerprints.iter().zip(shares) {
        backup.keys.entry(person.clone()).or_default().push(hexadecimal.clone());
        backup.keys_base64.entry(person.clone()).or_default().push(base64.clone());
    }
    open.root.below("core").put_json(name(target), &backup).await?;
    Ok(())
}

/// `GET …/backup`.
pub(crate) async fn read(open: &Open, target: Target) -> Result<Map<String, Value>, Error> {
    let stored = open.root.below("core").get_json::<Backup>(name(target)).await?;
    let (backup, _) = stored.ok_or_else(|| Error::invalid("no backed-up keys found"))?;
    Ok(Map::from_iter([
        ("nonce".to_owned(), json!(backup.nonce)),
        ("keys".to_owned(), json!(backup.keys)),
        ("keys_base64".to_owned(), json!(backup.keys_base64)),
    ]))
}

/// `DELETE …/backup`.
pub(crate) async fn delete(open: &Open, target: Target) -> Result<(), Error> {
    open.root.below("core").delete(name(target)).await?;
    Ok(())
}
