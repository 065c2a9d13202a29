//! Between the model of `holdfast-storage` and etcd's messages. The prefix is added and taken off here, nowhere else.

use bytes::Bytes;
use holdfast_storage::{
    Compare, Condition, Event, KeyValue, Op, OpReply, Page, Range, Revision, Txn, TxnReply, after_prefix,
};

use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;

/// Encodes and decodes below a prefix.
#[derive(Clone)]
pub struct Wire {
    prefix: Bytes,
}

impl Wire {
    /// Below this prefix.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: Bytes::copy_from_slice(prefix.as_bytes()) }
    }

    pub fn key(&self, key: &[u8]) -> Bytes {
        if self.prefix.is_empty() { Bytes::copy_from_slice(key) } else { [&self.prefix, key].concat().into() }
    }

    /// The end of a range; an end of `[0]` means the last key of ours, not of etcd.
    pub fn end(&self, end: &[u8]) -> Bytes {
        if end == [0] { after_prefix(&self.prefix) } else { self.key(end) }
    }

    pub fn range(&self, range: &Range) -> pb::RangeRequest {
        let key = self.key(&range.start);
        pb::RangeRequest {
            // etcd has no empty keys; 0 is its first.
            key: if key.is_empty() { Bytes::from_static(&[0]) } else { key },
            range_end: range.end.as_ref().map(|end| self.end(end)).unwrap_or_default(),
            limit: i64::try_from(range.limit).unwrap_or(i64::MAX),
            revision: range.at.unwrap_or(0),
            serializable: range.at.is_some(),
            keys_only: range.keys_only,
            count_only: false,
        }
    }

    pub fn page(&self, response: pb::RangeResponse) -> Page {
        Page {
            revision: revision(response.header.as_ref()),
            items: response.kvs.into_iter().map(|item| self.item(item)).collect(),
            more: response.more,
        }
    }

    pub fn txn(&self, txn: &Txn) -> pb::TxnRequest {
        pb::TxnRequest {
            compare: txn.compares.iter().map(|compare| self.compare(compare)).collect(),
            success: txn.then.iter().map(|op| self.op(op)).collect(),
            failure: txn.otherwise.iter().map(|op| self.op(op)).collect(),
        }
    }

    pub fn reply(&self, response: pb::TxnResponse) -> TxnReply {
        TxnReply {
            revision: revision(response.header.as_ref()),
            succeeded: response.succeeded,
            replies: response.responses.into_iter().filter_map(|op| op.response).map(|op| self.op_reply(op)).collect(),
        }
    }

    pub fn event(&self, event: mvccpb::Event) -> Option<Event> {
        let deleted = event.r#type() == mvccpb::event::EventType::Delete;
        let item = self.item(event.kv?);
        Some(match deleted {
            true => Event::Delete { key: item.key, mod_revision: item.mod_revision },
            false => Event::Put(item),
        })
    }

    fn item(&self, item: mvccpb::KeyValue) -> KeyValue {
        KeyValue {
            key: if item.key.starts_with(&self.prefix) { item.key.slice(self.prefix.len()..) } else { item.key },
            value: item.value,
            create_revision: item.create_revision,
            mod_revision: item.mod_revision,
        }
    }

    fn compare(&self, compare: &Compare) -> pb::Compare {
        let (result, target, union) = match compare.condition {
            Condition::Absent => (CompareResult::Equal, CompareTarget::Create, TargetUnion::CreateRevision(0)),
            Condition::Exists => (CompareResult::NotEqual, CompareTarget::Create, TargetUnion::CreateRevision(0)),
            Condition::ModRevision(at) => (CompareResult::Equal, CompareTarget::Mod, TargetUnion::ModRevision(at)),
        };
        pb::Compare {
            result: result.into(),
            target: target.into(),
            key: self.key(&compare.key),
            target_union: Some(union),
        }
    }

    fn op(&self, op: &Op) -> pb::RequestOp {
        let request = match op {
            Op::Put { key, value } => Request::RequestPut(pb::PutRequest { key: self.key(key), value: value.clone() }),
            Op::Delete { key } => Request::RequestDeleteRange(pb::DeleteRangeRequest { key: self.key(key) }),
            Op::Get { key } => Request::RequestRange(self.range(&Range::key(key.clone()))),
            Op::Txn(txn) => Request::RequestTxn(self.txn(txn)),
        };
        pb::RequestOp { request: Some(request) }
    }

    fn op_reply(&self, response: Response) -> OpReply {
        match response {
            Response::ResponsePut(_) => OpReply::Put,
            Response::ResponseDeleteRange(reply) => OpReply::Delete(reply.deleted > 0),
            Response::ResponseRange(reply) => OpReply::Get(self.page(reply).items.into_iter().next()),
            Response::ResponseTxn(reply) => OpReply::Txn(self.reply(reply)),
        }
    }
}

/// The store's revision in a header.
pub fn revision(header: Option<&pb::ResponseHeader>) -> Revision {
    header.map_or(0, |header| header.revision)
}
