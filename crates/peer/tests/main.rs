//! Two ends of a link over loopback.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate; the lints know only test functions")]

use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_barrier::peer::{Endpoint, Inbox, PeerError, PeerLink, PeerNet};
use holdfast_peer::TlsNet;
use holdfast_secret::SecretBytes;
use parking_lot::Mutex;

/// Answers with what came, and remembers from whom.
#[derive(Default)]
struct Echo(Mutex<Vec<String>>);

impl Inbox for Echo {
    fn receive(&self, fingerprint: &str, message: &[u8]) -> Bytes {
        self.0.lock().push(fingerprint.to_owned());
        Bytes::copy_from_slice(message)
    }
}

async fn open(secret: u8) -> (Arc<dyn PeerLink>, Arc<Echo>) {
    let bind = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let echo = Arc::new(Echo::default());
    let net = TlsNet { bind, advertised: bind.to_string() };
    (net.open(&SecretBytes::new([secret; 32]), echo.clone()).await.unwrap(), echo)
}

#[tokio::test]
async fn messages_are_answered_and_both_know_whom_they_talk_to() {
    let ((a, _), (b, at_b)) = (open(1).await, open(1).await);
    for message in ["one", "two", ""] {
        assert_eq!(a.call(&b.endpoint(), Bytes::from(message)).await.unwrap(), message);
    }
    assert_eq!(*at_b.0.lock(), vec![a.endpoint().key; 3]);
    b.close();
    // The connection that there was ends with it.
    assert!(matches!(a.call(&b.endpoint(), Bytes::new()).await, Err(PeerError::Unreachable { .. })));
    assert!(matches!(a.call(&b.endpoint(), Bytes::new()).await, Err(PeerError::Unreachable { .. })));
}

#[tokio::test]
async fn who_does_not_have_the_keys_is_not_talked_to() {
    let ((a, at_a), (stranger, at_stranger)) = (open(1).await, open(2).await);
    assert!(a.call(&stranger.endpoint(), Bytes::from("m")).await.is_err());
    assert!(stranger.call(&a.endpoint(), Bytes::from("m")).await.is_err());
    assert!(at_a.0.lock().is_empty() && at_stranger.0.lock().is_empty());
}

#[tokio::test]
async fn who_has_the_keys_but_is_another_is_not_talked_to() {
    let ((a, _), (b, at_b)) = (open(1).await, open(1).await);
    let wrong = Endpoint { key: a.endpoint().key, ..b.endpoint() };
    assert!(matches!(a.call(&wrong, Bytes::from("m")).await, Err(PeerError::Stranger { .. })));
    assert!(at_b.0.lock().is_empty());
}
