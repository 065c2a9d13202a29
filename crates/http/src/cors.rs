//! Cross-origin requests of browsers, as `sys/config/cors` allows them.

use holdfast_core::Cors;
use http::{HeaderMap, HeaderValue, Method, Response, header, request::Parts};

use crate::answer::{self, Outgoing};

/// Methods that may be asked for.
const METHODS: &str = "DELETE, GET, OPTIONS, POST, PUT, PATCH, LIST, SCAN";

/// What is done with a request that a browser sent from another origin.
pub enum Verdict {
    /// It is answered at once.
    Answered(Response<Outgoing>),
    /// It is served; these headers go with the answer.
    Served(HeaderMap),
}

/// Judges a request. `None`: no browser's, or cross-origin requests are off.
pub fn judge(cors: Option<&Cors>, parts: &Parts) -> Option<Verdict> {
    let cors = cors.filter(|cors| cors.enabled)?;
    let origin = parts.headers.get(header::ORIGIN)?;
    let wanted = parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let preflight = parts.method == Method::OPTIONS;
    if !origin.to_str().is_ok_and(|origin| cors.allows(origin)) {
        return Some(Verdict::Answered(answer::error(403, "origin not allowed")));
    }
    let known = |method: &HeaderValue| METHODS.split(", ").any(|known| known.as_bytes() == method.as_bytes());
    if preflight && !wanted.is_some_and(known) {
        return Some(Verdict::Answered(answer::error(405, "")));
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if cors.allow_credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if !preflight {
        return Some(Verdict::Served(headers));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("300"));
    if let Ok(names) = HeaderValue::from_str(&cors.headers().join(",")) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    let mut response = answer::write(holdfast_core::Answer::Empty);
    response.headers_mut().extend(headers);
    Some(Verdict::Answered(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/v1/a");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn cors(origins: &[&str]) -> Cors {
        let allowed_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        Cors { enabled: true, allowed_origins, allowed_headers: vec!["X-Own".to_owned()], allow_credentials: false }
    }

    #[test]
    fn only_browsers_from_other_origins_are_judged() {
        let cors = cors(&["https://a"]);
        assert!(judge(Some(&cors), &parts("GET", &[])).is_none());
        assert!(judge(None, &parts("GET", &[("origin", "https://x")])).is_none());
        let off = Cors { enabled: false, ..cors };
        assert!(judge(Some(&off), &parts("GET", &[("origin", "https://x")])).is_none());
    }

    #[test]
    fn another_origin_is_refused_and_an_allowed_one_is_told_so() {
        let Some(Verdict::Answered(refused)) =
            judge(Some(&cors(&["https://a"])), &parts("GET", &[("origin", "https://b")]))
        else {
            panic!("served");
        };
        assert_eq!(refused.status(), 403);
        for origins in [&["https://a"], &["*"]] {
            let verdict = judge(Some(&cors(origins)), &parts("GET", &[("origin", "https://a")]));
            let Some(Verdict::Served(headers)) = verdict else { panic!("refused") };
            assert_eq!(headers["access-control-allow-origin"], "https://a");
        }
    }

    #[test]
    fn a_preflight_is_answered_for_methods_that_there_are() {
        let ask = |method| {
            let parts = parts("OPTIONS", &[("origin", "https://a"), ("access-control-request-method", method)]);
            match judge(Some(&cors(&["https://a"])), &parts) {
                Some(Verdict::Answered(response)) => response,
                _ => panic!("not answered"),
            }
        };
        let allowed = ask("LIST");
        assert_eq!(allowed.status(), 204);
        assert_eq!(allowed.headers()["access-control-max-age"], "300");
        let names = allowed.headers()["access-control-allow-headers"].to_str().unwrap().to_owned();
        assert!(names.contains("X-Vault-Token") && names.contains("X-Own"), "{names}");
        assert_eq!(ask("TRACE").status(), 405);
    }
}
