//! Until when an answer that has no lease is good: PKI engines say it, and the certificate itself does.

use serde_json::{Map, Value};
use x509_parser::pem::parse_x509_pem;

/// Seconds since 1970: `expiration`, or the end of the first certificate in `certificate` (PEM).
pub fn good_until(data: &Map<String, Value>) -> Option<i64> {
    let said = data.get("expiration").and_then(Value::as_i64).filter(|at| *at > 0);
    said.or_else(|| not_after(data.get("certificate")?.as_str()?))
}

fn not_after(pem: &str) -> Option<i64> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    Some(pem.parse_x509().ok()?.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use serde_json::json;

    use super::*;

    fn good_until(data: &Value) -> Option<i64> {
        super::good_until(data.as_object().unwrap())
    }

    #[test]
    fn the_engine_says_it_or_the_certificate_does() {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(2030, 1, 1);
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let year_2030 = 1_893_456_000;
        assert_eq!(good_until(&json!({ "certificate": pem })), Some(year_2030));
        assert_eq!(good_until(&json!({ "certificate": pem, "expiration": 1_700_000_000 })), Some(1_700_000_000));
        assert_eq!(good_until(&json!({ "certificate": pem, "expiration": "soon" })), Some(year_2030));
        for nothing in [json!({}), json!({ "certificate": "x" }), json!({ "certificate": pem.replace("MII", "MIX") })] {
            assert_eq!(good_until(&nothing), None, "{nothing}");
        }
    }
}
