//! Durations as Vault's API reads and writes them.

use std::time::Duration;

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

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
        let nanos = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            "d" => 86400 * SECOND,
            _ => return Err(fail()),
        };
        let part = if number.contains('.') { fraction(number, nanos) } else { whole(number, nanos) };
        total = total.checked_add(part.ok_or_else(fail)?).ok_or_else(fail)?;
        rest = tail;
    }
    Ok(total)
}

/// Whole numbers are exact, however large: a float would lose seconds beyond 2^53.
fn whole(number: &str, nanos: u64) -> Option<Duration> {
    let total = u128::from(number.parse::<u64>().ok()?) * u128::from(nanos);
    let (seconds, rest) = (total / u128::from(SECOND), total % u128::from(SECOND));
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(rest).ok()?))
}

fn fraction(number: &str, nanos: u64) -> Option<Duration> {
    let seconds = number.parse::<f64>().ok()? * Duration::from_nanos(nanos).as_secs_f64();
    Duration::try_from_secs_f64(seconds).ok()
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

    /// Found by fuzzing.
    #[test]
    fn a_huge_duration_is_read_as_it_was_written() {
        let huge = Duration::from_secs(8_888_888_888_888_888_884);
        assert_eq!(parse(&format(huge)), Ok(huge));
        assert!(parse("99999999999999999999h").is_err() && parse("18446744073709551615h").is_err());
    }

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
