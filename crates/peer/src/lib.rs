//! Replicas talk to each other over mutual TLS 1.3, in messages of bytes that are each answered with one.
//!
//! Whoever has the keys of the barrier can vouch for a replica: the authority's key follows from them, so there is nothing to
//! distribute and nothing on any disk. Each unseal draws a new key and certificate. That alone does not make a peer: the
//! certificate's fingerprint must be the one in the member record that the peer has in the store (`holdfast_barrier::peer`).
//!
//! A message is its length (4 bytes, big endian) and its bytes. One connection carries one message at a time.

mod identity;
mod listen;
mod tls;

pub use tls::TlsNet;
