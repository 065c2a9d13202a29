//! Uses of tokens that have so many and no more.
//!
//! They are taken by compare. Who asks for a token while somebody here writes its count waits, and one of those who wait
//! takes a use for each of them: they would only meet in the store.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use holdfast_failpoint::failpoint;
use holdfast_logical::{StoreError, Txn};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Token, Tokens, store::id_key};

/// Attempts before a busy entry is reported as such. Only other replicas come in between.
const ATTEMPTS: usize = 16;

/// Those who wait, by hash of the token; an entry stands as long as somebody writes.
#[derive(Clone, Default)]
pub(super) struct Uses(Arc<Mutex<HashMap<String, VecDeque<Waiting>>>>);

type Waiting = oneshot::Sender<Turn>;

/// What is told to one who waits.
enum Turn {
    /// A use was taken for it: the token as it is after that.
    Taken(Box<Token>),
    /// It is its turn to write.
    Write(Writer),
}

/// The one who writes. When it is dropped the next one's turn comes, also if this one never learned of its own.
struct Writer {
    uses: Uses,
    hash: String,
}

impl Tokens {
    /// Takes one use of a token. None: it has none left, or is gone. Else the token as it is after the use; with
    /// `uses == Some(0)` this was the last one.
    pub async fn take_use(&self, hash: &str) -> Result<Option<Token>, StoreError> {
        loop {
            let turn = match self.uses.enter(hash) {
                Ok(writer) => return self.write_uses(writer).await,
                Err(turn) => turn,
            };
            match turn.await {
                Ok(Turn::Taken(token)) => {
                    // What the other one wrote is what this request has seen.
                    holdfast_barrier::look_anew();
                    self.view.revision(&id_key(hash)).await?;
                    return Ok(Some(*token));
                }
                Ok(Turn::Write(writer)) => return self.write_uses(writer).await,
                // Who wrote for it has failed.
                Err(_) => {}
            }
        }
    }

    /// Takes a use for oneself, and one for each of those who wait, as far as there are some.
    async fn write_uses(&self, writer: Writer) -> Result<Option<Token>, StoreError> {
        let mut others = Vec::new();
        // Others may have written while it waited.
        holdfast_barrier::look_anew();
        for _ in 0..ATTEMPTS {
            let Some((mut token, revision)) = self.get(&writer.hash).await? else { return Ok(None) };
            let Some(uses) = token.uses else { return Ok(Some(token)) };
            let Some(left) = uses.checked_sub(1) else { return Ok(None) };
            writer.gather(&mut others, left);
            token.uses = Some(left - count(&others));
            failpoint!("token.use.before-store").await;
            match self.replace(&writer.hash, &token, revision, Txn::new()).await {
                Ok(_) => {
                    for (left, other) in (0..left).rev().zip(others) {
                        let taken = Token { uses: Some(left), ..token.clone() };
                        // Who has gone meanwhile has used it.
                        let _ = other.send(Turn::Taken(Box::new(taken)));
                    }
                    return Ok(Some(Token { uses: Some(left), ..token }));
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }
}

impl Uses {
    /// One's turn to write, if nobody does; else what tells how it goes on.
    fn enter(&self, hash: &str) -> Result<Writer, oneshot::Receiver<Turn>> {
        let mut writing = self.0.lock();
        let Some(waiting) = writing.get_mut(hash) else {
            writing.insert(hash.to_owned(), VecDeque::new());
            return Ok(Writer { uses: self.clone(), hash: hash.to_owned() });
        };
        let (other, turn) = oneshot::channel();
        waiting.push_back(other);
        Err(turn)
    }

    /// The next who waits. `None`: nobody does, nor writes from here on.
    fn next(&self, hash: &str) -> Option<Waiting> {
        let mut writing = self.0.lock();
        let next = writing.get_mut(hash).and_then(VecDeque::pop_front);
        if next.is_none() {
            writing.remove(hash);
        }
        next
    }
}

impl Writer {
    /// Takes in those who wait until there are so many; those who are too many wait again.
    fn gather(&self, others: &mut Vec<Waiting>, most: u64) {
        let mut writing = self.uses.0.lock();
        let Some(waiting) = writing.get_mut(&self.hash) else { return };
        while count(others) > most {
            waiting.extend(others.pop());
        }
        others.retain(|other| !other.is_closed());
        while count(others) < most
            && let Some(other) = waiting.pop_front()
        {
            others.push(other);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(next) = self.uses.next(&self.hash) {
            // If it has gone, this one is dropped in its place, and looks for the next.
            let _ = next.send(Turn::Write(Self { uses: self.uses.clone(), hash: std::mem::take(&mut self.hash) }));
        }
    }
}

fn count(others: &[Waiting]) -> u64 {
    u64::try_from(others.len()).unwrap_or(u64::MAX)
}
