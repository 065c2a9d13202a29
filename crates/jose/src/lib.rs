//! JSON Web Tokens (RFC 7519) that are signed with public keys: what the auth methods `jwt` and `kubernetes` share.
//!
//! A token is read strictly: a member that comes twice, a critical extension, a symmetric algorithm or `none` is
//! refused, and the keys are those that the configuration leads to; what the token itself says of keys other than their
//! id is not looked at. Times, issuer and audience are the caller's.

mod cache;
mod key;
mod strict;
mod token;

pub use cache::{KeyCache, Unfetched};
pub use jsonwebtoken::Algorithm;
pub use key::{Key, KeySet};
pub use token::{Refusal, Token};
