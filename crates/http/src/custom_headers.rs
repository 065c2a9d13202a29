//! `custom_response_headers` of a listener: headers for every answer, for a class of status codes, or for one.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};

/// What a header of the configuration is wrong about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `default`, nor `2xx`, nor a status.
    #[error("{0:?} is neither \"default\", nor a class such as \"2xx\", nor a status from 100 to 599")]
    Status(String),
    /// Not a header name, or one that the server keeps for itself.
    #[error("{0:?} cannot be used as the name of a header here")]
    Name(String),
    /// Not a header value.
    #[error("the value of {0:?} cannot stand in a header")]
    Value(String),
}

/// Headers by status. Those of one status win over those of its class, and these over the ones for all.
#[derive(Clone, Debug, Default)]
pub struct CustomHeaders {
    by_status: BTreeMap<String, Vec<(HeaderName, HeaderValue)>>,
}

impl CustomHeaders {
    /// Adds one: `status` is `default`, `2xx` or `200`.
    pub fn add(&mut self, status: &str, name: &str, values: &[String]) -> Result<(), Error> {
        let class = matches!(status.as_bytes(), [b'1'..=b'5', b'x', b'x']);
        let exact = status.len() == 3 && status.parse().is_ok_and(|code: u16| (100..=599).contains(&code));
        if status != "default" && !class && !exact {
            return Err(Error::Status(status.to_owned()));
        }
        let wrong = || Error::Name(name.to_owned());
        let header: HeaderName = name.parse().map_err(|_| wrong())?;
        if header.as_str().starts_with("x-vault-") || header == http::header::CONTENT_LENGTH {
            return Err(wrong());
        }
        for value in values {
            let value = HeaderValue::from_str(value).map_err(|_| Error::Value(name.to_owned()))?;
            self.by_status.entry(status.to_owned()).or_default().push((header.clone(), value));
        }
        Ok(())
    }

    /// Tells the name of the host with every answer (`enable_response_header_hostname`).
    pub fn tell_hostname(&mut self, hostname: &str) -> Result<(), Error> {
        let value = HeaderValue::from_str(hostname).map_err(|_| Error::Value(hostname.to_owned()))?;
        self.by_status
            .entry("default".to_owned())
            .or_default()
            .push((HeaderName::from_static("x-vault-hostname"), value));
        Ok(())
    }

    /// Adds to an answer what is configured for its status. What the answer itself says about its content stays.
    pub fn apply(&self, status: u16, headers: &mut HeaderMap) {
        if self.by_status.is_empty() {
            return;
        }
        let mut chosen: HeaderMap = HeaderMap::new();
        for key in ["default".to_owned(), format!("{}xx", status / 100), status.to_string()] {
            let Some(of_key) = self.by_status.get(&key) else { continue };
            for (name, _) in of_key {
                chosen.remove(name);
            }
            for (name, value) in of_key {
                chosen.append(name.clone(), value.clone());
            }
        }
        for name in chosen.keys().filter(|name| **name != http::header::CONTENT_TYPE) {
            headers.remove(name);
            for value in chosen.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_status_wins() {
        let mut custom = CustomHeaders::default();
        for (status, name, value) in
            [("default", "x-a", "all"), ("default", "x-b", "all"), ("4xx", "x-a", "class"), ("404", "x-a", "one")]
        {
            custom.add(status, name, &[value.to_owned()]).unwrap();
        }
        for (status, expected) in [(200, "all"), (403, "class"), (404, "one")] {
            let mut headers = HeaderMap::new();
            custom.apply(status, &mut headers);
            assert_eq!((headers["x-a"].to_str().unwrap(), headers["x-b"].to_str().unwrap()), (expected, "all"));
        }
    }

    #[test]
    fn the_hostname_goes_with_every_answer() {
        let mut custom = CustomHeaders::default();
        custom.tell_hostname("node-1").unwrap();
        for status in [200, 403, 500] {
            let mut headers = HeaderMap::new();
            custom.apply(status, &mut headers);
            assert_eq!(headers["x-vault-hostname"], "node-1");
        }
        assert!(custom.tell_hostname("a\nb").is_err());
    }

    #[test]
    fn what_is_no_status_or_header_is_refused() {
        let mut custom = CustomHeaders::default();
        for (status, name) in
            [("2x", "a"), ("600", "a"), ("6xx", "a"), ("200", "X-Vault-Token"), ("200", "a b"), ("+20", "a")]
        {
            assert!(custom.add(status, name, &["v".to_owned()]).is_err(), "{status} {name}");
        }
    }
}
