//! Audit entries, keyed hashing, sinks and the broker that fails closed.
//!
//! The core describes a request in clear ([`RequestEntry`], [`ResponseEntry`]: not serialisable, not printable). Each
//! [`Device`] turns it into a [`Record`] with its own key ([`Hasher`]): the only way to a record, so clear text cannot
//! reach a sink. The [`Broker`] hands records to all devices and answers only when one has it safely.

mod broker;
mod device;
mod entry;
mod file;
mod hasher;
mod record;
mod sink;

pub use broker::{Broker, LogError, Stage};
pub use device::{Device, DeviceSpec, OpenError};
pub use entry::{Auth, PolicyResults, Request, RequestEntry, Response, ResponseAuth, ResponseEntry, WrapInfo};
pub use file::{FileSink, Target};
pub use hasher::Hasher;
pub use record::Record;
pub use sink::{Sink, SinkError};
