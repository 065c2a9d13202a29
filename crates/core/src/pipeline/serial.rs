//! The serial number of a client certificate, for the audit log.

/// As Vault writes it: `0a:1b:…`. Empty if there is no certificate, or none that can be read.
pub fn serial(certificates: &[Vec<u8>]) -> String {
    let number = certificates.first().and_then(|der| integer(der)).unwrap_or_default();
    number.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version OPTIONAL, serialNumber INTEGER, … } … }` (RFC 5280 §4.1).
fn integer(der: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(der)?;
    let (_, body, _) = element(certificate)?;
    let (tag, content, rest) = element(body)?;
    let (tag, content) = match tag {
        0xa0 => element(rest).map(|(tag, content, _)| (tag, content))?,
        _ => (tag, content),
    };
    // A zero in front only keeps the number from being negative.
    (tag == 0x02).then(|| if content.len() > 1 { content.strip_prefix(&[0]).unwrap_or(content) } else { content })
}

/// Tag, content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_refused() {
        let der = [0x30, 0x0d, 0x30, 0x0b, 0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x04, 0x00, 0x9a, 0x0b, 0x01];
        assert_eq!(serial(&[der.to_vec()]), "9a:0b:01");
        assert_eq!(serial(&[]), "");
        for end in 0..der.len() {
            assert_eq!(serial(&[der[..end].to_vec()]), "");
        }
    }
}
