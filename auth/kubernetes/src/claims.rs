//! What a ServiceAccount token says.

use holdfast_jose::Token;
use holdfast_logical::{PodIdentity, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// A clock of the cluster may be off by this many seconds.
const LEEWAY: i64 = 30;

/// The facts of a token, in both shapes that Kubernetes has had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub namespace: String,
    pub account: String,
    pub account_uid: String,
    /// Name of the secret that holds a legacy token; such tokens need not end.
    pub secret: String,
    pub pod: Option<PodIdentity>,
    pub issuer: String,
    pub audiences: Vec<String>,
    expires: Option<i64>,
    not_before: Option<i64>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: Audience,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(rename = "kubernetes.io")]
    bound: Option<Bound>,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    legacy_namespace: Option<String>,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    legacy_account: Option<String>,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    legacy_uid: Option<String>,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    legacy_secret: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Audience {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    serviceaccount: Object,
    pod: Option<Object>,
}

#[derive(Deserialize)]
struct Object {
    name: String,
    uid: String,
}

impl Claims {
    /// The facts in a decoded payload; `None` if it is not one of a ServiceAccount token.
    pub fn read(payload: Value) -> Option<Self> {
        let raw: Raw = serde_json::from_value(payload).ok()?;
        let seconds = |number: Option<f64>| number.map(|number| number as i64);
        let audiences = match raw.aud {
            Audience::None => Vec::new(),
            Audience::One(audience) => vec![audience],
            Audience::Many(audiences) => audiences,
        };
        let mut claims = Self {
            namespace: String::new(),
            account: String::new(),
            account_uid: String::new(),
            secret: raw.legacy_secret.unwrap_or_default(),
            pod: None,
            issuer: raw.iss,
            audiences,
            expires: seconds(raw.exp),
            not_before: seconds(raw.nbf),
        };
        if let Some(bound) = raw.bound {
            let namespace = bound.namespace.clone();
            claims.pod = bound.pod.map(|pod| PodIdentity { uid: pod.uid, name: pod.name, namespace });
            claims.namespace = bound.namespace;
            claims.account = bound.serviceaccount.name;
            claims.account_uid = bound.serviceaccount.uid;
        } else {
            claims.namespace = raw.legacy_namespace?;
            claims.account = raw.legacy_account?;
            claims.account_uid = raw.legacy_uid?;
        }
        Some(claims)
    }

    /// The facts of a token whose signature was *not* checked: to find the role it is meant for, nothing else.
    pub fn peek(token: &str) -> Option<Self> {
        Self::read(Value::Object(Token::read(token).ok()?.unverified().ok()?))
    }

    /// Does it not end by itself? Then only the API server knows whether it is still good.
    pub fn endless(&self) -> bool {
        self.expires.is_none()
    }

    /// What is wrong with its times.
    pub fn time_error(&self, now: Timestamp) -> Option<String> {
        let now = now.as_second();
        match (self.expires, self.not_before) {
            (Some(expires), _) if now >= expires.saturating_add(LEEWAY) => Some("it has expired".to_owned()),
            (_, Some(not_before)) if now.saturating_add(LEEWAY) < not_before => {
                Some("it is not valid yet (is the clock right?)".to_owned())
            }
            (None, _) if self.secret.is_empty() => Some("it has no end".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_bound_token_names_its_pod() {
        let claims = Claims::read(json!({
            "iss": "https://k", "aud": ["holdfast"], "exp": 100, "nbf": 50,
            "kubernetes.io": {
                "namespace": "shop", "serviceaccount": {"name": "orders", "uid": "sa-1"},
                "pod": {"name": "orders-0", "uid": "pod-1"}, "node": {"name": "n", "uid": "u"},
            },
        }))
        .unwrap();
        assert_eq!(claims.pod.as_ref().unwrap().uid, "pod-1");
        assert_eq!(claims.audiences, ["holdfast"]);
        assert_eq!(claims.time_error(at(60)), None);
        assert!(claims.time_error(at(131)).unwrap().contains("expired"));
        assert!(claims.time_error(at(10)).unwrap().contains("not valid yet"));
    }

    #[test]
    fn a_legacy_token_has_no_end_and_no_other_token_may() {
        let legacy = Claims::read(json!({
            "iss": "kubernetes/serviceaccount", "aud": "x",
            "kubernetes.io/serviceaccount/namespace": "shop", "kubernetes.io/serviceaccount/secret.name": "s",
            "kubernetes.io/serviceaccount/service-account.name": "orders",
            "kubernetes.io/serviceaccount/service-account.uid": "sa-1",
        }))
        .unwrap();
        assert_eq!((legacy.account.as_str(), legacy.endless(), legacy.time_error(at(0))), ("orders", true, None));
        let endless = Claims { secret: String::new(), ..legacy };
        assert!(endless.time_error(at(0)).is_some());
        assert!(Claims::read(json!({"sub": "somebody"})).is_none());
    }
}
