//! Tokens: who may come in, until when, and what goes when they go.
//!
//! A token is stored under a keyed hash of its id; the id itself is nowhere. Ids that this server made carry a MAC, so
//! that an invented one is refused without a look at the store. The entry at `token/id/<hash>` exists exactly as long
//! as the token is good: everything that is made for a token compares on it, and revocation removes it first.

mod api;
mod batch;
mod create;
mod entry;
mod fsck;
mod id;
mod leases;
mod new;
mod renew;
mod revoke;
mod roles;
mod store;
mod tidy;
mod uses;

pub(crate) use self::id::{hmac, is_formed};
pub use self::{
    api::NOUNS,
    entry::{Token, Wrapped, seconds_up},
    fsck::Fsck,
    leases::{AUTH, TokenLease},
    new::{Created, NewToken},
    renew::{Lifetime, auth_info},
    store::{Keys, Tokens},
};
#[cfg(feature = "fuzzing")]
pub use self::{batch::BatchKey, id::IdKeys};
