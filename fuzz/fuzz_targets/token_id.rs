//! Token ids: nobody guesses one with a MAC, and no text makes the check fall over.
#![no_main]

use holdfast_core::token::IdKeys;
use holdfast_secret::SecretBytes;

libfuzzer_sys::fuzz_target!(|id: &str| {
    let keys = IdKeys::new(SecretBytes::new(vec![1; 32]), SecretBytes::new(vec![2; 32]));
    // What follows the last dot is the namespace.
    let text = id.strip_prefix("hvs.").map(|text| text.rsplit_once('.').map_or(text, |(own, _)| own));
    assert!(!(text.is_some_and(|text| text.len() == 88) && keys.plausible(id)), "a forged MAC: {id:?}");
    assert_eq!(keys.hash(id), keys.hash(id));
});
