//! The archive that a snapshot is, written and read piece by piece: memory holds one chunk at a time.
//!
//! A gzip tar, as Vault's is, so that what unpacks the one unpacks the other:
//! `meta.json` (first), `state/00000000` … (records of key and value as the store holds them: encrypted, but for the few records
//! that are needed to unseal), `SHA256SUMS` of all before it, `SHA256SUMS.sealed`: an HMAC-SHA256 of that under a key that
//! only this cluster has.

mod reader;
mod writer;

pub use reader::{Entry, Reader};
use serde::{Deserialize, Serialize};
pub use writer::Writer;

/// Version of the archive that this code writes.
pub const VERSION: u32 = 1;

/// Bytes of a chunk at most, so that it fits into one request of the store.
pub const CHUNK: usize = 1_300_000;

/// What an archive says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// [`VERSION`].
    pub version: u32,
    /// Random.
    pub id: String,
    /// UUID of the cluster.
    pub cluster_id: String,
    /// Name of the cluster.
    pub cluster_name: String,
    /// Revision of the store that it shows.
    pub index: i64,
    /// Term of the key that encrypted last.
    pub term: u32,
    /// RFC 3339.
    pub created: String,
    /// Version of the server.
    pub server: String,
    /// Seal: `shamir`, `static`.
    pub seal: String,
}

/// One key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// Why an archive cannot be read. Nothing of it may be used then.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// It is not an archive of ours, or was cut off.
    #[error("this is not a snapshot of Holdfast, or it is cut off: {0}")]
    Format(&'static str),
    /// Written by a newer version.
    #[error("the snapshot has format version {0}; this server reads version 1")]
    Version(u32),
    /// A file in it is not what the checksums say.
    #[error("the checksum of {0} is wrong: the snapshot is damaged")]
    Checksum(String),
}

/// A chunk from its records.
pub fn encode(records: &[Record]) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(records.iter().map(|(key, value)| key.len() + value.len() + 8).sum());
    for part in records.iter().flat_map(|(key, value)| [key, value]) {
        chunk.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        chunk.extend_from_slice(part);
    }
    chunk
}

/// The records of a chunk.
pub fn decode(chunk: &[u8]) -> Result<Vec<Record>, Error> {
    let mut rest = chunk;
    let mut part = || -> Result<Option<Vec<u8>>, Error> {
        let Some((length, tail)) = rest.split_first_chunk::<4>() else {
            return if rest.is_empty() { Ok(None) } else { Err(Error::Format("a chunk ends early")) };
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (part, tail) = tail.split_at_checked(length).ok_or(Error::Format("a chunk ends early"))?;
        rest = tail;
        Ok(Some(part.to_vec()))
    };
    let mut records = Vec::new();
    while let Some(key) = part()? {
        records.push((key, part()?.ok_or(Error::Format("a key without a value"))?));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(seal: &str) -> Vec<u8> {
        let meta = Meta { version: VERSION, id: "a".to_owned(), index: 7, ..Meta::default() };
        let mut writer = Writer::new(&meta);
        let mut bytes = writer.take();
        for number in 0..3u8 {
            writer.chunk(&encode(&[(vec![number; 5], vec![number; 100_000])]));
            bytes.extend(writer.take());
        }
        let sums = writer.sums();
        bytes.extend(writer.finish(&format!("{seal}{}", sums.len())));
        bytes
    }

    /// Description, number of records, checksums and seal.
    type Found = (Option<Meta>, usize, Option<(String, String)>);

    fn read(bytes: &[u8], step: usize) -> Result<Found, Error> {
        let (mut reader, mut meta, mut records, mut end) = (Reader::new(), None, 0, None);
        for piece in bytes.chunks(step) {
            for entry in reader.push(piece)? {
                match entry {
                    Entry::Meta(found) => meta = Some(found),
                    Entry::Chunk(chunk) => records += decode(&chunk)?.len(),
                    Entry::End { sums, seal } => end = Some((sums, seal)),
                }
            }
        }
        reader.finish()?;
        Ok((meta, records, end))
    }

    #[test]
    fn what_was_written_is_read_in_pieces_of_any_size() {
        let bytes = archive("seal");
        for step in [1, 7, 4096, bytes.len()] {
            let (meta, records, end) = read(&bytes, step).unwrap();
            assert_eq!((meta.unwrap().index, records), (7, 3));
            let (sums, seal) = end.unwrap();
            assert_eq!((sums.lines().count(), seal), (4, format!("seal{}", sums.len())));
        }
    }

    #[test]
    fn the_tar_command_reads_it_too() {
        use std::io::Read;
        let archive = archive("x");
        let mut unpacked = tar_of(&archive);
        let mut names = Vec::new();
        let mut bytes = Vec::new();
        unpacked.read_to_end(&mut bytes).unwrap();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            names.push(entry.unwrap().path().unwrap().display().to_string());
        }
        assert_eq!(names.first().map(String::as_str), Some("meta.json"));
        assert_eq!(names.last().map(String::as_str), Some("SHA256SUMS.sealed"));
    }

    fn tar_of(bytes: &[u8]) -> flate2::read::GzDecoder<&[u8]> {
        flate2::read::GzDecoder::new(bytes)
    }

    #[test]
    fn what_stands_behind_the_last_file_is_checked_too() {
        let bytes = archive("seal");
        assert!(read(&bytes[..bytes.len() - 1], 4096).is_err(), "cut");
        // gzip's checksum and length (RFC 1952 section 2.3.1).
        for bit in 0..64 {
            let mut changed = bytes.clone();
            let at = changed.len() - 1 - bit / 8;
            changed[at] ^= 1 << (bit % 8);
            assert!(read(&changed, 4096).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_cut_off_or_changed_is_refused() {
        let bytes = archive("seal");
        assert!(read(&bytes[..bytes.len() / 2], 4096).is_err());
        assert!(read(b"no archive at all", 4096).is_err());
        assert!(read(b"", 4096).is_err());
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut tar_of(&bytes), &mut unpacked).unwrap();
        unpacked[3000] ^= 1;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packer, &unpacked).unwrap();
        assert!(matches!(read(&packer.finish().unwrap(), 4096), Err(Error::Checksum(_))));
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut packer, bytes).unwrap();
        packer.finish().unwrap()
    }

    fn file(name: &str, size: u64, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    /// How much a reader holds after each piece, at most; and how it ends.
    fn held(bytes: &[u8]) -> (usize, Result<(), Error>) {
        let (mut reader, mut most) = (Reader::new(), 0);
        for piece in bytes.chunks(4 << 10) {
            match reader.push(piece) {
                Ok(entries) => {
                    let entries = entries.iter().map(|entry| match entry {
                        Entry::Chunk(chunk) => chunk.len(),
                        _ => 0,
                    });
                    most = most.max(reader.held() + entries.sum::<usize>());
                }
                Err(error) => return (most, Err(error)),
            }
        }
        (most, reader.finish())
    }

    /// Few bytes do not become many in memory: what is not ours ends with its first header, what says that it is large is
    /// not waited for, and what is ours is handed out chunk by chunk.
    #[test]
    fn cve_2026_39396_an_archive_that_unpacks_to_a_thousand_times_its_size_is_not_held() {
        let zeros = vec![0u8; 16 << 20];
        let (most, outcome) = held(&gzipped(&zeros));
        assert!(outcome.is_err() && most < 8 << 20, "zeros: {most} {outcome:?}");

        let meta = serde_json::to_vec(&Meta { version: VERSION, ..Meta::default() }).unwrap();
        let begin = file("meta.json", meta.len() as u64, &meta);
        for (name, size) in [("state/00000000", 64 << 20), ("state/00000000", 1 << 40), ("SHA256SUMS", 64 << 20)] {
            let bomb = gzipped(&[&begin[..], &file(name, size, &[]), &zeros].concat());
            assert!(bomb.len() < 32 << 10, "{} is no bomb", bomb.len());
            let (most, outcome) = held(&bomb);
            assert_eq!(outcome, Err(Error::Format("a file in it is too large")), "{name}");
            assert!(most < 8 << 20, "{name}: {most}");
        }
        // As many chunks as one likes, each as large as it may be.
        let mut many = begin;
        for number in 0..12 {
            many.extend(file(&format!("state/{number:08}"), CHUNK as u64, &zeros[..CHUNK]));
        }
        let (most, outcome) = held(&gzipped(&many));
        assert!(outcome.is_err() && most < 8 << 20, "{most} {outcome:?}");
    }
}
