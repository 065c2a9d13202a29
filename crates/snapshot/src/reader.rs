//! Reading. Nothing is trusted: names, order, sizes and checksums are looked at, and only the chunk at hand is in memory.

use std::io::Write;

use flate2::write::GzDecoder;
use sha2::{Digest, Sha256};

use crate::{CHUNK, Error, Meta, VERSION};

const BLOCK: usize = 512;
/// Bytes of the checksums at most: a hundred thousand chunks.
const SUMS: usize = 16 << 20;
/// Bytes that are unpacked at a time, so that a few bytes cannot become much in memory.
const STEP: usize = 1024;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// The description; first.
    Meta(Meta),
    /// A chunk; its content may be used only after [`Entry::End`].
    Chunk(Vec<u8>),
    /// The checksums, which all that was read before fits, and their seal, which the reader cannot judge.
    End {
        /// Text of `SHA256SUMS`.
        sums: String,
        /// Text of `SHA256SUMS.sealed`.
        seal: String,
    },
}

/// Reads an archive that comes in pieces.
pub struct Reader {
    unpacker: GzDecoder<Vec<u8>>,
    buffer: Vec<u8>,
    /// What the checksums must be.
    expected: String,
    sums: Option<String>,
    chunks: u32,
    done: bool,
}

impl Reader {
    /// Nothing read yet.
    #[expect(clippy::new_without_default, reason = "a reader is never a part of something that has a default")]
    pub fn new() -> Self {
        let unpacker = GzDecoder::new(Vec::new());
        Self { unpacker, buffer: Vec::new(), expected: String::new(), sums: None, chunks: 0, done: false }
    }

    /// Takes the next bytes; what became whole by them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for piece in bytes.chunks(STEP) {
            // Flushed, as what is unpacked would else wait for the next piece, and there may be none.
            let unpacked = self.unpacker.write_all(piece).and_then(|()| self.unpacker.flush());
            unpacked.map_err(|_| Error::Format("gzip"))?;
            self.buffer.append(self.unpacker.get_mut());
            while let Some(entry) = self.next()? {
                entries.extend(entry);
            }
        }
        Ok(entries)
    }

    /// Nothing more comes. Also what stands behind the last file must be as it was written: gzip's checksum tells.
    pub fn finish(mut self) -> Result<(), Error> {
        if !self.done {
            return Err(Error::Format("the end is missing"));
        }
        self.unpacker.try_finish().map_err(|_| Error::Format("the end is damaged"))
    }

    /// Bytes that are unpacked and not handed out yet.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// `None`: more bytes are needed. The inner one: a file that says nothing by itself.
    fn next(&mut self) -> Result<Option<Option<Entry>>, Error> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<BLOCK>() else { return Ok(None) };
        if self.done {
            if head.iter().any(|byte| *byte != 0) {
                return Err(Error::Format("there is something behind the end"));
            }
            self.buffer.drain(..BLOCK);
            return Ok(Some(None));
        }
        let header = tar::Header::from_byte_slice(head);
        let sum: u32 = head[..148].iter().chain(&head[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(Error::Format("a header is damaged"));
        }
        let name = String::from_utf8(header.path_bytes().into_owned()).map_err(|_| Error::Format("a name"))?;
        let size = usize::try_from(header.size().map_err(|_| Error::Format("a size"))?).unwrap_or(usize::MAX);
        if size > if name == "SHA256SUMS" { SUMS } else { CHUNK * 2 } {
            return Err(Error::Format("a file in it is too large"));
        }
        let padded = size.next_multiple_of(BLOCK);
        if rest.len() < padded {
            return Ok(None);
        }
        let content = rest[..size].to_vec();
        self.buffer.drain(..BLOCK + padded);
        self.take(&name, content).map(Some)
    }

    fn take(&mut self, name: &str, content: Vec<u8>) -> Result<Option<Entry>, Error> {
        let text = |content| String::from_utf8(content).map_err(|_| Error::Format("text that is none"));
        match (name, &self.sums) {
            ("meta.json", None) if self.expected.is_empty() => {
                self.sum(name, &content);
                let meta: Meta = serde_json::from_slice(&content).map_err(|_| Error::Format("meta.json"))?;
                if meta.version != VERSION {
                    return Err(Error::Version(meta.version));
                }
                Ok(Some(Entry::Meta(meta)))
            }
            ("SHA256SUMS", None) if !self.expected.is_empty() => {
                let sums = text(content)?;
                self.compare(&sums)?;
                self.sums = Some(sums);
                Ok(None)
            }
            ("SHA256SUMS.sealed", Some(sums)) => {
                let end = Entry::End { sums: sums.clone(), seal: text(content)? };
                self.done = true;
                Ok(Some(end))
            }
            (chunk, None) if !self.expected.is_empty() && chunk == format!("state/{:08}", self.chunks) => {
                self.sum(name, &content);
                self.chunks += 1;
                Ok(Some(Entry::Chunk(content)))
            }
            _ => Err(Error::Format("a file that does not belong here")),
        }
    }

    fn sum(&mut self, name: &str, content: &[u8]) {
        self.expected.push_str(&format!("{}  {name}\n", hex::encode(Sha256::digest(content))));
    }

    fn compare(&self, sums: &str) -> Result<(), Error> {
        if sums == self.expected {
            return Ok(());
        }
        let wrong = sums.lines().zip(self.expected.lines()).find(|(a, b)| a != b);
        let name = wrong.and_then(|(line, _)| line.split_once("  ")).map_or("a file", |(_, name)| name);
        Err(Error::Checksum(name.to_owned()))
    }
}
