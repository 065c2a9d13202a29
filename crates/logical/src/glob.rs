//! Patterns with `*` for anything, as roles bind names with.

/// Does a pattern match the whole text? A pattern without `*` matches itself only.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, outcome) in [
            ("*", "", true),
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
            assert_eq!(matches(pattern, text), outcome, "{pattern} {text}");
        }
    }
}
