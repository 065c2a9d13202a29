//! Passwords and their bcrypt hashes.
//!
//! bcrypt is slow on purpose. It runs beside the threads that serve requests, and no more of it at once than there are
//! processors: a flood of logins delays logins only.

use holdfast_logical::{Entropy, Error};
use holdfast_secret::SecretString;
use tokio::sync::Semaphore;

/// 2^10 rounds, as Vault's.
const COST: u32 = 10;

/// Costs of hashes that are taken from elsewhere.
const COSTS: std::ops::RangeInclusive<u32> = 4..=15;

/// bcrypt looks at no more bytes.
const LONGEST: usize = 72;

/// What the password of an unknown user is compared with: as slow as a real hash, and of no password that is known.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuR1uOQWOtLc2lBRpPsMvl1sP7kO3Lx1y";

/// Makes and compares hashes, a few at a time.
pub(crate) struct Bcrypt(Semaphore);

impl Bcrypt {
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Semaphore::new(processors))
    }

    /// The hash of a new password.
    pub async fn hash(&self, password: SecretString, entropy: &dyn Entropy) -> Result<String, Error> {
        if password.expose().len() > LONGEST {
            return Err(Error::Invalid(format!("password is longer than {LONGEST} bytes, which bcrypt does not take")));
        }
        let mut salt = [0u8; 16];
        entropy.fill(&mut salt);
        let made = self.run(move || bcrypt::hash_with_salt(password.expose(), COST, salt)).await?;
        made.map(|parts| parts.to_string()).map_err(|_| Error::Internal("the password could not be hashed".to_owned()))
    }

    /// Is it the password of the hash? Without a hash: no, after as long a time.
    pub async fn matches(&self, password: SecretString, hash: Option<&str>) -> Result<bool, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or(NOBODY).to_owned();
        // What is longer was never taken as a password; bcrypt would compare its first bytes only.
        let short = password.expose().len() <= LONGEST;
        let same = self.run(move || bcrypt::verify(password.expose(), &hash).unwrap_or(false)).await?;
        Ok(same && known && short)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let stopped = |_| Error::Unavailable("the server is stopping".to_owned());
        let _permit = self.0.acquire().await.map_err(|_| Error::Unavailable("the server is stopping".to_owned()))?;
        tokio::task::spawn_blocking(work).await.map_err(stopped)
    }
}

/// Takes a hash that was made elsewhere, if it is one of bcrypt.
pub(crate) fn foreign(hash: &str) -> Result<String, Error> {
    let wrong = || Error::invalid("password_hash is not a valid bcrypt hash ($2b$<cost>$…)");
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix));
    let parts: bcrypt::HashParts = hash.parse().map_err(|_| wrong())?;
    if !known {
        return Err(wrong());
    }
    if !COSTS.contains(&parts.get_cost()) {
        return Err(Error::Invalid(format!(
            "password_hash has the cost {}: use {} to {}",
            parts.get_cost(),
            COSTS.start(),
            COSTS.end()
        )));
    }
    Ok(hash.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nobody_costs_as_much_as_a_real_one() {
        let parts: bcrypt::HashParts = NOBODY.parse().unwrap();
        assert_eq!(parts.get_cost(), COST);
        // It is compared in full, and does not fail early.
        assert!(!bcrypt::verify("x", NOBODY).unwrap());
    }

    #[test]
    fn foreign_hashes_are_taken_if_they_are_bcrypt() {
        assert!(foreign("$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW").is_ok());
        for hash in ["", "secret", "$2b$10$short", "$1$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"] {
            assert!(foreign(hash).is_err(), "{hash}");
        }
        let error = foreign("$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW").unwrap_err();
        assert!(error.to_string().contains("cost 31"), "{error}");
    }
}
