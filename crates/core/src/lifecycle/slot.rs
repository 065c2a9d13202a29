//! A ceremony that is running: people give their shares one by one until there are enough.
//!
//! It is kept in the store, encrypted like everything else, so that each share may reach another replica and a restart loses
//! nothing. There is one slot for each kind of ceremony. One that was begun with a token is cancelled with a token or with
//! its nonce. One that a stranger began (where the listener allows it) gives way to anybody with a token, and after
//! [`STRANGERS`] to everybody: the slot is never held for ever.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_base::{Timestamp, id};
use holdfast_logical::{Check, Revision, StoreError, Txn, View};
use holdfast_seal::{Collector, Progress};
use holdfast_secret::{SecretBytes, SecretString, same};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};

use crate::{Error, open::Open};

/// How long a ceremony of a stranger may take.
const STRANGERS: Duration = Duration::from_secs(10 * 60);
/// How long any ceremony may take.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Tries of a change that meets others.
const TRIES: usize = 8;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The holder of a token with `sudo` on the path.
    Operator,
    /// The holder of another token, or nobody that is known: needs the nonce.
    Stranger,
}

/// A running ceremony and what it is about.
#[derive(Serialize, Deserialize)]
pub(super) struct Running<T> {
    pub nonce: String,
    began: Timestamp,
    stranger: bool,
    /// Shares needed.
    pub required: u8,
    #[serde(serialize_with = "texts")]
    shares: Vec<SecretString>,
    pub what: T,
}

/// Where a ceremony is kept.
pub(super) struct Slot<'o> {
    open: &'o Open,
    view: View,
    name: &'static str,
    /// For people: "root generation", "rekey".
    noun: &'static str,
}

/// What a share led to.
pub(super) enum Given<T> {
    /// More are needed.
    Waiting(Running<T>),
    /// Enough: the key they combine to, not proved yet. They are forgotten.
    Complete(Running<T>, SecretBytes),
}

/// Serialises a secret text for the encrypted store.
pub(super) fn text<S: Serializer>(text: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text.expose())
}

pub(super) fn texts<S: Serializer>(texts: &[SecretString], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(texts.iter().map(SecretString::expose))
}

impl<'o> Slot<'o> {
    pub fn new(open: &'o Open, name: &'static str, noun: &'static str) -> Self {
        Self { open, view: open.root.below("core").below("ceremony"), name, noun }
    }

    /// The running ceremony.
    pub async fn read<T: DeserializeOwned>(&self) -> Result<Option<Running<T>>, Error> {
        Ok(self.load().await?.map(|(running, _)| running))
    }

    async fn load<T: DeserializeOwned>(&self) -> Result<Option<(Running<T>, Revision)>, Error> {
        let Some((running, revision)) = self.view.get_json::<Running<T>>(self.name).await? else { return Ok(None) };
        let allowed = if running.stranger { STRANGERS } else { LONGEST };
        let age = self.now().duration_since(running.began);
        Ok((age.unsigned_abs() < allowed).then_some((running, revision)))
    }

    fn now(&self) -> Timestamp {
        self.open.config.clock.now()
    }

    /// Begins a ceremony, if there is none, or only that of a stranger who gives way.
    pub async fn begin<T>(&self, required: u8, who: Who, what: T) -> Result<Running<T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let stored = self.view.get_json::<Running<T>>(self.name).await?;
        if let Some((running, _)) = self.load::<T>().await?
            && !(running.stranger && who == Who::Operator)
        {
            return Err(Error::invalid(format!("{} already in progress", self.noun)));
        }
        let running = Running {
            nonce: id::uuid(self.open.config.entropy.as_ref()),
            began: self.now(),
            stranger: who == Who::Stranger,
            required,
            shares: Vec::new(),
            what,
        };
        let check = stored.map_or(Check::Absent, |(_, revision)| Check::At(revision));
        match self.put(&running, check).await {
            Err(StoreError::Conflict) => Err(Error::invalid(format!("{} already in progress", self.noun))),
            outcome => Ok(outcome.map(|()| running)?),
        }
    }

    /// Writes a changed ceremony over the one of this check.
    async fn put<T: Serialize>(&self, running: &Running<T>, check: Check) -> Result<(), StoreError> {
        let mut txn = Txn::new();
        txn.check(self.view.path(self.name), check);
        txn.put_json(self.view.path(self.name), running)?;
        self.view.commit(txn).await?;
        Ok(())
    }

    /// Changes what a running ceremony is about.
    pub async fn change<T>(&self, nonce: &str, change: impl Fn(&mut Running<T>)) -> Result<Running<T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        for _ in 0..TRIES {
            let (mut running, revision) = self.of(nonce).await?;
            change(&mut running);
            match self.put(&running, Check::At(revision)).await {
                Err(StoreError::Conflict) => {}
                outcome => return Ok(outcome.map(|()| running)?),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Ends a ceremony. Nothing happens if there is none.
    pub async fn cancel<T: DeserializeOwned>(&self, who: Who, nonce: Option<&str>) -> Result<(), Error> {
        let Some((running, _)) = self.load::<T>().await? else { return Ok(()) };
        if who == Who::Stranger && !nonce.is_some_and(|nonce| same(nonce, &running.nonce)) {
            return Err(Error::invalid(format!("the nonce of the running {} is needed to cancel it", self.noun)));
        }
        self.end().await
    }

    /// Ends whatever runs.
    pub async fn end(&self) -> Result<(), Error> {
        self.view.delete(self.name).await?;
        Ok(())
    }

    async fn of<T: DeserializeOwned>(&self, nonce: &str) -> Result<(Running<T>, Revision), Error> {
        let found = self.load::<T>().await?;
        let (running, revision) = found.ok_or_else(|| Error::invalid(format!("no {} in progress", self.noun)))?;
        if !same(nonce, &running.nonce) {
            return Err(Error::invalid(format!(
                "incorrect nonce supplied; nonce for this {} operation is different",
                self.noun
            )));
        }
        Ok((running, revision))
    }

    /// Takes a share.
    pub async fn give<T>(&self, nonce: &str, share: &SecretBytes) -> Result<Given<T>, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        for _ in 0..TRIES {
            let (mut running, revision) = self.of::<T>(nonce).await?;
            let mut collector = running.collector()?;
            let progress = collector.add(share.duplicate()).map_err(|error| Error::invalid(error.to_string()));
            let complete = match progress {
                Ok(Progress::Waiting(_)) => {
                    let share = SecretString::new(STANDARD.encode(share.expose()));
                    if !running.shares.contains(&share) {
                        running.shares.push(share);
                    }
                    None
                }
                // Whether it is the right one is seen later; if not, people begin again with the first share.
                Ok(Progress::Complete(key)) => {
                    running.shares.clear();
                    Some(Ok(key))
                }
                Err(error) if collector.count() == 0 => {
                    running.shares.clear();
                    Some(Err(error))
                }
                Err(error) => return Err(error),
            };
            match self.put(&running, Check::At(revision)).await {
                Err(StoreError::Conflict) => continue,
                outcome => outcome?,
            }
            return match complete {
                None => Ok(Given::Waiting(running)),
                Some(key) => Ok(Given::Complete(running, key?)),
            };
        }
        Err(StoreError::Conflict.into())
    }
}

impl<T> Running<T> {
    /// Shares given so far.
    pub fn progress(&self) -> usize {
        self.shares.len()
    }

    fn collector(&self) -> Result<Collector, Error> {
        let mut collector = Collector::new(self.required);
        for share in &self.shares {
            let damaged = |_| Error::internal("a stored share is damaged: cancel and begin again");
            let bytes = STANDARD.decode(share.expose()).map_err(damaged)?;
            collector.add(SecretBytes::new(bytes)).map_err(|error| Error::internal(error.to_string()))?;
        }
        Ok(collector)
    }
}
