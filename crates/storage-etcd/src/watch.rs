//! One watch on one stream: fragments put together, revisions told whole and in order.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use holdfast_storage::{Error, Event, Revision, Update, Watch, after_prefix};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Status, Streaming};

use crate::choice::{Choice, Question, SILENT};
use crate::connection::Connection;
use crate::proto::etcdserverpb as pb;
use crate::wire::{Wire, revision};
use crate::{DEADLINE, outcome};
use pb::watch_request::RequestUnion;

/// Starts a watch at the preferred endpoint.
pub async fn start(connection: &Connection, wire: &Wire, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
    let at = connection.choice.preferred();
    match open(connection, at, wire, prefix, from).await {
        Err(error @ (Error::Failed(_) | Error::Unknown(_) | Error::Unreachable(_))) => {
            connection.choice.leave(at);
            Err(error)
        }
        other => other,
    }
}

async fn open(connection: &Connection, at: usize, wire: &Wire, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
    let (requests, outgoing) = mpsc::channel(4);
    let create = RequestUnion::CreateRequest(create_request(wire, prefix, from));
    // The channel was made a moment ago and is empty.
    let _ = requests.try_send(pb::WatchRequest { request_union: Some(create) });
    let client = connection.watch_client(at);
    let mut request = client.request(ReceiverStream::new(outgoing));
    // A member that has lost its leader ends the stream instead of going silent.
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    let mut watch = client.watch();
    let patience = if connection.choice.is_alone() { DEADLINE } else { SILENT };
    let opened = tokio::time::timeout(patience, watch.watch(request)).await;
    let responses = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return Err(outcome::sort(&status)),
        Err(_) => return Err(Error::Failed("the watch was not opened in time".to_owned())),
    };
    let question = Arc::new(Question::default());
    let assembly = Assembly {
        wire: wire.clone(),
        responses,
        at,
        silent: connection.choice.falls_silent(at).boxed(),
        choice: connection.choice.clone(),
        question: question.clone(),
        parts: Vec::new(),
        ready: VecDeque::new(),
        done: false,
    };
    let updates = stream::unfold(assembly, |mut assembly| async move {
        let update = assembly.next().await?;
        Some((update, assembly))
    });
    let ask = move || {
        question.put();
        // Full: requests wait there already.
        let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        let _ = requests.try_send(pb::WatchRequest { request_union: Some(progress) });
    };
    Ok(Watch::new(updates.boxed(), Arc::new(ask)))
}

fn create_request(wire: &Wire, prefix: &[u8], from: Revision) -> pb::WatchCreateRequest {
    let key = wire.key(prefix);
    pb::WatchCreateRequest {
        range_end: after_prefix(&key),
        key: if key.is_empty() { Bytes::from_static(&[0]) } else { key },
        start_revision: from,
        progress_notify: true,
        fragment: true,
    }
}

/// Turns responses into updates.
struct Assembly {
    wire: Wire,
    responses: Streaming<pb::WatchResponse>,
    /// The member that tells it.
    at: usize,
    /// Returns when that answers nothing else.
    silent: BoxFuture<'static, ()>,
    choice: Choice,
    /// How far it is.
    question: Arc<Question>,
    /// Events of responses whose last fragment is not in.
    parts: Vec<Event>,
    ready: VecDeque<Update>,
    done: bool,
}

impl Assembly {
    async fn next(&mut self) -> Option<Result<Update, Error>> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Some(Ok(update));
            }
            if self.done {
                return None;
            }
            let message = tokio::select! {
                biased;
                message = self.responses.message() => message,
                () = &mut self.silent => Err(silent()),
                () = self.question.stays_open(), if !self.choice.is_alone() => {
                    self.choice.leave_silent(self.at);
                    Err(silent())
                }
            };
            self.question.answer();
            let taken = match message {
                Ok(Some(response)) => self.take(response),
                Ok(None) => Err(Error::Failed("etcd ended the watch".to_owned())),
                Err(status) => Err(outcome::sort(&status)),
            };
            if let Err(error) = taken {
                self.done = true;
                return Some(Err(error));
            }
        }
    }

    fn take(&mut self, response: pb::WatchResponse) -> Result<(), Error> {
        if response.canceled {
            return Err(match response.compact_revision {
                0 => Error::Failed(format!("etcd cancelled the watch: {}", response.cancel_reason)),
                compacted => Error::Compacted(compacted - 1),
            });
        }
        if response.created {
            return Ok(());
        }
        if response.events.is_empty() && self.parts.is_empty() && !response.fragment {
            self.ready.push_back(Update::Progress(revision(response.header.as_ref())));
            return Ok(());
        }
        for event in response.events {
            let event =
                self.wire.event(event).ok_or_else(|| Error::Failed("a watch event without a key".to_owned()))?;
            self.parts.push(event);
        }
        if !response.fragment {
            let events = std::mem::take(&mut self.parts);
            self.ready.extend(by_revision(events));
        }
        Ok(())
    }
}

fn silent() -> Status {
    Status::unavailable("this member of etcd has fallen silent")
}

/// Events in order of revision, one update for each.
fn by_revision(events: Vec<Event>) -> Vec<Update> {
    let mut updates: Vec<Update> = Vec::new();
    for event in events {
        let at = event.mod_revision();
        match updates.last_mut() {
            Some(Update::Revision { revision, events }) if *revision == at => events.push(event),
            _ => updates.push(Update::Revision { revision: at, events: vec![event] }),
        }
    }
    updates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_revision_stay_together() {
        let delete = |key: &'static str, mod_revision| Event::Delete { key: key.into(), mod_revision };
        let updates = by_revision(vec![delete("a", 3), delete("b", 3), delete("a", 5)]);
        assert_eq!(
            updates,
            [
                Update::Revision { revision: 3, events: vec![delete("a", 3), delete("b", 3)] },
                Update::Revision { revision: 5, events: vec![delete("a", 5)] },
            ]
        );
    }
}
