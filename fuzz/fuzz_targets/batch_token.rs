//! Batch tokens: no text is one, what was sealed comes back as it was, and an id with another letter in it is nobody's.
#![no_main]

use holdfast_base::SeededEntropy;
use holdfast_core::token::{BatchKey, Token};
use holdfast_secret::{SecretBytes, SecretString};
use serde_json::json;

/// Id; namespace, names and metadata of a token; where its id is changed and to what.
type Input<'a> = (&'a str, (bool, u8, Vec<String>, Vec<(String, String)>, u32), (u16, u8));

libfuzzer_sys::fuzz_target!(|input: Input<'_>| {
    let (text, (below, seed, names, metadata, life), (at, to)) = input;
    let key = BatchKey::new(&SecretBytes::new([1; 32]), "here");
    for id in [text.to_owned(), format!("hvb.{text}")] {
        assert!(key.open(&SecretString::new(id)).is_none(), "a forged token: {text:?}");
    }

    let name = |at: usize| names.get(at).cloned().unwrap_or_default();
    let token = json!({
        "accessor": "", "namespace": if below { "abc123" } else { "root" }, "parent": names.first(), "policies": names,
        "path": name(1), "metadata": std::collections::BTreeMap::from_iter(metadata), "display_name": name(2),
        "created": "2026-01-01T00:00:00Z", "creation_ttl": 0, "expires": end(life), "explicit_max_ttl": 0, "period": 0,
        "renewable": false, "bound_cidrs": [], "entity_id": name(3), "role": name(4), "mount": name(5),
    });
    let token: Token = serde_json::from_value(token).expect("a token");
    let Ok(id) = key.seal(&token, &SeededEntropy::new(seed.into())) else { return };
    let found = key.open(&id).expect("what was sealed");
    assert!(found.batch && found.creation_ttl == u64::from(life), "{found:?}");
    assert_eq!((&found.namespace, &found.parent, &found.policies), (&token.namespace, &token.parent, &token.policies));
    assert_eq!((&found.path, &found.metadata, &found.mount), (&token.path, &token.metadata, &token.mount));
    assert_eq!((&found.role, &found.entity_id, found.expires), (&token.role, &token.entity_id, token.expires));
    assert!(BatchKey::new(&SecretBytes::new([1; 32]), "there").open(&id).is_none(), "another cluster's");
    assert!(BatchKey::new(&SecretBytes::new([2; 32]), "here").open(&id).is_none(), "another key's");

    let mut changed: Vec<char> = id.expose().chars().collect();
    let at = usize::from(at) % changed.len();
    let to = char::from(to);
    if changed[at] != to {
        changed[at] = to;
        let changed: String = changed.into_iter().collect();
        assert!(key.open(&SecretString::new(changed.as_str())).is_none(), "{changed:?} for {:?}", id.expose());
    }
});

fn end(life: u32) -> String {
    let start: holdfast_base::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    (start + std::time::Duration::from_secs(life.into())).to_string()
}
