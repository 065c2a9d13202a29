//! PGP keys as they are given on the command line.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::failure::Failure;

/// The keys of a list of files, separated by commas, in base64 as the server takes them. A file holds a public key: armoured,
/// binary, or in base64 already.
pub fn read_all(files: &str) -> Result<Vec<String>, Failure> {
    files.split(',').map(str::trim).filter(|file| !file.is_empty()).map(read).collect()
}

/// The key of one file.
pub fn read(file: &str) -> Result<String, Failure> {
    if file.starts_with("keybase:") {
        return Err(Failure::local("keys of keybase: are not fetched: export the public key to a file"));
    }
    let file = file.strip_prefix('@').unwrap_or(file);
    let bytes =
        std::fs::read(file).map_err(|error| Failure::local(format!("Error reading PGP key {file}: {error}")))?;
    let text: String = String::from_utf8_lossy(&bytes).split_ascii_whitespace().collect();
    match STANDARD.decode(&text) {
        Ok(_) => Ok(text),
        Err(_) => Ok(STANDARD.encode(bytes)),
    }
}
