//! Key shares: any shares are combined or refused; what was split comes back.
#![no_main]

use holdfast_secret::SecretBytes;

libfuzzer_sys::fuzz_target!(|input: Vec<Vec<u8>>| {
    let shares: Vec<SecretBytes> = input.into_iter().map(SecretBytes::new).collect();
    let _ = holdfast_shamir::combine(&shares);
});
