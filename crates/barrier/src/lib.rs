//! The encrypted key space over a `Storage`: keyring, value and name encryption, group commit, the cache that the watch
//! feeds, and [`View`], the only thing of it that plug-ins see.

mod barrier;
mod direct;
mod keyring;
mod names;
pub mod value;
pub mod view;
mod xaes;

pub use barrier::{Barrier, InitError, KeyStatus, UnsealError};
pub use view::{Check, Entry, Revision, Store, StoreError, Txn, View, Write};
