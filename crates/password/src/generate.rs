//! Drawing passwords.

use holdfast_base::Entropy;
use holdfast_secret::SecretString;

use crate::{Error, Policy};

/// Passwords that are drawn before it is given up: about 10 ms of work for the longest.
const DRAWS: usize = 4096;

/// Passwords that a policy must make when it is written, each with a share of the draws: then the chance that a
/// password is not found later is beyond all bounds.
const TRIALS: usize = 32;

impl Policy {
    /// A password. Every one that the policy allows is equally likely.
    pub fn generate(&self, entropy: &dyn Entropy) -> Result<SecretString, Error> {
        self.draw(entropy, DRAWS)
    }

    pub(crate) fn try_out(&self, entropy: &dyn Entropy) -> Result<(), Error> {
        (0..TRIALS).try_for_each(|_| self.draw(entropy, DRAWS / TRIALS).map(drop))
    }

    fn draw(&self, entropy: &dyn Entropy, draws: usize) -> Result<SecretString, Error> {
        let mut random = Random::new(entropy);
        for _ in 0..draws {
            let password =
                Candidate((0..self.length).map(|_| self.alphabet[random.below(self.alphabet.len())]).collect());
            if self.rules.iter().all(|rule| rule.holds(&password.0)) {
                return Ok(SecretString::new(password.0.iter().collect::<String>()));
            }
        }
        Err(Error::Strict)
    }
}

/// A candidate; overwritten when it is dropped.
struct Candidate(Vec<char>);

impl Drop for Candidate {
    fn drop(&mut self) {
        self.0.fill('\0');
        std::hint::black_box(&self.0);
    }
}

/// Random numbers out of an [`Entropy`], read in pieces.
struct Random<'e> {
    entropy: &'e dyn Entropy,
    buffer: [u8; 256],
    at: usize,
}

impl<'e> Random<'e> {
    fn new(entropy: &'e dyn Entropy) -> Self {
        Self { entropy, buffer: [0; 256], at: 256 }
    }

    fn word(&mut self) -> u32 {
        if self.at == self.buffer.len() {
            self.entropy.fill(&mut self.buffer);
            self.at = 0;
        }
        let word = self.buffer[self.at..].first_chunk().copied().unwrap_or_default();
        self.at += 4;
        u32::from_le_bytes(word)
    }

    /// A number below `bound`, each equally likely: what would favour the small ones is drawn again.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u32::try_from(bound).unwrap_or(u32::MAX).max(1);
        let unfair = u32::MAX - (u32::MAX % bound + 1) % bound;
        loop {
            let word = self.word();
            if word <= unfair {
                return (word % bound) as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_policy_makes_what_vault_makes() {
        let password = Policy::default().generate(&SeededEntropy::new(1)).unwrap();
        assert_eq!(password.expose().len(), 20);
        assert!(Policy::default().allows(password.expose()));
        assert!(password.expose().contains('-'));
    }

    #[test]
    fn every_character_is_equally_likely() {
        let policy = Policy::parse("length = 100\nrule \"charset\" { charset = \"abc\" }").unwrap();
        let entropy = SeededEntropy::new(7);
        let mut counts = [0u32; 3];
        for _ in 0..300 {
            for byte in policy.generate(&entropy).unwrap().expose().bytes() {
                counts[usize::from(byte - b'a')] += 1;
            }
        }
        // 30,000 draws: the standard deviation is 82; a biased draw of one byte in three would be off by thousands.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
    }

    proptest! {
        #[test]
        fn every_password_obeys_its_policy(
            length in 4usize..=100, sets in prop::collection::vec(("[a-zA-Z0-9äß€!-]{1,40}", 0usize..4), 1..5), seed: u64,
        ) {
            let rules: String = sets
                .iter()
                .map(|(set, least)| format!("rule \"charset\" {{\n charset = \"{set}\"\n min-chars = {least}\n}}\n"))
                .collect();
            if let Ok(policy) = Policy::parse(&format!("length = {length}\n{rules}")) {
                let password = policy.generate(&SeededEntropy::new(seed)).unwrap();
                prop_assert!(policy.allows(password.expose()));
                prop_assert_eq!(password.expose().chars().count(), length);
            }
        }
    }
}
