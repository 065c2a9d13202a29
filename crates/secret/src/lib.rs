//! Types for bytes and text that must never be printed.
//!
//! A value of these types is zeroed when dropped, prints as `[redacted]`, has no `Serialize`, and is compared in
//! constant time. The only way to the content is `expose`, a word that is easy to search for. Leaf crate.

use std::fmt;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Text that must not be printed: tokens, passwords, private keys in PEM.
///
/// Its `Debug` has no content; there is no other way to print, serialise, copy or compare it by accident:
/// ```
/// # use holdfast_secret::SecretString;
/// fn shown(_: impl std::fmt::Debug) {}
/// shown(SecretString::new("x"));
/// assert_eq!(format!("{:?}", SecretString::new("canary")), "[redacted]");
/// ```
/// ```compile_fail,E0277
/// # use holdfast_secret::SecretString;
/// fn shown(_: impl std::fmt::Display) {}
/// shown(SecretString::new("x"));
/// ```
/// ```compile_fail,E0277
/// # use holdfast_secret::SecretString;
/// fn written(_: impl serde::Serialize) {}
/// written(SecretString::new("x"));
/// ```
/// ```compile_fail,E0277
/// # use holdfast_secret::SecretString;
/// fn copied(_: impl Clone) {}
/// copied(SecretString::new("x"));
/// ```
/// ```compile_fail,E0308
/// # use holdfast_secret::SecretString;
/// // In the time that the content takes: GHSA-34fc-gh42-pj53.
/// let _ = SecretString::new("x") == "x";
/// ```
/// ```compile_fail,E0277
/// # use holdfast_secret::SecretString;
/// fn text(_: impl AsRef<str>) {}
/// text(SecretString::new("x"));
/// ```
#[derive(Default)]
pub struct SecretString(Zeroizing<String>);

/// Bytes that must not be printed: keys, shares, decrypted values.
///
/// As with [`SecretString`], nothing but `Debug` without content:
/// ```
/// # use holdfast_secret::SecretBytes;
/// fn shown(_: impl std::fmt::Debug) {}
/// shown(SecretBytes::new(*b"x"));
/// ```
/// ```compile_fail,E0277
/// # use holdfast_secret::SecretBytes;
/// fn shown(_: impl std::fmt::Display) {}
/// shown(SecretBytes::new(*b"x"));
/// ```
/// ```compile_fail,E0277
/// # use holdfast_secret::SecretBytes;
/// fn shown(_: impl std::fmt::LowerHex) {}
/// shown(SecretBytes::new(*b"x"));
/// ```
/// ```compile_fail,E0277
/// # use holdfast_secret::SecretBytes;
/// fn written(_: impl serde::Serialize) {}
/// written(SecretBytes::new(*b"x"));
/// ```
/// ```compile_fail,E0277
/// # use holdfast_secret::SecretBytes;
/// fn copied(_: impl Clone) {}
/// copied(SecretBytes::new(*b"x"));
/// ```
/// ```compile_fail,E0308
/// # use holdfast_secret::SecretBytes;
/// let _ = SecretBytes::new(*b"x") == b"x";
/// ```
/// ```compile_fail,E0277
/// # use holdfast_secret::SecretBytes;
/// fn bytes(_: impl AsRef<[u8]>) {}
/// bytes(SecretBytes::new(*b"x"));
/// ```
#[derive(Default)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

/// Are these the same, found out in a time that depends on the lengths only? For what guards something and is no secret
/// type: MACs, hashes, nonces, one-time passwords. Nothing else in the workspace compares such things.
pub fn same(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
    a.as_ref().ct_eq(b.as_ref()).into()
}

// === impl SecretString ===

impl SecretString {
    /// Takes the text over; the caller keeps no copy.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Every call is a place to review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A second copy, made on purpose: there is no `Clone`.
    pub fn duplicate(&self) -> Self {
        Self::new(self.0.as_str())
    }

    /// True when there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for SecretString {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        same(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl Eq for SecretString {}

impl<'de> Deserialize<'de> for SecretString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

// === impl SecretBytes ===

impl SecretBytes {
    /// Takes the bytes over; the caller keeps no copy.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves. Every call is a place to review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A second copy, made on purpose: there is no `Clone`.
    pub fn duplicate(&self) -> Self {
        Self::new(self.0.as_slice())
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Zeroes and drops the content now.
    pub fn clear(&mut self) {
        self.0.zeroize();
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        same(self.0.as_slice(), other.0.as_slice())
    }
}

impl Eq for SecretBytes {}

#[cfg(test)]
mod tests {
    use std::{
        hint::black_box,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn debug_never_shows_the_content() {
        let shown = format!("{:?} {:?}", SecretString::new("hvs.canary"), SecretBytes::new(*b"canary"));
        assert_eq!(shown, "[redacted] [redacted]");
    }

    #[test]
    fn equality_compares_the_content() {
        assert_eq!(SecretString::new("a"), SecretString::new("a"));
        assert_ne!(SecretString::new("a"), SecretString::new("ab"));
        assert_ne!(SecretBytes::new(*b"a"), SecretBytes::new(*b"b"));
    }

    /// How much longer it takes to see that the last byte differs than that the first does. Taken turn by turn, and of many
    /// turns the fastest: whatever else the machine does makes some slower and none faster.
    fn slower_at_the_end<T>(make: impl Fn(Vec<u8>) -> T, compare: impl Fn(&T, &T) -> bool) -> f64 {
        const LENGTH: usize = 1 << 16;
        let differing = |at: usize| {
            let mut bytes = vec![7; LENGTH];
            bytes[at] ^= 1;
            make(bytes)
        };
        let (whole, first, last) = (make(vec![7; LENGTH]), differing(0), differing(LENGTH - 1));
        let mut fastest = [Duration::MAX; 2];
        for _ in 0..60 {
            for (fastest, other) in fastest.iter_mut().zip([&first, &last]) {
                let begin = Instant::now();
                assert!(!compare(black_box(&whole), black_box(other)));
                *fastest = begin.elapsed().min(*fastest);
            }
        }
        fastest[1].as_secs_f64() / fastest[0].as_secs_f64().max(1e-9)
    }

    /// GHSA-34fc-gh42-pj53: a guess that is right for longer is not answered later. 64 KiB make of the nanosecond that the
    /// place of a difference would cost in a MAC something that no other process hides.
    #[test]
    fn ghsa_34fc_a_comparison_does_not_tell_where_the_difference_is() {
        let ours = [
            ("same", slower_at_the_end(|bytes| bytes, |a: &Vec<u8>, b: &Vec<u8>| same(a, b))),
            ("SecretBytes", slower_at_the_end(SecretBytes::new, SecretBytes::eq)),
            (
                "SecretString",
                slower_at_the_end(|bytes| SecretString::new(String::from_utf8(bytes).unwrap()), SecretString::eq),
            ),
        ];
        for (name, ratio) in ours {
            assert!((0.5..2.0).contains(&ratio), "{name}: {ratio}");
        }
        // What is seen if it is there: the comparison that everybody would write, and one that stops by itself.
        let library = slower_at_the_end(|bytes| bytes, Vec::eq);
        let stops = slower_at_the_end(|bytes| bytes, |a, b| a.iter().zip(b).all(|(a, b)| a == b));
        assert!(library > 4.0 && stops > 4.0, "{library} {stops}");
    }
}
