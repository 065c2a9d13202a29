//! From the path of a URL to the path of a request: decoded exactly once, and sane.
//!
//! Policy, router and storage all see the text that comes out of here and nothing else, so that an encoded slash or dot
//! cannot mean one thing to one of them and another to the next.

use holdfast_core::raw::is_plain;

use crate::request::Reject;

/// Longest path, decoded; encoded it may be three times as long.
const MOST_BYTES: usize = 1024;

/// Decodes what follows `/v1/`. Runs of slashes count as one, as Go's mux (which Vault's clients expect) makes of them.
/// Refuses text that is not UTF-8, characters that cannot be printed, and segments `.` and `..`.
pub fn decode(encoded: &str) -> Result<String, Reject> {
    match encoded.len() <= MOST_BYTES && is_plain(encoded) {
        true => Ok(encoded.to_owned()),
        false => decode_odd(encoded),
    }
}

fn decode_odd(encoded: &str) -> Result<String, Reject> {
    let too_long = || Reject::new(414, format!("the path is longer than {MOST_BYTES} bytes"));
    if encoded.len() > 3 * MOST_BYTES {
        return Err(too_long());
    }
    let bytes = percent_decode(encoded.as_bytes(), false)
        .ok_or_else(|| Reject::bad("the path has a percent sign without two hexadecimal digits after it"))?;
    if bytes.len() > MOST_BYTES {
        return Err(too_long());
    }
    let text = String::from_utf8(bytes).map_err(|_| Reject::bad("the path is not UTF-8"))?;
    if text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}'))
    {
        return Err(Reject::bad("path must not contain non-printable characters"));
    }
    let mut path = String::with_capacity(text.len());
    for (index, segment) in text.split('/').enumerate() {
        if matches!(segment, "." | "..") {
            return Err(Reject::bad("relative paths not supported"));
        }
        if index > 0 && !path.ends_with('/') && !path.is_empty() {
            path.push('/');
        }
        path.push_str(segment);
    }
    Ok(path)
}

/// Decodes `%XX`, and `+` as a space where `form` says so. `None` for a broken escape.
pub(crate) fn percent_decode(encoded: &[u8], form: bool) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (digit(*bytes.next()?)? << 4) | digit(*bytes.next()?)?,
            b'+' if form => b' ',
            byte => *byte,
        });
    }
    Some(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A path in its one form.
    fn canonical() -> impl Strategy<Value = String> {
        let segment =
            "[a-zA-Z0-9_ ~%+.\u{e9}\u{4e16}-]{1,6}".prop_filter("relative", |text| !matches!(&**text, "." | ".."));
        let end = prop::sample::select(vec!["", "/"]);
        (prop::collection::vec(segment, 1..5), end).prop_map(|(segments, end)| segments.join("/") + end)
    }

    /// How the characters of a path are written: plain or escaped, with small or capital digits, slashes once or more.
    fn choices() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 1..40)
    }

    fn spell(text: &str, choices: &[u8]) -> String {
        let mut choices = choices.iter().cycle().copied();
        let mut spelled = String::new();
        for character in text.chars() {
            let choice = choices.next().unwrap_or_default();
            let times = if character == '/' { 1 + choice / 4 % 3 } else { 1 };
            for time in 0..times {
                match choice.rotate_right(u32::from(time)) % 4 {
                    0 => spelled.push_str(&escaped(character.encode_utf8(&mut [0; 4])).to_lowercase()),
                    1 => spelled.push_str(&escaped(character.encode_utf8(&mut [0; 4]))),
                    _ if character == '%' => spelled.push_str("%25"),
                    _ => spelled.push(character),
                }
            }
        }
        spelled
    }

    /// With every byte escaped, so that what was decoded is not taken for an escape again.
    fn escaped(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn every_spelling_of_a_path_is_that_path(path in canonical(), choices in choices()) {
            let spelled = spell(&path, &choices);
            prop_assert_eq!(decode(&spelled).map_err(|reject| reject.message), Ok(path), "{}", spelled);
        }

        #[test]
        fn cve_2026_3605_no_spelling_of_a_relative_path_is_let_through(
            path in canonical(), dots in prop::sample::select(vec![".", ".."]), at: prop::sample::Index, choices in choices(),
        ) {
            let mut segments: Vec<&str> = path.split('/').collect();
            segments.insert(at.index(segments.len() + 1), dots);
            let spelled = spell(&segments.join("/"), &choices);
            prop_assert_eq!(decode(&spelled).map_err(|reject| reject.status), Err(400), "{}", spelled);
        }

        #[test]
        fn a_plain_path_is_what_it_stands_for(encoded in "[ab_/.%+ -]{0,10}") {
            if is_plain(&encoded) {
                prop_assert_eq!(decode_odd(&encoded).map_err(|reject| reject.message), Ok(encoded));
            }
        }

        #[test]
        fn what_is_let_through_has_one_form(encoded in "(/|%2[fF]|\\.|%2[eE]|[ab%]|%25|%[0-9a-f]{2}|\\PC){0,16}") {
            match decode(&encoded) {
                Err(reject) => prop_assert_eq!(reject.status, 400, "{}", encoded),
                Ok(path) => {
                    prop_assert!(!path.contains("//") && !path.starts_with('/'), "{:?}", path);
                    prop_assert!(path.split('/').all(|segment| !matches!(segment, "." | "..")), "{:?}", path);
                    prop_assert!(!path.chars().any(char::is_control), "{:?}", path);
                    prop_assert_eq!(&decode(&escaped(&path)).unwrap(), &path);
                    if !path.contains('%') {
                        prop_assert_eq!(&decode(&path).unwrap(), &path);
                    }
                }
            }
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        for (encoded, expected) in [
            ("secret/data/a%20b", "secret/data/a b"),
            ("secret/a%2Fb", "secret/a/b"),
            ("secret/a%252Fb", "secret/a%2Fb"),
            ("secret/%C3%BC", "secret/ü"),
            ("secret/a+b", "secret/a+b"),
            ("secret//a///b", "secret/a/b"),
            ("/secret/a", "secret/a"),
            ("secret/a/", "secret/a/"),
            ("secret/a..b", "secret/a..b"),
            ("", ""),
        ] {
            assert_eq!(decode(encoded).unwrap(), expected, "{encoded}");
        }
    }

    #[test]
    fn a_path_has_a_length() {
        for (path, fits) in [("a".repeat(1023), true), ("a".repeat(1024), true), ("a".repeat(1025), false)] {
            let status = decode(&path).map_err(|reject| reject.status);
            assert_eq!(status.is_ok(), fits, "{}", path.len());
            assert!(fits || status == Err(414));
        }
        assert!(decode(&"%61".repeat(1024)).is_ok());
        assert_eq!(decode(&"%61".repeat(1025)).unwrap_err().status, 414);
    }

    #[test]
    fn an_insane_path_is_refused() {
        for encoded in
            ["a/../b", "a/%2e%2e/b", "a/./b", "a/%2e", "..", "a%00b", "a%0Ab", "a%E2%80%8Bb", "a%ffb", "a%2", "a%zz"]
        {
            assert_eq!(decode(encoded).unwrap_err().status, 400, "{encoded}");
        }
    }
}
