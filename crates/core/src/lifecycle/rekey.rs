//! New shares for people, and a new root key: `sys/rekey`, `sys/rekey-recovery-key`, `sys/rotate/root`, `sys/rotate/recovery`.
//!
//! Whoever holds enough of the old shares gives them; then the new ones are made, proved (each combines to the key, and the
//! keyring sealed under it opens), and handed out. With verification they count only when people have given them back.
//! Root key, wrapped root key and seal configuration change in one transaction. Until the one who asked has had the
//! answer for [`HANDOVER`], the old unseal shares open the store too.

mod apply;
mod backup;

use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_base::id;
use holdfast_failpoint::failpoint;
use holdfast_seal::{Collector, Progress, ShareConfig};
use holdfast_secret::{SecretBytes, SecretString, same};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(super) use self::apply::replace_root_key;
pub(crate) use self::apply::settle;
pub(crate) use self::backup::{delete as delete_backup, read as read_backup};
use super::{
    decode_key,
    keyholders::{self, Handout, Recipients, hand_out, share_config},
    slot::{self, Given, Running, Slot, Who},
};
use crate::{Error, open::Open};

/// Which key gets new shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The root key of the barrier: unseal shares, or the copy that a seal keeps.
    Root,
    /// The recovery key.
    Recovery,
}

/// What is asked for.
pub(crate) struct Wish {
    /// `secret_shares`.
    pub shares: i64,
    /// `secret_threshold`.
    pub threshold: i64,
    /// Base64, one for each share, or none.
    pub pgp_keys: Vec<String>,
    /// Keep the encrypted shares for `backup`.
    pub backup: bool,
    /// The new shares count only when they were given back.
    pub verification: bool,
}

/// What a running rekey is about.
#[derive(Serialize, Deserialize)]
struct Rekey {
    shares: u8,
    threshold: u8,
    pgp_keys: Vec<String>,
    fingerprints: Vec<String>,
    backup: bool,
    verification: bool,
    /// Set when the new shares are out and not given back yet.
    pending: Option<Pending>,
}

/// A new key that is not in force yet.
#[derive(Serialize, Deserialize)]
struct Pending {
    nonce: String,
    #[serde(serialize_with = "slot::text")]
    key: SecretString,
    #[serde(serialize_with = "slot::texts")]
    given: Vec<SecretString>,
}

impl Target {
    fn slot(self, open: &Open) -> Slot<'_> {
        match self {
            Self::Root => Slot::new(open, "rekey", "rekey"),
            Self::Recovery => Slot::new(open, "rekey-recovery", "recovery rekey"),
        }
    }

    /// Is there such a key?
    fn check(self, open: &Open) -> Result<(), Error> {
        match (self, open.config.seal.stored_keys()) {
            (Self::Recovery, false) => {
                Err(Error::invalid("recovery rekeying not supported: this seal has unseal keys"))
            }
            _ => Ok(()),
        }
    }

    /// Are there shares of the new key for people?
    fn has_shares(self, open: &Open) -> bool {
        self == Self::Recovery || !open.config.seal.stored_keys()
    }
}

/// `GET …/init`.
pub(crate) async fn status(open: &Open, target: Target) -> Result<Map<String, Value>, Error> {
    target.check(open)?;
    match target.slot(open).read::<Rekey>().await? {
        Some(running) => Ok(show(&running)),
        None => Ok(blank(keyholders::needed(open).await?)),
    }
}

/// `PUT …/init`: begins. Where nobody holds shares that could prove anything, an operator's token does, and it is done at
/// once.
pub(crate) async fn begin(open: &Open, target: Target, who: Who, wish: Wish) -> Result<Map<String, Value>, Error> {
    target.check(open)?;
    let what = Rekey::plan(open, target, wish)?;
    let required = keyholders::needed(open).await?;
    if required == 0 && who == Who::Stranger {
        return Err(Error::invalid("nobody holds recovery keys yet: a token with sudo is needed"));
    }
    let running = target.slot(open).begin(required, who, what).await?;
    tracing::warn!(target = ?target, "a rekey has begun");
    match required {
        0 => complete(open, target, running).await,
        _ => Ok(show(&running)),
    }
}

/// `DELETE …/init`.
pub(crate) async fn cancel(open: &Open, target: Target, who: Who, nonce: Option<&str>) -> Result<(), Error> {
    target.slot(open).cancel::<Rekey>(who, nonce).await
}

/// `PUT …/update`: takes one of the old shares.
pub(crate) async fn update(open: &Open, target: Target, key: &str, nonce: &str) -> Result<Map<String, Value>, Error> {
    target.check(open)?;
    let (share, slot) = (decode_key(key)?, target.slot(open));
    if slot.read::<Rekey>().await?.is_some_and(|running| running.what.pending.is_some()) {
        return Err(Error::invalid("the new shares are made already: verify them, or cancel"));
    }
    match slot.give::<Rekey>(nonce, &share).await? {
        Given::Waiting(running) => Ok(show(&running)),
        Given::Complete(_, key) if !keyholders::holds(open, &key).await? => {
            Err(Error::invalid("rekey failed: invalid key; give the shares again"))
        }
        Given::Complete(running, _) => complete(open, target, running).await,
    }
}

/// `GET …/verify`.
pub(crate) async fn verification(open: &Open, target: Target) -> Result<Map<String, Value>, Error> {
    let running = target.slot(open).read::<Rekey>().await?;
    let running = running.ok_or_else(|| Error::invalid("no rekey configuration found"))?;
    let pending = running.what.pending()?;
    Ok(show_pending(&running.what, &pending.nonce, pending.given.len()))
}

/// `DELETE …/verify`: the new shares are to be given from the first one, under a new nonce.
pub(crate) async fn restart_verification(open: &Open, target: Target) -> Result<Map<String, Value>, Error> {
    let slot = target.slot(open);
    let running = slot.read::<Rekey>().await?.ok_or_else(|| Error::invalid("no rekey configuration found"))?;
    running.what.pending()?;
    let fresh = id::uuid(open.config.entropy.as_ref());
    slot.change::<Rekey>(&running.nonce, |running| {
        if let Some(pending) = &mut running.what.pending {
            pending.nonce.clone_from(&fresh);
            pending.given.clear();
        }
    })
    .await?;
    verification(open, target).await
}

/// `PUT …/verify`: takes one of the new shares; enough of them put the new key in force.
pub(crate) async fn verify(open: &Open, target: Target, key: &str, nonce: &str) -> Result<Map<String, Value>, Error> {
    let (share, slot) = (decode_key(key)?, target.slot(open));
    let running = slot.read::<Rekey>().await?.ok_or_else(|| Error::invalid("no rekey configuration found"))?;
    let pending = running.what.pending()?;
    if !same(&pending.nonce, nonce) {
        return Err(Error::invalid("incorrect nonce supplied; nonce for this verify operation is different"));
    }
    let mut collector = Collector::new(running.what.threshold);
    let mut given: Vec<SecretString> = pending.given.iter().map(SecretString::duplicate).collect();
    let text = SecretString::new(STANDARD.encode(share.expose()));
    if !given.contains(&text) {
        given.push(text);
    }
    let mut outcome = Ok(Progress::Waiting(0));
    for share in &given {
        outcome = collector.add(decode_key(share.expose())?);
    }
    match outcome {
        Ok(Progress::Waiting(count)) => {
            let store = |running: &mut Running<Rekey>| {
                if let Some(pending) = &mut running.what.pending {
                    pending.given = given.iter().map(SecretString::duplicate).collect();
                }
            };
            slot.change::<Rekey>(&running.nonce, store).await?;
            Ok(show_pending(&running.what, nonce, usize::from(count)))
        }
        Ok(Progress::Complete(key)) if key == running.what.new_key()? => {
            apply::apply(open, target, &key, running.what.config()?).await?;
            failpoint!("rekey.verified").await;
            slot.end().await?;
            let shown = json!({ "nonce": nonce, "complete": true });
            Ok(shown.as_object().cloned().unwrap_or_default())
        }
        Ok(Progress::Complete(_)) | Err(_) => {
            restart_verification(open, target).await?;
            Err(Error::invalid("the shares given are not those of the new key; the old ones are still in force"))
        }
    }
}

/// The old shares are proved: makes the new ones.
async fn complete(open: &Open, target: Target, mut running: Running<Rekey>) -> Result<Map<String, Value>, Error> {
    let (entropy, slot) = (open.config.entropy.as_ref(), target.slot(open));
    let config = running.what.config()?;
    let mut bytes = vec![0u8; holdfast_seal::ROOT_KEY];
    entropy.fill(&mut bytes);
    let key = SecretBytes::new(bytes);
    let handout = match target.has_shares(open) {
        true => {
            let shares = config.split(&key, entropy).map_err(|error| Error::internal(error.to_string()))?;
            hand_out(&Recipients::read(&running.what.pgp_keys, config.shares(), entropy)?, &shares)?
        }
        false => Handout::default(),
    };
    if running.what.backup {
        backup::keep(open, target, &running.nonce, &handout).await?;
    }
    if running.what.verification {
        failpoint!("rekey.new-key-made").await;
        let (nonce, key) = (id::uuid(entropy), STANDARD.encode(key.expose()));
        let pending = || Pending { nonce: nonce.clone(), key: SecretString::new(key.as_str()), given: Vec::new() };
        running = slot.change::<Rekey>(&running.nonce, |running| running.what.pending = Some(pending())).await?;
    } else {
        apply::apply(open, target, &key, config).await?;
        slot.end().await?;
    }
    failpoint!("rekey.before-answer").await;
    let mut shown = show(&running);
    for (name, value) in [
        ("complete", json!(true)),
        ("progress", json!(running.required)),
        ("keys", json!(handout.keys)),
        ("keys_base64", json!(handout.keys_base64)),
    ] {
        shown.insert(name.to_owned(), value);
    }
    Ok(shown)
}

impl Rekey {
    fn plan(open: &Open, target: Target, wish: Wish) -> Result<Self, Error> {
        if !target.has_shares(open) {
            if wish.backup || wish.verification || !wish.pgp_keys.is_empty() {
                let text = "pgp_keys, backup and require_verification do not apply: the seal keeps the root key";
                return Err(Error::invalid(text));
            }
            return Ok(Self::of(1, 1, wish, Vec::new()));
        }
        let config = share_config(wish.shares, wish.threshold)?;
        if wish.backup && wish.pgp_keys.is_empty() {
            let text = "cannot request a backup of the new keys without providing PGP keys for encryption";
            return Err(Error::invalid(text));
        }
        let people = Recipients::read(&wish.pgp_keys, config.shares(), open.config.entropy.as_ref())?;
        let fingerprints = people.fingerprints();
        Ok(Self::of(config.shares(), config.threshold(), wish, fingerprints))
    }

    fn of(shares: u8, threshold: u8, wish: Wish, fingerprints: Vec<String>) -> Self {
        let Wish { pgp_keys, backup, verification, .. } = wish;
        Self { shares, threshold, pgp_keys, fingerprints, backup, verification, pending: None }
    }

    fn config(&self) -> Result<ShareConfig, Error> {
        share_config(self.shares.into(), self.threshold.into())
    }

    fn pending(&self) -> Result<&Pending, Error> {
        self.pending.as_ref().ok_or_else(|| Error::invalid("no rekey verification in progress"))
    }

    fn new_key(&self) -> Result<SecretBytes, Error> {
        decode_key(self.pending()?.key.expose())
    }
}

fn show(running: &Running<Rekey>) -> Map<String, Value> {
    let (what, mut shown) = (&running.what, blank(running.required));
    let fingerprints = (!what.fingerprints.is_empty()).then_some(&what.fingerprints);
    for (name, value) in [
        ("nonce", json!(running.nonce)),
        ("started", json!(true)),
        ("t", json!(what.threshold)),
        ("n", json!(what.shares)),
        ("progress", json!(running.progress())),
        ("pgp_fingerprints", json!(fingerprints)),
        ("backup", json!(what.backup)),
        ("verification_required", json!(what.verification)),
    ] {
        shown.insert(name.to_owned(), value);
    }
    if let Some(pending) = &what.pending {
        shown.insert("verification_nonce".to_owned(), json!(pending.nonce));
    }
    shown
}

fn blank(required: u8) -> Map<String, Value> {
    let shown = json!({
        "nonce": "", "started": false, "t": 0, "n": 0, "progress": 0, "required": required,
        "pgp_fingerprints": null, "backup": false, "verification_required": false,
    });
    shown.as_object().cloned().unwrap_or_default()
}

fn show_pending(what: &Rekey, nonce: &str, progress: usize) -> Map<String, Value> {
    let shown = json!({
        "nonce": nonce, "started": true, "t": what.threshold, "n": what.shares, "progress": progress,
    });
    shown.as_object().cloned().unwrap_or_default()
}
