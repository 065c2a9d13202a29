//! Key shares: any shares are combined or refused; what was split comes back from any shares that are enough, in any order.
#![no_main]

use holdfast_base::SeededEntropy;
use holdfast_secret::SecretBytes;
use holdfast_shamir::{combine, split};

/// Shares from anywhere; a secret, how it is split, and where the choice of shares begins.
type Input<'a> = (Vec<Vec<u8>>, &'a [u8], (u8, u8, u64), u8);

libfuzzer_sys::fuzz_target!(|input: Input<'_>| {
    let (shares, secret, (count, threshold, seed), start) = input;
    let shares: Vec<SecretBytes> = shares.into_iter().map(SecretBytes::new).collect();
    let _ = combine(&shares);

    // Hundreds of shares take their time; one input in sixteen has them.
    let few = |shares: u8| if seed % 16 == 0 { shares } else { shares % 24 };
    let (count, threshold) = (few(count), few(threshold));
    let secret = SecretBytes::new(secret);
    let Ok(mut shares) = split(&secret, count, threshold, &SeededEntropy::new(seed)) else {
        assert!(secret.is_empty() || threshold < 2 || threshold > count, "{threshold} of {count}");
        return;
    };
    assert_eq!(shares.len(), usize::from(count));
    let start = usize::from(start) % shares.len();
    shares.rotate_left(start);
    assert_eq!(combine(&shares[..usize::from(threshold)]), Ok(secret.duplicate()), "{threshold} of {count}");
    assert_eq!(combine(&shares), Ok(secret.duplicate()), "all {count}");
    shares[0] = shares[1].duplicate();
    assert!(combine(&shares).is_err(), "a share twice");
});
