//! `policy explain`

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    failure::{During, Failure},
    format, input,
    session::Session,
};

/// Tell why a request would be allowed or denied, and which policy decides. Nothing is carried out. Without -token,
/// -accessor, -entity or -policy the question is about the token of this session.
#[derive(Args)]
pub struct Explain {
    /// Ask about this token; - for standard input.
    #[arg(long)]
    token: Option<String>,
    /// Ask about the token of this accessor.
    #[arg(long)]
    accessor: Option<String>,
    /// Ask about any token of this entity, by its id; -policy adds policies of the token.
    #[arg(long, value_name = "ID")]
    entity: Option<String>,
    /// Ask about a token with this policy; may be repeated.
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<String>,
    /// create, read, update, patch, delete, list or scan.
    #[arg(long = "op", alias = "operation", default_value = "read", value_name = "OPERATION")]
    operation: String,
    /// Wrapping that the request asks for.
    #[arg(long = "wrapping", value_name = "DURATION")]
    wrapping: Option<String>,
    /// Path of the request.
    path: String,
    /// Parameters of the request, key=value.
    parameters: Vec<String>,
}

impl Explain {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let own = self.token.is_none() && self.accessor.is_none() && self.entity.is_none() && self.policies.is_empty();
        let path = if own { "sys/policies/explain-self" } else { "sys/policies/explain" };
        let envelope = session.api().write(path, self.body()?).await.during("explaining")?;
        let said = Value::Object(envelope.and_then(|envelope| envelope.data).unwrap_or_default());
        session.value(&said, || told(&said))
    }

    fn body(self) -> Result<Value, Failure> {
        let token = match self.token.as_deref() {
            Some("-") => Some(input::text("-")?.trim().to_owned()),
            _ => self.token,
        };
        let mut body = Map::new();
        body.insert("path".to_owned(), json!(self.path));
        body.insert("operation".to_owned(), json!(self.operation));
        body.insert("parameters".to_owned(), Value::Object(input::data(&self.parameters)?));
        let texts =
            [("token", token), ("accessor", self.accessor), ("entity_id", self.entity), ("wrap_ttl", self.wrapping)];
        body.extend(texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::String(text?)))));
        if !self.policies.is_empty() {
            body.insert("policies".to_owned(), json!(self.policies));
        }
        Ok(Value::Object(body))
    }
}

/// For people: the answer, why, and what stands beside it.
fn told(said: &Value) -> String {
    let text = |key: &str| said[key].as_str().unwrap_or_default();
    let list = |key: &str| said[key].as_array().cloned().unwrap_or_default();
    let answer = if said["allowed"] == json!(true) { "Allowed" } else { "Denied" };
    let mut lines = vec![format!("{answer}: {} {}", text("operation"), text("path")), String::new()];
    lines.push(format!("Reason        {}", text("reason")));
    for stanza in list("stanzas") {
        let mark = if stanza["decides"] == json!(true) { "Decided by    " } else { "Says nothing  " };
        lines.push(format!("{mark}{}", shown(&stanza)));
    }
    for stanza in list("outranked") {
        lines.push(format!("Outranked     {}", shown(&stanza)));
    }
    for left in list("left_out") {
        let (policy, path, reason) = (&left["policy"], &left["path"], format::plain(&left["reason"]));
        lines.push(format!("Left out      policy {policy} path {path}: {reason}"));
    }
    let names = |key: &str| list(key).iter().map(format::plain).collect::<Vec<_>>().join(", ");
    lines.push(format!("Policies      {}", names("policies")));
    for (title, key) in [("By entity     ", "identity_policies"), ("Not there     ", "missing_policies")] {
        if !names(key).is_empty() {
            lines.push(format!("{title}{}", names(key)));
        }
    }
    if said["sudo_required"] == json!(true) {
        lines.push(format!(
            "Sudo          demanded, {}",
            if said["sudo"] == json!(true) { "granted" } else { "not granted" }
        ));
    }
    if said["known_path"] == json!(false) {
        lines.push("Note          no mount or endpoint answers this path".to_owned());
    }
    lines.join("\n")
}

/// `policy "app" path "secret/{{…}}/*" (here "secret/shop/*") [read, list]`
fn shown(stanza: &Value) -> String {
    let granted = stanza["capabilities"].as_array().map(Vec::as_slice).unwrap_or_default();
    let granted: Vec<String> = granted.iter().map(format::plain).collect();
    let filled = match &stanza["filled_path"] {
        Value::Null => String::new(),
        filled => format!(" (here {filled})"),
    };
    format!("policy {} path {}{filled} [{}]", stanza["policy"], stanza["path"], granted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_told_with_its_stanza_and_what_it_outranks() {
        let stanza = |path: &str, decides: bool, capabilities: &[&str]| json!({"policy": "p", "path": path, "filled_path": null, "capabilities": capabilities, "decides": decides});
        let said = json!({
            "allowed": false, "operation": "read", "path": "a/b", "reason": "\"a/b\" denies it", "known_path": true,
            "stanzas": [stanza("a/b", true, &["deny"])], "outranked": [stanza("a/*", false, &["read", "list"])],
            "left_out": [{"policy": "t", "path": "x/{{identity.entity.id}}", "reason": "the token has no entity"}],
            "policies": ["p", "t", "gone"], "missing_policies": ["gone"], "identity_policies": [],
        });
        let expected = "Denied: read a/b\n\n\
            Reason        \"a/b\" denies it\n\
            Decided by    policy \"p\" path \"a/b\" [deny]\n\
            Outranked     policy \"p\" path \"a/*\" [read, list]\n\
            Left out      policy \"t\" path \"x/{{identity.entity.id}}\": the token has no entity\n\
            Policies      p, t, gone\n\
            Not there     gone";
        assert_eq!(told(&said), expected);
    }
}
