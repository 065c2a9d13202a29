//! Durations as the objects write them, and as people read them.

use std::time::Duration;

use holdfast_base::duration;

use crate::failure::Failure;

/// Seconds of a duration text of the object.
pub fn seconds(field: &str, text: &str) -> Result<u64, Failure> {
    duration::parse(text)
        .map(|time| time.as_secs())
        .map_err(|error| Failure::edit("Invalid", format!("{field}: {error}")))
}

/// `1h`, `1h30m`, `45s`: without the zeros at the end.
pub fn short(seconds: u64) -> String {
    let text = duration::format(Duration::from_secs(seconds));
    let text = text.strip_suffix("0m0s").filter(|rest| rest.ends_with('h')).map_or(text.clone(), str::to_owned);
    text.strip_suffix("0s").filter(|rest| rest.ends_with('m')).map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_the_end_are_not_said() {
        let said: Vec<_> = [3600, 5400, 45, 90, 3601, 86_400, 0, 300].map(short).into();
        assert_eq!(said, ["1h", "1h30m", "45s", "1m30s", "1h0m1s", "24h", "0s", "5m"]);
    }
}
