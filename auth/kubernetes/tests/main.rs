//! The method against an API server that is played here, with tokens that are really signed.

mod cluster;
mod login;
mod mount;
mod settings;
