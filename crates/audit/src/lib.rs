//! Audit entries, keyed hashing, sinks and the broker that fails closed.
//!
//! The core describes a request in clear ([`RequestEntry`], [`ResponseEntry`]: not serialisable, not printable). Each
//! [`Device`] turns it into a [`Record`] with its own key ([`Hasher`]): the only way to a record, so clear text cannot
//! reach a sink. The [`Broker`] hands records to all devices and answers only when one has it safely.
//!
//! Each device keeps a [chain](ChainSpec): what was done to its file later is found by [`Log::verify`]. What the
//! end of the file says of the time before is its [`Past`].

mod broker;
mod chain;
mod device;
mod entry;
mod file;
mod hasher;
mod past;
mod record;
mod signer;
mod sink;
mod socket;
mod syslog;
mod verify;
mod writer;

pub use broker::{Broker, LogError, Observer, Stage};
pub use chain::{CHECKPOINT_LINES, ChainId, ChainSpec, Head, MacCheck};
pub use device::{Device, DeviceSpec, OpenError};
pub use entry::{
    Auth, Header, More, PolicyResults, RawBody, Request, RequestEntry, Response, ResponseAuth, ResponseEntry, WrapInfo,
};
pub use hasher::{Hasher, Options};
pub use past::Past;
pub use record::Record;
pub use signer::{PublicKey, Signer};
pub use sink::{Sink, SinkError};
pub use verify::{ChainReport, Finding, Kind, Known, Log, Proof, Report};
