//! Reads of single keys that come together travel together.
//!
//! A call costs etcd, and us, more than what it reads. So who comes while a call is under way waits for it, a moment at
//! most, and then goes with all others who came meanwhile, as ranges of one transaction that only reads. A read that
//! comes alone is sent at once, as a range.

use std::sync::Arc;
use std::time::Duration;

use holdfast_storage::Error;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::proto::etcdserverpb as pb;
use crate::wire::revision;

/// At most so many in one call: with values of the largest size the answer is below what is taken from etcd.
const TOGETHER: usize = 32;
/// Longest wait for the call before.
const HELD_UP: Duration = Duration::from_millis(5);

type Answer = Result<pb::RangeResponse, Error>;

/// Those who wait for a call of theirs.
#[derive(Default)]
pub struct Gather(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Somebody sends calls for all who wait.
    served: bool,
    reads: Vec<Read>,
}

struct Read {
    range: pb::RangeRequest,
    answer: oneshot::Sender<Answer>,
}

impl Gather {
    /// Reads one key.
    pub async fn read(self: &Arc<Self>, connection: &Arc<Connection>, range: pb::RangeRequest) -> Answer {
        let (answer, read) = oneshot::channel();
        let start = {
            let mut waiting = self.0.lock();
            waiting.reads.push(Read { range, answer });
            !std::mem::replace(&mut waiting.served, true)
        };
        if start {
            tokio::spawn(serve(self.clone(), connection.clone()));
        }
        read.await.unwrap_or_else(|_| Err(Error::Unknown("the read was given up".to_owned())))
    }

    /// Who goes next; nobody: who asks serves no more.
    fn next(&self) -> Vec<Read> {
        let mut waiting = self.0.lock();
        waiting.reads.retain(|read| !read.answer.is_closed());
        let many = waiting.reads.len().min(TOGETHER);
        waiting.served = many > 0;
        waiting.reads.drain(..many).collect()
    }
}

/// Ends the waits of those who are left when the runtime that serves them ends: they ask again.
struct Serving<'a>(&'a Gather);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.0.lock();
        waiting.served = false;
        waiting.reads.clear();
    }
}

async fn serve(gather: Arc<Gather>, connection: Arc<Connection>) {
    let serving = Serving(&gather);
    loop {
        let reads = gather.next();
        if reads.is_empty() {
            // Somebody else may serve already.
            std::mem::forget(serving);
            return;
        }
        let mut call = Box::pin(ask(connection.clone(), reads));
        if tokio::time::timeout(HELD_UP, &mut call).await.is_err() {
            tokio::spawn(call);
        }
    }
}

async fn ask(connection: Arc<Connection>, reads: Vec<Read>) {
    if reads.len() > 1 {
        match together(&connection, &reads).await {
            Ok(answers) if answers.len() == reads.len() => {
                for (read, answer) in reads.into_iter().zip(answers) {
                    // Whoever waits no more has dropped the other end.
                    let _ = read.answer.send(Ok(answer));
                }
                return;
            }
            Err(error @ (Error::Unknown(_) | Error::Unreachable(_))) => {
                for read in reads {
                    let _ = read.answer.send(Err(error.clone()));
                }
                return;
            }
            // What is wrong with one, such as a revision that is compacted, is not wrong with all.
            _ => {}
        }
    }
    let alone = reads.into_iter().map(|read| async {
        let answer = connection.range(read.range).await;
        let _ = read.answer.send(answer);
    });
    futures::future::join_all(alone).await;
}

/// The answers to all, in their order.
async fn together(connection: &Connection, reads: &[Read]) -> Result<Vec<pb::RangeResponse>, Error> {
    let ops = reads
        .iter()
        .map(|read| pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(read.range.clone())) });
    let txn = pb::TxnRequest { success: ops.collect(), ..pb::TxnRequest::default() };
    let reply = connection
        .read(|mut client| {
            let txn = txn.clone();
            async move { client.kv().txn(client.request(txn)).await }
        })
        .await?;
    let header = reply.header.filter(|header| revision(Some(header)) > 0);
    let answers = reply.responses.into_iter().filter_map(|op| match op.response {
        Some(pb::response_op::Response::ResponseRange(range)) => Some(pb::RangeResponse { header, ..range }),
        _ => None,
    });
    Ok(answers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[tokio::test]
    async fn who_is_left_when_a_runtime_ends_asks_again_and_is_served() {
        let config = Config { endpoints: vec!["http://127.0.0.1:1".to_owned()], ..Config::default() };
        let connection = Arc::new(Connection::new(config).unwrap());
        let gather = Arc::new(Gather::default());
        let reads = (0..=TOGETHER).map(|_| {
            let (answer, read) = oneshot::channel();
            gather.0.lock().reads.push(Read { range: pb::RangeRequest::default(), answer });
            read
        });
        let reads: Vec<_> = reads.collect();
        gather.0.lock().served = true;
        let mut serving = Box::pin(serve(gather.clone(), connection.clone()));
        assert!(futures::poll!(&mut serving).is_pending());
        drop(serving);
        for read in reads {
            assert!(read.await.is_err());
        }
        let again = gather.read(&connection, pb::RangeRequest::default()).await;
        assert!(matches!(again, Err(Error::Unreachable(_))), "{again:?}");
    }
}
