//! Shamir secret sharing over GF(256): a secret is split byte by byte into shares, any `threshold` of which give it back, and
//! fewer of which tell nothing.
//!
//! A share is as long as the secret plus one byte: the x coordinate, **last**, as in Vault. Fewer shares than the threshold
//! combine to garbage without notice; whoever combines must check the result.

mod field;

use holdfast_base::Entropy;
use holdfast_secret::SecretBytes;
use zeroize::Zeroizing;

/// Why nothing was split or combined.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Needs 2 ≤ threshold ≤ shares ≤ 255.
    #[error(
        "threshold {threshold} of {shares} shares: must be at least 2, and at most the shares, of which there are at most 255"
    )]
    Parameters {
        /// Shares asked for.
        shares: u8,
        /// Threshold asked for.
        threshold: u8,
    },
    /// There is nothing to split.
    #[error("the secret is empty")]
    EmptySecret,
    /// At least two shares are needed.
    #[error("too few shares")]
    TooFew,
    /// A share has another length than the first, or fewer than two bytes.
    #[error("the shares differ in length or are too short")]
    Length,
    /// Two shares have the same x coordinate: the same share twice.
    #[error("a share was given twice")]
    Duplicate,
    /// The x coordinate 0 would be the secret itself; nobody was given such a share.
    #[error("a share has the x coordinate 0")]
    ZeroCoordinate,
}

/// Splits a secret into `shares` shares, `threshold` of which are needed.
pub fn split(
    secret: &SecretBytes,
    shares: u8,
    threshold: u8,
    entropy: &dyn Entropy,
) -> Result<Vec<SecretBytes>, Error> {
    if threshold < 2 || threshold > shares {
        return Err(Error::Parameters { shares, threshold });
    }
    if secret.is_empty() {
        return Err(Error::EmptySecret);
    }
    let points = coordinates(shares, entropy);
    let mut outputs: Vec<Zeroizing<Vec<u8>>> =
        points.iter().map(|_| Zeroizing::new(Vec::with_capacity(secret.len() + 1))).collect();
    // One random polynomial per byte; the byte is its value at 0.
    let mut coefficients = Zeroizing::new(vec![0u8; usize::from(threshold)]);
    for byte in secret.expose() {
        entropy.fill(&mut coefficients[1..]);
        coefficients[0] = *byte;
        for (output, x) in outputs.iter_mut().zip(&points) {
            output.push(field::evaluate(&coefficients, *x));
        }
    }
    for (output, x) in outputs.iter_mut().zip(&points) {
        output.push(*x);
    }
    Ok(outputs.iter().map(|output| SecretBytes::new(output.as_slice())).collect())
}

/// Combines shares. Wrong or too few shares give wrong bytes, not an error.
pub fn combine(shares: &[SecretBytes]) -> Result<SecretBytes, Error> {
    let first = shares.first().ok_or(Error::TooFew)?;
    if shares.len() < 2 {
        return Err(Error::TooFew);
    }
    if first.len() < 2 || shares.iter().any(|share| share.len() != first.len()) {
        return Err(Error::Length);
    }
    let points: Vec<u8> = shares.iter().filter_map(|share| share.expose().last().copied()).collect();
    if points.contains(&0) {
        return Err(Error::ZeroCoordinate);
    }
    if points.iter().enumerate().any(|(at, x)| points[..at].contains(x)) {
        return Err(Error::Duplicate);
    }
    let weights: Vec<u8> = points.iter().map(|x| field::weight_at_zero(*x, &points)).collect();
    let mut secret = Zeroizing::new(Vec::with_capacity(first.len() - 1));
    for at in 0..first.len() - 1 {
        let byte = shares
            .iter()
            .zip(&weights)
            .fold(0, |sum, (share, weight)| sum ^ field::multiply(share.expose()[at], *weight));
        secret.push(byte);
    }
    Ok(SecretBytes::new(secret.as_slice()))
}

/// Different coordinates from 1 to 255 in random order. They are not secret.
fn coordinates(count: u8, entropy: &dyn Entropy) -> Vec<u8> {
    let mut points = Vec::with_capacity(usize::from(count));
    let mut byte = [0u8];
    while points.len() < usize::from(count) {
        entropy.fill(&mut byte);
        if byte[0] != 0 && !points.contains(&byte[0]) {
            points.push(byte[0]);
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;
    use proptest::prelude::*;
    use vsss_rs::Gf256;

    use super::*;

    proptest! {
        #[test]
        fn the_threshold_gives_the_secret_back(
            secret in proptest::collection::vec(any::<u8>(), 1..40), seed: u64, threshold in 2u8..8, more in 0u8..8, skip in 0usize..8,
        ) {
            let shares = split(&SecretBytes::new(&secret[..]), threshold + more, threshold, &SeededEntropy::new(seed)).unwrap();
            let skip = skip.min(usize::from(more));
            let chosen = &shares[skip..skip + usize::from(threshold)];
            let combined = combine(chosen).unwrap();
            prop_assert_eq!(combined.expose(), &secret[..]);

            // Another implementation, which has the coordinate first, agrees.
            let moved: Vec<Vec<u8>> = chosen.iter().map(|share| {
                let (x, rest) = share.expose().split_last().unwrap();
                [&[*x], rest].concat()
            }).collect();
            prop_assert_eq!(Gf256::combine_bytes(&moved[..]).unwrap(), secret);
        }

        #[test]
        fn one_share_too_few_does_not(seed: u64) {
            let secret = SecretBytes::new([0x5a; 32]);
            let shares = split(&secret, 5, 3, &SeededEntropy::new(seed)).unwrap();
            prop_assert_ne!(combine(&shares[..2]).unwrap(), secret);
        }
    }

    #[test]
    fn refuses_shares_that_are_none() {
        let shares = split(&SecretBytes::new([1; 32]), 3, 2, &SeededEntropy::new(1)).unwrap();
        assert_eq!(shares[0].len(), 33);
        assert_eq!(combine(&[shares[0].duplicate(), shares[0].duplicate()]), Err(Error::Duplicate));
        assert_eq!(combine(&[shares[0].duplicate()]), Err(Error::TooFew));
        assert_eq!(combine(&[shares[0].duplicate(), SecretBytes::new([0; 33])]), Err(Error::ZeroCoordinate));
        assert_eq!(combine(&[shares[0].duplicate(), SecretBytes::new([1; 32])]), Err(Error::Length));
    }

    #[test]
    fn refuses_parameters_that_protect_nothing() {
        for (shares, threshold) in [(3, 1), (2, 3), (0, 0), (1, 1)] {
            let error = split(&SecretBytes::new([1; 32]), shares, threshold, &SeededEntropy::new(1));
            assert_eq!(error, Err(Error::Parameters { shares, threshold }));
        }
    }

    /// How far counts of 256 equally likely values are from equal. Expected 255 with a deviation of 22.6; a coefficient that
    /// is never 0 (RUSTSEC-2024-0398) adds the expected count of one value to it, which is thousands here.
    fn chi_squared(counts: &[u32; 256]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / 256.0;
        counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
    }

    /// One less than the threshold tells nothing: whatever the secret byte is, each share's byte is anything, equally often,
    /// also beside that of another share.
    #[test]
    fn rustsec_2024_0398_fewer_shares_than_needed_are_uniform() {
        const BYTES: usize = 1 << 17;
        for (threshold, secret) in [(2, 0x00), (2, 0x5a), (3, 0xff)] {
            let entropy = SeededEntropy::new(u64::from(threshold) << 8 | u64::from(secret));
            let shares = split(&SecretBytes::new(vec![secret; BYTES]), 4, threshold, &entropy).unwrap();
            let (first, second) = (shares[0].expose(), shares[1].expose());
            let (mut alone, mut beside) = ([0u32; 256], [0u32; 256]);
            for at in 0..BYTES {
                alone[usize::from(first[at])] += 1;
                beside[usize::from(first[at] ^ second[at])] += 1;
            }
            let (alone, beside) = (chi_squared(&alone), chi_squared(&beside));
            // Five deviations either way; also too even is not random.
            let even = |chi: f64| (255.0 - 113.0..255.0 + 113.0).contains(&chi);
            assert!(even(alone), "{threshold}: {alone}");
            assert!(even(beside), "{threshold}: {beside}");
        }
    }

    /// RUSTSEC-2020-0160: the threshold is the one that was asked for, in each choice of shares.
    #[test]
    fn rustsec_2020_0160_each_choice_of_enough_shares_and_no_smaller_one_gives_the_secret() {
        let secret = SecretBytes::new(*b"a secret of more bytes");
        for count in 2..=7u8 {
            for threshold in 2..=count {
                let shares = split(&secret, count, threshold, &SeededEntropy::new(u64::from(count))).unwrap();
                for choice in 0u32..1 << count {
                    let chosen: Vec<SecretBytes> = (0..count)
                        .filter(|at| choice >> at & 1 == 1)
                        .map(|at| shares[usize::from(at)].duplicate())
                        .collect();
                    let enough = chosen.len() >= usize::from(threshold);
                    assert_eq!(
                        combine(&chosen).is_ok_and(|found| found == secret),
                        enough,
                        "{threshold} of {count}: {choice:b}"
                    );
                }
            }
        }
    }
}
