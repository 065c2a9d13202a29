//! The engine as the core drives it, over a barrier on memory storage.

mod mount;
mod v1;
mod v2;
