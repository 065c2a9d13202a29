//! The encrypted key space over a `Storage`: keyring, value and name encryption, group commit, the cache that the watch
//! feeds, and [`View`], the only thing of it that plug-ins see.

pub mod view;

pub use view::{Check, Entry, Revision, Store, StoreError, Txn, View, Write};
