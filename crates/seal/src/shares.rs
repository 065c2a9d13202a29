//! The Shamir seal: the root key exists in shares that people hold, and a [`Collector`] gathers them.

use async_trait::async_trait;
use holdfast_base::Entropy;
use holdfast_secret::SecretBytes;
use zeroize::Zeroize;

use crate::{Error, ROOT_KEY, Seal};

/// No stored key: each start waits for people.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShamirSeal;

/// Into how many shares a root key is split, and how many are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareConfig {
    shares: u8,
    threshold: u8,
}

/// Gathers shares until there are enough. Pure: whether the result is the right key, the barrier says.
#[derive(Debug)]
pub struct Collector {
    threshold: u8,
    shares: Vec<SecretBytes>,
}

/// Where a collection stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many are there; more are needed.
    Waiting(u8),
    /// Enough: the key, not yet proved right. The shares are dropped.
    Complete(SecretBytes),
}

#[async_trait]
impl Seal for ShamirSeal {
    fn kind(&self) -> &'static str {
        crate::SHAMIR
    }

    fn stored_keys(&self) -> bool {
        false
    }

    async fn wrap(&self, _: &SecretBytes) -> Result<Vec<u8>, Error> {
        Err(Error::NoStoredKey)
    }

    async fn unwrap(&self, _: &[u8]) -> Result<SecretBytes, Error> {
        Err(Error::NoStoredKey)
    }
}

impl ShareConfig {
    /// Checks the numbers as Vault does: both at least 1, threshold at most shares and more than 1 if there is more than one share.
    pub fn new(shares: u8, threshold: u8) -> Result<Self, Error> {
        match (shares, threshold) {
            (0, _) => Err(Error::BadShareConfig("shares must be at least one")),
            (_, 0) => Err(Error::BadShareConfig("threshold must be at least one")),
            (2.., 1) => Err(Error::BadShareConfig("threshold must be greater than one for multiple shares")),
            _ if threshold > shares => Err(Error::BadShareConfig("threshold cannot be larger than shares")),
            _ => Ok(Self { shares, threshold }),
        }
    }

    /// Number of shares.
    pub fn shares(self) -> u8 {
        self.shares
    }

    /// Number of shares needed.
    pub fn threshold(self) -> u8 {
        self.threshold
    }

    /// The shares of a key. One of one is the key itself. Each share is proved before it is handed out: in a window of as
    /// many as are needed it gives the key again.
    pub fn split(self, key: &SecretBytes, entropy: &dyn Entropy) -> Result<Vec<SecretBytes>, Error> {
        if self.shares == 1 {
            return Ok(vec![key.duplicate()]);
        }
        let shares = holdfast_shamir::split(key, self.shares, self.threshold, entropy)?;
        for window in shares.windows(usize::from(self.threshold)) {
            if holdfast_shamir::combine(window)? != *key {
                return Err(Error::BadShares);
            }
        }
        Ok(shares)
    }
}

impl Collector {
    /// Waits for `threshold` shares.
    pub fn new(threshold: u8) -> Self {
        Self { threshold: threshold.max(1), shares: Vec::new() }
    }

    /// Takes a share. The same share twice counts once. A share of the wrong length is refused and nothing changes.
    pub fn add(&mut self, share: SecretBytes) -> Result<Progress, Error> {
        let expected = if self.threshold == 1 { ROOT_KEY } else { ROOT_KEY + 1 };
        if share.len() != expected {
            return Err(Error::Shares(holdfast_shamir::Error::Length));
        }
        if !self.shares.contains(&share) {
            self.shares.push(share);
        }
        if self.shares.len() < usize::from(self.threshold) {
            return Ok(Progress::Waiting(self.count()));
        }
        let shares = std::mem::take(&mut self.shares);
        match <[SecretBytes; 1]>::try_from(shares) {
            Ok([key]) => Ok(Progress::Complete(key)),
            Err(shares) => Ok(Progress::Complete(holdfast_shamir::combine(&shares)?)),
        }
    }

    /// Shares held.
    pub fn count(&self) -> u8 {
        u8::try_from(self.shares.len()).unwrap_or(u8::MAX)
    }

    /// Shares needed.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Forgets all shares.
    pub fn reset(&mut self) {
        self.shares.iter_mut().for_each(SecretBytes::clear);
        self.shares.clear();
    }
}

impl Zeroize for Collector {
    fn zeroize(&mut self) {
        self.reset();
    }
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;

    use super::*;

    #[test]
    fn three_of_five_give_the_key() {
        let key = SecretBytes::new([0x77; 32]);
        let shares = ShareConfig::new(5, 3).unwrap().split(&key, &SeededEntropy::new(9)).unwrap();
        let mut collector = Collector::new(3);
        assert_eq!(collector.add(shares[4].duplicate()).unwrap(), Progress::Waiting(1));
        assert_eq!(collector.add(shares[4].duplicate()).unwrap(), Progress::Waiting(1));
        assert_eq!(collector.add(shares[0].duplicate()).unwrap(), Progress::Waiting(2));
        assert_eq!(collector.add(shares[2].duplicate()).unwrap(), Progress::Complete(key));
        assert_eq!(collector.count(), 0);
    }

    #[test]
    fn one_of_one_is_the_key() {
        let key = SecretBytes::new([0x77; 32]);
        let shares = ShareConfig::new(1, 1).unwrap().split(&key, &SeededEntropy::new(9)).unwrap();
        assert_eq!(shares, [key.duplicate()]);
        assert_eq!(Collector::new(1).add(key.duplicate()).unwrap(), Progress::Complete(key));
    }

    #[test]
    fn refuses_what_is_no_share() {
        assert!(Collector::new(3).add(SecretBytes::new([1; 32])).is_err());
        assert!(ShareConfig::new(3, 1).is_err());
        assert!(ShareConfig::new(2, 3).is_err());
    }
}
