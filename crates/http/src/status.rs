//! The one table from outcomes to HTTP status codes.

use holdfast_api_types::ErrorBody;
use holdfast_core::Error;
use holdfast_logical::Error as Logical;

/// Status and body of a request that was not served.
#[derive(Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: ErrorBody,
    /// May the same request work in a moment? Then `Retry-After` is sent.
    pub retry: bool,
}

/// The table.
pub fn of(error: &Error) -> Refusal {
    let text = || Some(error.to_string());
    let (status, text) = match error {
        Error::Sealed => (503, text()),
        Error::NotInitialized => (400, text()),
        Error::Audit(_) => (500, text()),
        Error::Logical(error) => match error {
            Logical::Invalid(_) | Logical::Credentials(_) => (400, text()),
            Logical::Denied(_) => (403, text()),
            Logical::NotFound(found) => (404, found.clone()),
            Logical::UnsupportedOperation => (405, text()),
            Logical::Status { code, message } => (*code, Some(message.clone())),
            Logical::Unavailable(_) => (503, text()),
            Logical::Internal(_) => (500, text()),
        },
    };
    let errors = text.into_iter().filter(|text| !text.is_empty()).collect();
    let retry = matches!(error, Error::Logical(Logical::Unavailable(_) | Logical::Status { code: 429 | 503, .. }));
    Refusal { status, body: ErrorBody { errors, data: None }, retry }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_status() {
        let text = || "why".to_owned();
        for (error, status, errors) in [
            (Error::Sealed, 503, &["Vault is sealed"][..]),
            (Error::NotInitialized, 400, &["server is not yet initialized"]),
            (Error::Audit("request"), 500, &["failed to audit request, cannot continue"]),
            (Error::Logical(Logical::Invalid(text())), 400, &["why"]),
            (Error::Logical(Logical::Denied(text())), 403, &["why"]),
            (Error::denied(), 403, &["permission denied"]),
            (Error::Logical(Logical::NotFound(None)), 404, &[]),
            (Error::Logical(Logical::NotFound(Some(text()))), 404, &["why"]),
            (Error::Logical(Logical::UnsupportedOperation), 405, &["unsupported operation"]),
            (Error::Logical(Logical::Status { code: 415, message: text() }), 415, &["why"]),
            (Error::Logical(Logical::Status { code: 405, message: String::new() }), 405, &[]),
            (Error::Logical(Logical::Unavailable(text())), 503, &["why"]),
            (Error::Logical(Logical::Internal(text())), 500, &["why"]),
        ] {
            let refusal = of(&error);
            assert_eq!((refusal.status, refusal.body.errors.as_slice()), (status, errors.map_owned().as_slice()));
            assert_eq!(refusal.retry, matches!(error, Error::Logical(Logical::Unavailable(_))));
        }
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }
}
