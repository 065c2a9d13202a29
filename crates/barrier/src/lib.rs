//! The encrypted key space over a `Storage`: keyring, value and name encryption, group commit, the cache that the watch
//! feeds, and [`View`], the only thing of it that plug-ins see.

mod barrier;
mod cache;
mod error;
mod fills;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keyring;
mod keys;
mod layout;
mod level;
mod lists;
mod names;
mod options;
pub mod peer;
mod record;
mod session;
mod value;
pub mod view;
pub mod xaes;

pub use barrier::{Barrier, Changed, Dump, HOLD, KeyStatus, RESTORE, Restore, Stored, UNTOLD};
pub use cache::Traffic;
pub use error::{InitError, UnsealError};
pub use level::Levels;
pub use options::{Options, Pulse};
pub use session::{
    Calls, Figures, FsckReport, Member, Mode, PeerStatus, SEALED, Status, look_anew, one_request, release,
};
pub use view::{Check, Decode, Entry, Mark, Revision, Shared, Store, StoreError, Txn, View, Write};
