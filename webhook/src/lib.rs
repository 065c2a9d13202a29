//! The mutating webhook: pods that ask for it by annotations get the agent. A library so that tests see its parts.
//!
//! A review goes from [`serve`] through [`review`]: [`annotations`] says what the pod asks for, [`profile`] what the
//! administrator makes of it, [`mutate`] what the pod becomes. [`authority`] keeps the certificates.

pub mod annotations;
pub mod authority;
pub mod certificate;
pub mod cluster;
pub mod mutate;
pub mod profile;
pub mod review;
pub mod rules;
pub mod serve;
