//! The method against an issuer that is played here, with tokens that are really signed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod issuer;
mod login;
mod mount;
mod settings;
