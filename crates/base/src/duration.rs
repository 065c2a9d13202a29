//! Durations as Vault's API reads and writes them.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a duration: use seconds (90) or a Go duration (1h30m, 1.5h; units ns us ms s m h d)")]
pub struct ParseError {
    text: String,
}

/// Reads whole seconds (`90`) or a Go duration with the additional unit `d`: `1h30m`, `1.5h`, `250ms`, `2d`.
/// Empty text is zero. Negative durations are refused.
pub fn parse(text: &str) -> Result<Duration, ParseError> {
    let fail = || ParseError { text: text.to_owned() };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Ok(Duration::ZERO);
    }
    if rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest.parse().map(Duration::from_secs).map_err(|_| fail());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(fail)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(fail()),
        };
        let number: f64 = number.parse().map_err(|_| fail())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| fail())?;
        total = total.checked_add(part).ok_or_else(fail)?;
        rest = tail;
    }
    Ok(total)
}

/// Writes a duration as Go's `Duration.String` does: `0s`, `1.5s`, `30m0s`, `768h0m0s`.
pub fn format(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if seconds == 0 && nanos > 0 {
        return match nanos {
            1_000_000.. => format!("{}ms", trim(f64::from(nanos) / 1e6)),
            1_000.. => format!("{}µs", trim(f64::from(nanos) / 1e3)),
            _ => format!("{nanos}ns"),
        };
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let fraction = if nanos == 0 { String::new() } else { format!(".{nanos:09}").trim_end_matches('0').to_owned() };
    let tail = format!("{}{fraction}s", seconds % 60);
    match (hours, minutes) {
        (0, 0) => tail,
        (0, _) => format!("{minutes}m{tail}"),
        _ => format!("{hours}h{minutes}m{tail}"),
    }
}

fn trim(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_vault_reads() {
        for (text, millis) in
            [("90", 90_000), ("1h30m", 5_400_000), ("1.5h", 5_400_000), ("250ms", 250), ("2d", 172_800_000), ("", 0)]
        {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["-1", "-5s", "h", "1x", "1h-2m", "5 s", "1e9999s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_as_go_does() {
        for (text, millis) in
            [("0s", 0), ("1.5s", 1_500), ("30m0s", 1_800_000), ("768h0m0s", 2_764_800_000), ("250ms", 250)]
        {
            assert_eq!(format(Duration::from_millis(millis)), text);
        }
    }
}
