//! Identifiers drawn from an [`Entropy`].

use crate::Entropy;

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `length` characters of base62, each equally likely (bytes of 248 and above are drawn again).
pub fn base62(entropy: &dyn Entropy, length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut buffer = [0u8; 32];
    while text.len() < length {
        entropy.fill(&mut buffer);
        for byte in buffer.iter().filter(|byte| **byte < 248) {
            if text.len() == length {
                break;
            }
            text.push(char::from(BASE62[usize::from(byte % 62)]));
        }
    }
    text
}

/// A character of base62 for each byte; not quite equally likely, and always the same for the same bytes.
pub fn base62_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(BASE62[usize::from(byte % 62)])).collect()
}

/// A version 4 UUID (RFC 9562) in its usual text form.
pub fn uuid(entropy: &dyn Entropy) -> String {
    let mut bytes = [0u8; 16];
    entropy.fill(&mut bytes);
    uuid_of(bytes)
}

/// The same for something that everybody is told, such as a request: see [`Entropy::fill_public`].
pub fn public_uuid(entropy: &dyn Entropy) -> String {
    let mut bytes = [0u8; 16];
    entropy.fill_public(&mut bytes);
    uuid_of(bytes)
}

fn uuid_of(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0x0f] {
            text.push(char::from(HEX[usize::from(digit)]));
        }
    }
    text
}

/// `bytes` random bytes in lower-case hexadecimal.
pub fn hex(entropy: &dyn Entropy, bytes: usize) -> String {
    let mut buffer = vec![0u8; bytes];
    entropy.fill(&mut buffer);
    buffer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn base62_has_the_length_asked_for_and_only_its_alphabet() {
        let text = base62(&SeededEntropy::new(1), 95);
        assert_eq!(text.len(), 95);
        assert!(text.bytes().all(|byte| BASE62.contains(&byte)));
    }

    #[test]
    fn uuid_carries_version_and_variant() {
        let id = uuid(&SeededEntropy::new(7));
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]));
        assert_eq!(uuid_of([0xab; 16]), "abababab-abab-4bab-abab-abababababab");
    }
}
