//! Reads a log back and finds what was done to it. Needs no server: hashes link the lines, signatures of checkpoints need the
//! public key only. What the server adds (`MACs`, the heads that it has stored) is given in [`Known`].

mod chains;
mod read;

use std::collections::BTreeSet;

use serde::Serialize;

pub use self::read::{Log, Proof};
pub(crate) use self::read::{chained, head_of};
use crate::{ChainId, Head, PublicKey};

/// What is known beside the files.
#[derive(Default)]
pub struct Known {
    /// Checks checkpoints.
    pub public_key: Option<PublicKey>,
    /// How far chains had come, as the server stored it.
    pub heads: Vec<Head>,
    /// Lines whose MAC the server found wrong, by [`Proof::line`].
    pub wrong: BTreeSet<usize>,
    /// Are later files left out on purpose? Then a chain may have gone on behind the last line.
    pub partial: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Is everything in order?
    pub ok: bool,
    /// Files in the order in which they were written.
    pub files: Vec<String>,
    /// Lines read.
    pub lines: usize,
    /// The chains in them.
    pub chains: Vec<ChainReport>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is worth knowing and no sign of manipulation.
    pub notes: Vec<String>,
}

/// One chain.
#[derive(Debug, Serialize)]
pub struct ChainReport {
    /// Which.
    #[serde(flatten)]
    pub id: ChainId,
    /// Number of its first line here.
    pub first: u64,
    /// Number of its last line here.
    pub last: u64,
    /// Lines up to this number are covered by a signature that holds; 0 for none.
    pub signed: u64,
}

/// Something that must not be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was done.
    pub kind: Kind,
    /// File.
    pub file: String,
    /// Line in it, from 1 on.
    pub line: usize,
    /// Number in the chain; 0 where there is none.
    pub seq: u64,
    /// For people.
    pub text: String,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The text of a line is not what was written.
    Changed,
    /// Lines are gone.
    Missing,
    /// A line that was not written there.
    Inserted,
    /// A line stands where it was not written.
    Moved,
    /// A line stands twice.
    Repeated,
    /// The end is gone.
    Truncated,
    /// A checkpoint that the server did not sign, or none where one must be.
    Unsigned,
}

impl Log {
    /// Checks everything that can be checked with what is known.
    pub fn verify(&self, known: &Known) -> Report {
        chains::verify(self, known)
    }
}
