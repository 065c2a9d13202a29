//! What the barrier keeps of the chains: numbers of their epochs, how far they had come, and the keys behind them.

use std::sync::Arc;

use holdfast_audit::{ChainId, ChainSpec, DeviceSpec, Head, MacCheck, Past, Signer};
use holdfast_logical::{Check, Clock, StoreError, Txn, View};
use holdfast_secret::SecretBytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Semaphore, mpsc};

use crate::{CoreConfig, Error};

/// The chains of this replica.
pub struct Chains {
    view: View,
    node: String,
    clock: Arc<dyn Clock>,
    key: SecretBytes,
    signer: Arc<Signer>,
    heads: mpsc::UnboundedSender<Head>,
    told: Mutex<mpsc::UnboundedReceiver<Head>>,
    /// One question at a time: the way to a late key is a hash for each line before it.
    checking: Arc<Semaphore>,
}

/// Lines of a chain whose MACs are to be checked, in order of their numbers.
pub struct ChainQuestion<'a> {
    /// Name of the replica.
    pub node: &'a str,
    /// Path of the device.
    pub device: &'a str,
    /// Epoch.
    pub epoch: &'a str,
    /// Numbers, separated by commas.
    pub seqs: &'a str,
    /// SHA-256 of what each MAC is about, hexadecimal, one after the other.
    pub digests: &'a str,
    /// The MACs in the same way.
    pub macs: &'a str,
}

/// The chain of one device on one replica, from its first epoch on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    node: String,
    device: String,
    /// The newest epoch.
    epoch: u64,
    /// How far the last epochs had come.
    heads: Vec<Head>,
}

/// Records, one per replica and device.
const FOLDER: &str = "audit-chain";
/// Epochs whose end is kept.
const EPOCHS: usize = 512;
/// The longest epoch that anybody may ask about: what it takes to come to its last key is bounded.
const LONGEST: u64 = 100_000_000;

impl Chains {
    pub fn new(view: View, config: &CoreConfig) -> Result<Self, StoreError> {
        let (heads, told) = mpsc::unbounded_channel();
        let seed = config.barrier.derive_key("audit signing")?;
        let signer = Signer::new(&seed).ok_or(StoreError::Sealed)?;
        Ok(Self {
            view,
            node: config.hostname.clone(),
            clock: config.clock.clone(),
            key: config.barrier.derive_key("audit chain")?,
            signer: Arc::new(signer),
            heads,
            told: Mutex::new(told),
            checking: Arc::new(Semaphore::new(1)),
        })
    }

    /// What the end of the file says that a device is about to append to.
    pub fn past(&self, spec: &DeviceSpec) -> Option<Past> {
        Past::read(spec, &self.node, &self.signer.public_key())
    }

    /// Takes the number of a new epoch, after the newest in the store and the one `found` in the file.
    pub async fn begin(&self, device: &str, found: u64) -> Result<u64, StoreError> {
        self.change(&self.node, device, |stored| {
            stored.epoch = stored.epoch.max(found).saturating_add(1);
            stored.epoch
        })
        .await
    }

    /// What the device is opened with.
    pub async fn spec(&self, device: &str, epoch: u64) -> Result<ChainSpec, StoreError> {
        let stored: Option<(Stored, _)> = self.view.get_json(&record(&self.node, device)).await?;
        let id = ChainId { node: self.node.clone(), device: device.to_owned(), epoch: epoch.to_string() };
        Ok(ChainSpec {
            key: self.first_key(&id),
            id,
            signer: Some(self.signer.clone()),
            clock: self.clock.clone(),
            heads: self.heads.clone(),
            stored: stored.and_then(|(stored, _)| stored.heads.last().cloned()),
        })
    }

    /// Stores what the devices have told since the last call.
    pub async fn store_heads(&self) -> Result<(), StoreError> {
        let mut told = self.told.lock().await;
        let mut latest: Vec<Head> = Vec::new();
        while let Ok(head) = told.try_recv() {
            latest.retain(|other| other.id != head.id);
            latest.push(head);
        }
        for (at, head) in latest.iter().enumerate() {
            let stored = self.change(&head.id.node, &head.id.device, |stored| {
                match stored.heads.iter_mut().find(|other| other.id == head.id) {
                    Some(other) if other.seq >= head.seq => {}
                    Some(other) => *other = head.clone(),
                    None => stored.heads.push(head.clone()),
                }
                let surplus = stored.heads.len().saturating_sub(EPOCHS);
                stored.heads.drain(..surplus);
            });
            if let Err(error) = stored.await {
                latest[at..].iter().for_each(|head| drop(self.heads.send(head.clone())));
                return Err(error);
            }
        }
        Ok(())
    }

    pub async fn show(&self) -> Result<Value, Error> {
        let mut heads: Vec<Head> = Vec::new();
        for name in self.view.list(&format!("{FOLDER}/"), "", 0).await? {
            let stored: Option<(Stored, _)> = self.view.get_json(&format!("{FOLDER}/{name}")).await?;
            heads.extend(stored.map(|(stored, _)| stored.heads).unwrap_or_default());
        }
        Ok(json!({ "public_key": self.signer.public_key().text(), "algorithm": "ed25519", "heads": heads }))
    }

    /// Which of the lines have a wrong MAC, by position. Takes seconds for a long epoch, on a thread of its own, after
    /// the questions that came before it.
    pub async fn check(&self, question: &ChainQuestion<'_>) -> Result<Vec<usize>, Error> {
        let id = ChainId {
            node: question.node.to_owned(),
            device: question.device.to_owned(),
            epoch: question.epoch.to_owned(),
        };
        let seqs: Result<Vec<u64>, _> = question.seqs.split(',').map(str::parse).collect();
        let seqs = seqs.map_err(|_| Error::invalid("seqs: numbers separated by commas are needed"))?;
        let (digests, macs) = (parts("digests", question.digests)?, parts("macs", question.macs)?);
        if seqs.len() != digests.len() || seqs.len() != macs.len() {
            return Err(Error::invalid("seqs, digests and macs must be equally many"));
        }
        if !seqs.is_sorted() || seqs.last().is_some_and(|last| *last > LONGEST) {
            return Err(Error::invalid(format!("seqs must go up, to at most {LONGEST}")));
        }
        let Some(mut check) = MacCheck::new(&self.first_key(&id)) else {
            return Err(Error::internal("the key of the chain has not 32 bytes"));
        };
        let permit = self.checking.clone().acquire_owned().await;
        let work = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when whoever asked has gone.
            let _permit = permit;
            let lines = seqs.iter().zip(digests.iter().zip(&macs)).enumerate();
            let wrong = lines.filter(|(_, (seq, (digest, mac)))| !check.holds(**seq, digest, *mac));
            wrong.map(|(at, _)| at).collect()
        });
        work.await.map_err(|_| Error::internal("the check of the audit chain ended early"))
    }

    /// `k₀` of an epoch.
    fn first_key(&self, id: &ChainId) -> SecretBytes {
        let name = json!([id.node, id.device, id.epoch]).to_string();
        SecretBytes::new(crate::token::hmac(&self.key, name.as_bytes()).to_vec())
    }

    async fn change<T>(&self, node: &str, device: &str, what: impl Fn(&mut Stored) -> T) -> Result<T, StoreError> {
        let path = record(node, device);
        loop {
            let found: Option<(Stored, _)> = self.view.get_json(&path).await?;
            let check = found.as_ref().map_or(Check::Absent, |(_, revision)| Check::At(*revision));
            let mut stored = found.map(|(stored, _)| stored).unwrap_or_else(|| Stored {
                node: node.to_owned(),
                device: device.to_owned(),
                ..Stored::default()
            });
            let outcome = what(&mut stored);
            let mut txn = Txn::new();
            txn.check(self.view.path(&path), check);
            txn.put_json(self.view.path(&path), &stored)?;
            match self.view.commit(txn).await {
                Ok(_) => return Ok(outcome),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn record(node: &str, device: &str) -> String {
    let name = json!([node, device]).to_string();
    format!("{FOLDER}/{}", hex::encode(Sha256::digest(name.as_bytes())))
}

fn parts(name: &str, text: &str) -> Result<Vec<[u8; 32]>, Error> {
    let wrong = || Error::invalid(format!("{name}: 64 hexadecimal digits for each line are needed"));
    let bytes = hex::decode(text).map_err(|_| wrong())?;
    let (chunks, rest) = bytes.as_chunks::<32>();
    if rest.is_empty() { Ok(chunks.to_vec()) } else { Err(wrong()) }
}
