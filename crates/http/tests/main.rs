//! The listener over real sockets: TLS with and without client certificates, reload, limits, deadlines, draining.

mod fixture;
mod limits;
mod tls;
