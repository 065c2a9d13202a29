//! Who is behind the tokens: entities, their aliases at the auth methods, groups, and identity tokens (Vault API:
//! `identity/`).
//!
//! Each namespace has one [`Identity`], mounted at `identity/`. Everything that must be unique is a key that is compared
//! in the transaction that makes it, so replicas never disagree; see [`keys`](crate::keys) for the layout. The core asks
//! [`Identity::standing`] with every request of a token that has an entity, and [`Identity::login`] with every login;
//! both cost a read or two from the cache of the barrier unless something changed.

mod alias;
mod aliases;
mod engine;
mod entities;
mod entity;
mod fault;
mod group;
mod group_aliases;
mod groups;
mod index;
mod keys;
mod login;
mod lookup;
mod merge;
mod metadata;
mod mounts;
mod oidc;
mod paths;
mod standing;
mod store;
mod tidy;

pub use alias::Alias;
pub use entity::{Entity, NamedGroups};
pub use group::{Group, GroupKind};
pub use login::Login;
pub use metadata::NAME as LONGEST_NAME;
pub use mounts::{AuthMount, AuthMounts};
pub use standing::Standing;
pub use store::{Identity, IdentityParts};
