//! Token ids: nobody guesses one with a MAC, and no text makes the check fall over.
#![no_main]

use holdfast_core::token::IdKeys;
use holdfast_secret::SecretBytes;

libfuzzer_sys::fuzz_target!(|id: &str| {
    let keys = IdKeys::new(SecretBytes::new(vec![1; 32]), SecretBytes::new(vec![2; 32]));
    assert!(!(keys.plausible(id) && id.starts_with("hvs.") && id.len() == 92), "a forged MAC: {id:?}");
    assert_eq!(keys.hash(id), keys.hash(id));
});
