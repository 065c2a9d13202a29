//! What is a policy and what is not.

use holdfast_policy::{Capabilities, Policy};

#[test]
fn hcl_json_and_legacy_say_the_same() {
    let hcl = r#"path "a/*" { capabilities = ["read", "list"] }"#;
    let json = r#"{"path": {"a/*": {"capabilities": ["read", "list"]}}}"#;
    let legacy = r#"name = "x" path "/a/*" { policy = "read" }"#;
    for text in [hcl, json, legacy] {
        let policy = Policy::parse("x", text).unwrap();
        assert_eq!(policy.text(), text);
        assert_eq!(policy.stanzas().len(), 1, "{text}");
        assert_eq!(policy.stanzas()[0].pattern().to_string(), "a/*");
        assert_eq!(policy.stanzas()[0].capabilities(), Capabilities::READ | Capabilities::LIST);
    }
    let write = Policy::parse("x", r#"path "a" { policy = "write" }"#).unwrap();
    assert_eq!(write.stanzas()[0].capabilities().names(), ["read", "list", "update", "delete", "create"]);
    let deny = Policy::parse("x", r#"path "a" { capabilities = ["read", "deny"] }"#).unwrap();
    assert_eq!(deny.stanzas()[0].capabilities(), Capabilities::DENY);
    assert!(Policy::parse("empty", "").unwrap().stanzas().is_empty());
}

#[test]
fn repeated_json_stanzas_are_not_lost() {
    let text = r#"{"path": {"a": {"capabilities": ["deny"]}, "a": {"capabilities": ["read"]}}}"#;
    assert_eq!(Policy::parse("x", text).unwrap().stanzas().len(), 2);
}

#[test]
fn what_is_not_understood_is_refused() {
    for (text, why) in [
        ("bogus = 1", "invalid key \"bogus\""),
        ("path \"a\" { capabilities = [\"fly\"] }", "invalid capability \"fly\""),
        ("path \"a\" { capability = [\"read\"] }", "invalid key \"capability\""),
        ("path \"a\" { capabilities = [1] }", "list of strings"),
        ("path \"a\" { policy = \"admin\" }", "invalid policy \"admin\""),
        ("path \"a/+*\" { policy = \"read\" }", "forbidden"),
        ("path \"a\" { min_wrapping_ttl = \"2h\" max_wrapping_ttl = \"1h\" }", "cannot be less"),
        ("path \"a\" { min_wrapping_ttl = \"soon\" }", "not a duration"),
        ("path \"a\" { allowed_parameters = { x = 1 } }", "list of values"),
        ("path \"a/{{time.now}}\" { policy = \"read\" }", "identity"),
        ("path \"a/{{identity.entity.id\" { policy = \"read\" }", "without"),
        ("path \"a\" { mfa_methods = [\"x\"] }", "mfa_methods is not served"),
        ("path \"a\" { control_group = { ttl = \"1h\" } }", "control_group is not served"),
        ("path \"a\" { control_group { factor \"x\" {} } }", "control_group is not served"),
        ("path \"a\" { pagination_limit = -1 }", "pagination_limit: must be a number"),
        ("path \"a\" { pagination_limit = \"all\" }", "pagination_limit: must be a number"),
        ("path \"a\" { expiration = \"tomorrow\" }", "expiration: must be a time"),
        ("path \"a\" { expiration = \"\" }", "expiration: must be a time"),
        (
            "path \"a\" { list_scan_response_keys_filter_path = \"x\" }",
            "list_scan_response_keys_filter_path is not served",
        ),
        ("path \"a\" { capabilities = [\"recover\"] }", "\"recover\" is not served"),
        ("path \"a\" \"b\" { policy = \"read\" }", "label"),
        ("path \"a\" {", "line 1, column 11"),
        ("{\"path\":", "JSON"),
    ] {
        let error = Policy::parse("x", text).unwrap_err().to_string();
        assert!(error.starts_with("failed to parse policy"), "{text}: {error}");
        assert!(error.contains(why), "{text}: {error}");
    }
}
