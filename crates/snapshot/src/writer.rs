//! Writing.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use crate::Meta;

const BLOCK: usize = 512;

/// Makes an archive, a piece at a time: after each call [`Writer::take`] gives the bytes that are ready.
pub struct Writer {
    packer: GzEncoder<Vec<u8>>,
    sums: String,
    chunks: u32,
}

impl Writer {
    /// Begins with the description.
    pub fn new(meta: &Meta) -> Self {
        let packer = GzEncoder::new(Vec::new(), Compression::fast());
        let mut writer = Self { packer, sums: String::new(), chunks: 0 };
        // Numbers and text always encode; a reader refuses an empty description.
        writer.summed("meta.json", &serde_json::to_vec_pretty(meta).unwrap_or_default());
        writer
    }

    /// Adds a chunk.
    pub fn chunk(&mut self, chunk: &[u8]) {
        self.summed(&format!("state/{:08}", self.chunks), chunk);
        self.chunks += 1;
    }

    /// The checksums of all that was added, to be sealed.
    pub fn sums(&self) -> String {
        self.sums.clone()
    }

    /// Ends it with the seal of [`Writer::sums`]; the last bytes.
    pub fn finish(mut self, seal: &str) -> Vec<u8> {
        let sums = std::mem::take(&mut self.sums);
        self.file("SHA256SUMS", sums.as_bytes());
        self.file("SHA256SUMS.sealed", seal.as_bytes());
        self.write(&[0; 2 * BLOCK]);
        // It writes into memory, which does not fail.
        self.packer.finish().unwrap_or_default()
    }

    /// The bytes that are ready.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.packer.get_mut())
    }

    fn summed(&mut self, name: &str, content: &[u8]) {
        self.sums.push_str(&format!("{}  {name}\n", hex::encode(Sha256::digest(content))));
        self.file(name, content);
    }

    fn file(&mut self, name: &str, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        // Names are short and plain.
        let _ = header.set_path(name);
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        self.write(header.as_bytes());
        self.write(content);
        self.write(&[0; BLOCK][..content.len().next_multiple_of(BLOCK) - content.len()]);
    }

    fn write(&mut self, bytes: &[u8]) {
        // It writes into memory, which does not fail.
        let _ = self.packer.write_all(bytes);
    }
}
