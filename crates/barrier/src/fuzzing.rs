//! What the fuzz targets reach. Compiled for them only.

use std::sync::LazyLock;

use holdfast_base::{SeededEntropy, Timestamp};

use crate::{
    keyring::Keyring,
    value::{self, MacKey},
};

static KEYS: LazyLock<(Keyring, MacKey)> = LazyLock::new(|| {
    let keyring = Keyring::generate(&SeededEntropy::new(1), Timestamp::default());
    let mac = MacKey::new(&keyring);
    (keyring, mac)
});

/// Bytes that this barrier did not write must not open, at any path, and must not make it fall over.
pub fn open(path: &str, stored: &[u8]) {
    let (keyring, mac) = &*KEYS;
    assert!(value::decrypt(keyring, mac, path, stored).is_err(), "foreign bytes were opened");
    let _ = (value::claimed_batch(stored), value::term(stored));
    let _ = Keyring::open(&[7; 32], stored);
}
