//! Password policies: how many characters, of which sets, at least how many of each (the HCL of Vault's
//! `sys/policies/password`).
//!
//! Every password that a policy allows is equally likely: characters are drawn from all sets together, each one with
//! the same chance, until the rules hold. The draws are bounded, and a policy that needs too many of them is refused
//! when it is written.

mod generate;
mod parse;

/// Shortest password that a policy may ask for, in characters.
pub const SHORTEST: usize = 4;

/// Longest password that a policy may ask for, in characters.
pub const LONGEST: usize = 100;

/// How passwords are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Characters.
    length: usize,
    /// What must be in each.
    rules: Vec<Charset>,
    /// All characters of all rules, each once.
    alphabet: Vec<char>,
}

/// `rule "charset"`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Charset {
    /// Its characters.
    characters: Vec<char>,
    /// At least so many of them.
    least: usize,
}

/// Why there is no policy, or no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no password policy.
    #[error("failed to parse password policy: {0}")]
    Parse(String),
    /// Passwords that the rules allow are too rare to be found.
    #[error(
        "unable to generate a password: the rules allow too few of the passwords of this length; ask for fewer characters in \"min-chars\""
    )]
    Strict,
}

impl Default for Policy {
    /// 20 characters, at least one each of lower case, upper case, digits and `-`: what Vault uses where no policy is
    /// named.
    fn default() -> Self {
        let rule = |characters: String| Charset { characters: characters.chars().collect(), least: 1 };
        Self::new(
            20,
            vec![
                rule(('a'..='z').collect()),
                rule(('A'..='Z').collect()),
                rule(('0'..='9').collect()),
                rule("-".to_owned()),
            ],
        )
    }
}

impl Policy {
    fn new(length: usize, rules: Vec<Charset>) -> Self {
        let mut alphabet: Vec<char> = rules.iter().flat_map(|rule| rule.characters.iter().copied()).collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        Self { length, rules, alphabet }
    }

    /// Does a password obey the policy?
    pub fn allows(&self, password: &str) -> bool {
        let characters: Vec<char> = password.chars().collect();
        characters.len() == self.length
            && characters.iter().all(|character| self.alphabet.binary_search(character).is_ok())
            && self.rules.iter().all(|rule| rule.holds(&characters))
    }
}

impl Charset {
    fn holds(&self, password: &[char]) -> bool {
        password.iter().filter(|character| self.characters.contains(character)).count() >= self.least
    }
}
