//! The lines of a log, as far as they are to be checked.

use std::{io, path::Path};

use holdfast_base::Timestamp;
use serde::Deserialize;

use crate::{
    ChainId, Head, PublicKey,
    chain::{Checkpoint, Origin, Seal, digest, split},
};

/// Files of one log, in the order in which they were written.
pub struct Log {
    pub(super) files: Vec<String>,
    pub(super) lines: Vec<Line>,
}

/// A line of a file.
pub(super) struct Line {
    pub file: usize,
    /// From 1 on.
    pub number: usize,
    pub content: Content,
}

pub(super) enum Content {
    Chained(Box<Chained>),
    /// Not an entry with a place in a chain.
    Other {
        bytes: u64,
        /// Is it the last of its file, without line feed?
        unfinished: bool,
    },
}

/// A line with a place in a chain.
pub struct Chained {
    pub id: ChainId,
    pub seq: u64,
    pub prev: String,
    pub time: Timestamp,
    pub kind: String,
    pub origin: Option<Origin>,
    pub checkpoint: Option<Checkpoint>,
    /// Of the whole line, hexadecimal.
    pub hash: String,
    pub body: [u8; 32],
    pub mac: Vec<u8>,
}

/// What the server needs to check the MAC of a line.
pub struct Proof {
    /// Which line, for [`super::Known::wrong`].
    pub line: usize,
    /// Number in its chain.
    pub seq: u64,
    /// SHA-256 of what the MAC is about.
    pub digest: [u8; 32],
    /// The MAC.
    pub mac: Vec<u8>,
}

#[derive(Deserialize)]
struct Raw {
    time: Timestamp,
    #[serde(rename = "type")]
    kind: String,
    hf: Seal,
    start: Option<Origin>,
    recovery: Option<Origin>,
    checkpoint: Option<Checkpoint>,
}

impl Log {
    /// Reads files in any order.
    pub fn read(paths: &[impl AsRef<Path>]) -> io::Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            let name = path.as_ref().display().to_string();
            let bytes =
                std::fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
            files.push((name, bytes));
        }
        Ok(Self::of(files))
    }

    /// The same of files that are in memory, with their names.
    pub fn of(files: Vec<(String, Vec<u8>)>) -> Self {
        let mut parsed: Vec<_> = files.into_iter().map(|(name, bytes)| (name, contents(&bytes))).collect();
        let begin = |contents: &[Content]| contents.iter().find_map(|content| content.chained().map(|line| line.time));
        parsed.sort_by_key(|(_, contents)| (begin(contents).is_none(), begin(contents)));
        let mut log = Self { files: Vec::new(), lines: Vec::new() };
        for (file, (name, contents)) in parsed.into_iter().enumerate() {
            log.files.push(name);
            let line = |(at, content)| Line { file, number: at + 1, content };
            log.lines.extend(contents.into_iter().enumerate().map(line));
        }
        log
    }

    /// The chains, in order of appearance.
    pub fn chains(&self) -> Vec<ChainId> {
        let mut ids: Vec<ChainId> = Vec::new();
        for (_, line) in self.chained() {
            if !ids.contains(&line.id) {
                ids.push(line.id.clone());
            }
        }
        ids
    }

    /// What is to be asked of the server about a chain, in order of the numbers.
    pub fn proofs(&self, id: &ChainId) -> Vec<Proof> {
        let lines = self.chained().filter(|(_, line)| line.id == *id);
        let mut proofs: Vec<_> = lines
            .map(|(at, line)| Proof { line: at, seq: line.seq, digest: line.body, mac: line.mac.clone() })
            .collect();
        proofs.sort_by_key(|proof| proof.seq);
        proofs
    }

    pub(super) fn chained(&self) -> impl Iterator<Item = (usize, &Chained)> {
        self.lines.iter().enumerate().filter_map(|(at, line)| Some((at, line.content.chained()?)))
    }
}

impl Content {
    pub fn chained(&self) -> Option<&Chained> {
        if let Self::Chained(line) = self { Some(line) } else { None }
    }
}

impl Chained {
    pub fn head(&self) -> Head {
        Head { id: self.id.clone(), seq: self.seq, head: self.hash.clone(), time: self.time }
    }

    /// Is it a checkpoint with a signature by this key?
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Some(Checkpoint { seq, head, time, store, signature }) = &self.checkpoint else { return false };
        let head = Head { id: self.id.clone(), seq: *seq, head: head.clone(), time: *time };
        key.holds(&head, store.as_ref(), signature)
    }
}

/// Where a line stands, if it has a place in a chain.
pub fn head_of(line: &str) -> Option<Head> {
    chained(line).map(|line| line.head())
}

fn contents(bytes: &[u8]) -> Vec<Content> {
    let mut contents = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (text, unfinished) = match line.strip_suffix(b"\n") {
            Some(text) => (text, false),
            None => (line, true),
        };
        let found = std::str::from_utf8(text).ok().and_then(chained);
        contents.push(match found {
            // A whole entry without its line feed is as unfinished as half of one: it was never acknowledged.
            Some(found) if !unfinished => Content::Chained(Box::new(found)),
            _ => Content::Other { bytes: text.len() as u64, unfinished },
        });
    }
    contents
}

/// A line, if it has a place in a chain.
pub fn chained(line: &str) -> Option<Chained> {
    let (body, mac) = split(line)?;
    let raw: Raw = serde_json::from_str(line).ok()?;
    let Seal { seq, node, epoch, device, prev, .. } = raw.hf;
    let origin = raw.start.or(raw.recovery);
    Some(Chained {
        id: ChainId { node, device, epoch },
        seq,
        prev,
        time: raw.time,
        kind: raw.kind,
        origin,
        checkpoint: raw.checkpoint,
        hash: hex::encode(digest(line.as_bytes())),
        body: digest(body.as_bytes()),
        mac: hex::decode(mac).ok()?,
    })
}
