//! Policy text, the tree made of it, and the decision.
//!
//! [`Policy::parse`] reads one policy (HCL or JSON) and refuses what it does not understand. [`PolicySet::new`] compiles
//! the policies of a token once; [`PolicySet::decide`] answers a request from it, in Vault's order of priority: an exact
//! path, else the most specific pattern, and only the one stanza that was chosen counts.

mod builtin;
mod capability;
mod decision;
mod explain;
mod parameters;
mod parse;
mod pattern;
mod place;
mod set;

pub use builtin::{DEFAULT, DEFAULT_TEXT, RESPONSE_WRAPPING, RESPONSE_WRAPPING_TEXT, ROOT, is_immutable};
pub use capability::Capabilities;
pub use decision::{Decision, Reason};
pub use explain::{Explanation, LeftOut, StanzaShown};
pub use parse::{ParseError, Policy, Stanza};
pub use pattern::Pattern;
pub use place::Place;
pub use set::PolicySet;
