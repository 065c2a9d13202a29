//! The engine against a real PostgreSQL, which is started here.

mod connection;
mod mount;
mod postgres;
mod users;
