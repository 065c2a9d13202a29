//! Names, paths, modes: what a pod's author may write, and what to say otherwise.

use crate::status::Failure;

/// The first line of an error, for messages of one line.
pub fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Permission bits in octal.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.trim_start_matches("0o");
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| (0o1..=0o777).contains(mode) && (3..=4).contains(&digits.len()))
        .ok_or_else(|| format!("mode {text:?}: give octal permission bits in quotes, as \"0400\""))
}

/// A path below `/v1/`, with or without it.
pub fn check_path(path: &str) -> Result<String, String> {
    let path = path.trim_matches('/');
    let path = path.strip_prefix("v1/").unwrap_or(path);
    if path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(format!("path {path:?}: give a path below /v1/, as k8s/shop/kv/data/orders"));
    }
    if path.chars().any(char::is_control) {
        return Err("path: control characters are not allowed".to_owned());
    }
    Ok(path.to_owned())
}

/// A name of a Kubernetes object.
pub fn check_object_name(name: &str) -> Result<(), Failure> {
    let fits = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if fits {
        Ok(())
    } else {
        Err(Failure::Invalid(format!("credential {name:?} is no name of a DynamicCredential object")))
    }
}

/// A relative path of plain components. Names that start with `..` belong to the swap, `.holdfast` to the status.
pub fn check_file_name(name: &str) -> Result<(), String> {
    let bad = |reason: &str| Err(format!("file {name:?}: {reason}"));
    if name.is_empty() || name.starts_with('/') || name.len() > 1024 {
        return bad("give a relative path of at most 1024 bytes");
    }
    for part in name.split('/') {
        match part {
            "" | "." => return bad("empty components and . are not allowed"),
            ".holdfast" => return bad(".holdfast is the driver's own"),
            _ if part.starts_with("..") => return bad("components that start with .. are not allowed"),
            _ if part.len() > 255 => return bad("a component is longer than 255 bytes"),
            _ if part.chars().any(char::is_control) => return bad("control characters are not allowed"),
            _ => {}
        }
    }
    Ok(())
}

/// A word that is not known, with the nearest that is.
pub fn unknown(what: &str, word: &str, known: &[&str]) -> Failure {
    let near = known.iter().map(|known| (distance(word, known), *known)).min();
    let hint = match near {
        Some((distance, near)) if distance <= 2.max(near.len() / 3) => format!("did you mean {near}?"),
        _ => format!("known are {}", known.join(", ")),
    };
    Failure::Invalid(format!("{what} {word:?} is not known; {hint}"))
}

/// Edit distance (Levenshtein), without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
