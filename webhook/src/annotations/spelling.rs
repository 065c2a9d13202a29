//! Which known annotation somebody may have meant.

/// Longer ones are not misspelt. Admission comes before validation, so a key may have as many bytes as a request.
const LONGEST: usize = 96;

/// The known key that `key` is closest to, if it is close. `exact` are whole keys; `prefixes` end with their separator
/// and are followed by a name.
pub(super) fn meant(key: &str, exact: &[&str], prefixes: &[&str]) -> Option<String> {
    if key.len() > LONGEST {
        return None;
    }
    let whole = exact.iter().map(|known| (distance(key, known), (*known).to_owned()));
    let separated = prefixes.iter().flat_map(|known| {
        let separator = known.chars().last().unwrap_or('.');
        key.match_indices(separator).map(move |(at, _)| {
            let (stem, name) = key.split_at(at + 1);
            (distance(stem, known), format!("{known}{name}"))
        })
    });
    let best = whole.chain(separated).min_by_key(|(distance, _)| *distance)?;
    (best.0 <= 3 && best.0 * 2 < key.len()).then_some(best.1)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_keys_are_proposed_and_far_ones_are_not() {
        let (exact, prefixes) = (["role", "mount-path"], ["template.", "secret."]);
        assert_eq!(meant("tempalte.db", &exact, &prefixes).as_deref(), Some("template.db"));
        assert_eq!(meant("mountpath", &exact, &prefixes).as_deref(), Some("mount-path"));
        assert_eq!(meant("something-else", &exact, &prefixes), None);
        let vault = ["agent-inject-secret-", "agent-inject-template-"];
        assert_eq!(meant("agent-inject-secrets-my-db", &[], &vault).as_deref(), Some("agent-inject-secret-my-db"));
    }

    #[test]
    fn a_key_of_a_megabyte_takes_no_time() {
        let began = std::time::Instant::now();
        assert_eq!(meant(&".".repeat(1 << 20), &["role"], &["template.", "secret."]), None);
        assert!(began.elapsed() < std::time::Duration::from_secs(5));
    }
}
