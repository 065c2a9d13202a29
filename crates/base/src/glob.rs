//! Texts with stars.

/// Does the text match? `*` stands for any text, also none, and may stand anywhere. Takes time in proportion to the
/// product of both lengths, whatever they are.
pub fn matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // The leftmost place for each part leaves the most for those after it.
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (glob, text, expected) in [
            ("app-*", "app-orders", true),
            ("*-ro", "app-ro", true),
            ("app-*", "web", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "ab", false),
            ("kv*", "kv-v2/data-write", true),
            ("kv*/data-*", "kv-v2/data-write", true),
            ("*b*b", "b", false),
            ("*ab*ab", "abab", true),
            ("a*a", "a", false),
            ("**", "x", true),
            ("*", "shop", true),
            ("shop", "shop", true),
            ("shop", "shop-2", false),
            ("shop-*", "shop-2", true),
            ("*-2", "shop-2", true),
            ("s*p-*2", "shop-12", true),
            ("s*p", "shopx", false),
            ("ab*bc", "abc", false),
            ("", "shop", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob:?} {text:?}");
        }
    }
}
