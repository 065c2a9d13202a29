//! Secrets that are typed: without echo on a terminal, as a line from a pipe.

use std::io::{IsTerminal, Read, Write};

use holdfast_secret::SecretString;

use crate::failure::Failure;

/// Asks for a secret. With a pipe on standard input, its first line is taken and nothing is asked; nor on a terminal unless
/// `asks`, where a missing secret is an error.
pub fn secret(question: &str, asks: bool) -> Result<SecretString, Failure> {
    let input = std::io::stdin();
    if !asks && input.is_terminal() {
        return Err(Failure::local(format!("{question}: not given, and -non-interactive says not to ask")));
    }
    if !input.is_terminal() {
        let mut line = String::new();
        input.read_line(&mut line).map_err(|error| Failure::local(format!("Error reading standard input: {error}")))?;
        return Ok(SecretString::new(line.trim_end_matches(['\r', '\n'])));
    }
    let _ = write!(std::io::stderr(), "{question} (will be hidden): ");
    let typed = rpassword::read_password().map_err(|error| Failure::local(format!("Error reading: {error}")))?;
    let _ = writeln!(std::io::stderr());
    Ok(SecretString::new(typed))
}

/// All of standard input.
pub fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::local(format!("Error reading standard input: {error}")))?;
    Ok(text)
}

/// An argument that may be absent (ask) or `-` (standard input).
pub fn argument(given: Option<String>, question: &str, asks: bool) -> Result<SecretString, Failure> {
    match given.as_deref() {
        None => secret(question, asks),
        Some("-") => Ok(SecretString::new(standard_input()?.trim())),
        Some(text) => Ok(SecretString::new(text)),
    }
}
