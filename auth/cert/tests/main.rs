//! The method with certificates and revocation lists that are really signed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod authority;
mod crls;
mod forged;
mod login;
mod mount;
mod ocsp;
mod publisher;
mod roles;
