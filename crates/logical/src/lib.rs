//! What a secret engine or an auth method is written against, and all that it may know.
//!
//! A plug-in is a [`Backend`]: a table of paths ([`PathTable`]) and a handler. It gets a [`View`] of its own storage, a
//! clock, entropy and the limits of its mount ([`Services`]); there is no way from here to the core, to another mount
//! or to the raw store.

pub mod backend;
pub mod cidr;
pub mod data;
pub mod error;
pub mod event;
pub mod fields;
pub mod name;
pub mod namespace;
pub mod passwords;
pub mod request;
pub mod response;
pub mod subject;
pub mod table;
pub mod token_fields;

pub use backend::{Backend, Factory, MountInfo, Outside, Services};
pub use data::Data;
pub use error::Error;
pub use event::Event;
pub use fields::Fields;
pub use holdfast_barrier::view::{Check, Entry, Mark, Revision, Store, StoreError, Txn, View};
pub use holdfast_base::{Clock, Entropy, Timestamp, glob};
pub use name::{PolicyName, fold};
pub use namespace::Namespace;
pub use passwords::{DefaultPasswords, Passwords};
pub use request::{Caller, Connection, Operation, PodIdentity, Request};
pub use response::{Grant, Issue, Raw, Response, TokenKind};
pub use subject::{Reference, Subject, Template, Unfilled};
pub use table::{Auth, Field, Kind, PathTable, Row};
pub use token_fields::{TokenFields, with_token_fields};
