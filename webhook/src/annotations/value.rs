//! Values of annotations: what each kind may be.

use std::time::Duration;

use super::Error;

/// `true` or `false`, as Go reads booleans.
pub(super) fn boolean(annotation: &str, value: &str) -> Result<bool, Error> {
    match value.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" | "" => Ok(false),
        _ => Err(wrong(annotation, format!("{value:?} is neither \"true\" nor \"false\""))),
    }
}

pub(super) fn duration(annotation: &str, value: &str) -> Result<Duration, Error> {
    let duration = holdfast_base::duration::parse(value).map_err(|error| wrong(annotation, error.to_string()))?;
    if duration.is_zero() {
        return Err(wrong(annotation, "must be more than 0".to_owned()));
    }
    Ok(duration)
}

pub(super) fn refresh(annotation: &str, value: &str) -> Result<Duration, Error> {
    let refresh = duration(annotation, value)?;
    if refresh < Duration::from_millis(100) {
        return Err(wrong(annotation, format!("{value:?} is too often; use 100ms or more (default 1s)")));
    }
    Ok(refresh)
}

pub(super) fn octal(annotation: &str, value: &str) -> Result<String, Error> {
    match u32::from_str_radix(value, 8) {
        Ok(mode) if mode <= 0o777 => Ok(format!("{mode:04o}")),
        _ => Err(wrong(annotation, format!("{value:?} is no octal mode; use for example \"0640\""))),
    }
}

pub(super) fn number(annotation: &str, value: &str) -> Result<i64, Error> {
    value
        .trim()
        .parse()
        .ok()
        .filter(|number| (0..=i64::from(i32::MAX)).contains(number))
        .ok_or_else(|| wrong(annotation, format!("{value:?} is no user or group id")))
}

/// Without privileges the agent can have those from 1024 on.
pub(super) fn port(annotation: &str, value: &str) -> Result<u16, Error> {
    let port = value.trim().parse().ok().filter(|port| *port >= 1024);
    port.ok_or_else(|| wrong(annotation, format!("{value:?} is no port from 1024 to 65535")))
}

pub(super) fn absolute(annotation: &str, value: &str) -> Result<String, Error> {
    let path = value.trim_end_matches('/');
    let bad = |part: &str| part == ".." || part == ".";
    if !path.starts_with('/') || path.split('/').any(bad) || path.contains(':') || path.contains(char::is_control) {
        return Err(wrong(annotation, format!("{value:?} is no absolute path; use for example \"/holdfast/secrets\"")));
    }
    Ok(path.to_owned())
}

pub(super) fn relative(annotation: &str, value: &str) -> Result<String, Error> {
    let path = value.trim_matches('/');
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(char::is_control);
    if path.split('/').any(bad) || path == ".holdfast" || path.starts_with(".holdfast/") {
        return Err(wrong(annotation, format!("{value:?} is no file name below the mount path")));
    }
    Ok(path.to_owned())
}

/// Name of an object or a container of Kubernetes: letters, digits, `-` and `.`.
pub(super) fn name(annotation: &str, value: &str) -> Result<String, Error> {
    let value = value.trim();
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if value.len() > 253 || !value.chars().all(known) || !value.starts_with(edge) || !value.ends_with(edge) {
        return Err(wrong(annotation, format!("{value:?} is no name of an object")));
    }
    Ok(value.to_owned())
}

pub(super) fn quantity(annotation: &str, value: &str) -> Result<String, Error> {
    if bytes_or_cores(value).is_none() {
        return Err(wrong(annotation, format!("{value:?} is no quantity; use for example \"10m\" or \"32Mi\"")));
    }
    Ok(value.to_owned())
}

/// A Kubernetes quantity as a number; `None` when it is none.
#[allow(clippy::missing_panics_doc, reason = "split_at is at a boundary that find gave")]
pub fn bytes_or_cores(value: &str) -> Option<f64> {
    let (digits, suffix) = value.split_at(value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len()));
    let factor = match suffix {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}

pub(super) fn level(annotation: &str, value: &str) -> Result<String, Error> {
    match value.to_ascii_lowercase().as_str() {
        "err" => Ok("error".to_owned()),
        level @ ("trace" | "debug" | "info" | "warn" | "error") => Ok(level.to_owned()),
        _ => Err(wrong(annotation, format!("{value:?}: use trace, debug, info, warn or error"))),
    }
}

pub(super) fn log_format(annotation: &str, value: &str) -> Result<String, Error> {
    match value {
        "json" => Ok("json".to_owned()),
        "text" | "standard" => Ok("text".to_owned()),
        _ => Err(wrong(annotation, format!("{value:?}: use text or json"))),
    }
}

/// Of a comma list.
pub(super) fn names(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

pub(super) fn wrong(annotation: &str, reason: impl Into<String>) -> Error {
    Error { annotation: annotation.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        assert_eq!(bytes_or_cores("64Mi"), Some(67_108_864.0));
        assert_eq!(bytes_or_cores("0.5"), Some(0.5));
        assert!(bytes_or_cores("250m").unwrap() < bytes_or_cores("1").unwrap());
        for wrong in ["", "Mi", "1.2.3", "-1", "1e3", "1mi", "much"] {
            assert_eq!(bytes_or_cores(wrong), None, "{wrong}");
        }
    }
}
