//! What Vault's users write, what is refused, and that nothing makes the parser panic.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use holdfast_hcl::{Item, Value, parse};
use proptest::prelude::*;
use serde_json::json;

fn json_of(text: &str) -> serde_json::Value {
    serde_json::Value::Object(parse(text).unwrap().to_json())
}

#[test]
fn what_hcl_1_accepts() {
    let text = r#"
        # comment
        // comment
        /* comment
           over lines */
        ui = true, api_addr = "http://x:1" cluster_name="c"
        storage etcd { address = "a" }
        "listener" "tcp" { address = "0.0.0.0:8200" tls_disable = 1 } listener "unix" {}
        list = ["a", "b", 3, ["c"], { d = 1 },]
        hex = 0x10
        float = -1.5e3
        a.b-c = ""
    "#;
    let json = json_of(text);
    assert_eq!(json["ui"], true);
    assert_eq!(json["cluster_name"], "c");
    assert_eq!(json["storage"], json!([{ "etcd": [{ "address": "a" }] }]));
    assert_eq!(json["listener"][0]["tcp"][0]["tls_disable"], json!(1));
    assert_eq!(json["listener"][1], json!({ "unix": [{}] }));
    assert_eq!(json["list"], json!(["a", "b", 3, ["c"], { "d": 1 }]));
    assert_eq!(json["hex"], json!(16));
    assert_eq!(json["float"].as_f64(), Some(-1500.0));
    assert_eq!(json["a.b-c"], "");
}

#[test]
fn strings() {
    let body = parse(r#"a = "q\"\\\n\u00e9\x41\101" b = "x/${f("y")}/z""#).unwrap();
    assert_eq!(body.string("a").unwrap(), "q\"\\\né\x41A");
    assert_eq!(body.string("b").unwrap(), r#"x/${f("y")}/z"#);
    let body = parse("a = <<EOT\n  one\ntwo\nEOT\nb = <<-X\n    one\n      two\n    X\nc = 1").unwrap();
    assert_eq!(body.string("a").unwrap(), "  one\ntwo\n");
    assert_eq!(body.string("b").unwrap(), "one\n  two\n");
    assert_eq!(body.string("c").unwrap(), "1");
}

#[test]
fn errors_say_where_and_what() {
    for (text, line, column, expected) in [
        ("path \"a\" {", 1, 11, "a name or \"}\""),
        ("a = 1\nb = ]", 2, 5, "a value"),
        ("a = \"x\nb", 1, 7, "a closing quote"),
        ("a 5", 1, 3, "\"=\", a label or \"{\""),
        ("a = [1 2]", 1, 8, "\",\" or \"]\""),
        ("path \"x\" = {}", 1, 10, "a label or \"{\""),
        ("a = yes", 1, 5, "a value"),
        ("}", 1, 1, "a name, or the end"),
        ("/* x", 1, 1, "closed with */"),
        ("a = <<E\nx", 1, 5, "a line with only E"),
        ("a = \"\\q\"", 1, 6, "one of the escapes"),
        ("a = 12z", 1, 5, "a number"),
        ("a = ?", 1, 5, "a name, a value"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.position.line, error.position.column), (line, column), "{text}: {error}");
        assert!(error.expected.contains(expected), "{text}: {error}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |n: usize| format!("a = {}{}", "[".repeat(n), "]".repeat(n));
    assert!(parse(&nested(64)).is_ok());
    assert!(parse(&nested(65)).unwrap_err().expected.contains("64"));
    // RUSTSEC-2024-0437 and its like: a megabyte of brackets ends the parser, not the stack.
    for bracket in ["[", "{", "a {\n", "a = [{", "("] {
        assert!(parse(&format!("a = {}", bracket.repeat((1 << 20) / bracket.len()))).is_err(), "{bracket}");
    }
    assert!(parse(&"a {".repeat(100_000)).is_err());
}

#[test]
fn order_and_repeats_are_kept() {
    let body = parse("b = 1\na {}\nb = 2").unwrap();
    assert_eq!(body.items.iter().map(Item::key).collect::<Vec<_>>(), ["b", "a", "b"]);
    assert_eq!(body.attribute("b"), Some(&Value::Number(2.into())));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_mix_of_its_own_signs_makes_it_panic(parts in prop::collection::vec(
        prop::sample::select(vec![
            "a", "\"", "{", "}", "[", "]", "=", ",", "\n", " ", "<<", "-", "EOT", "${", "\\", "1", "0x", "1e", "true",
            "//", "/*", "*/", "#", ":", "é", "\\u", "path \"x\"",
        ]), 0..60)) {
        let _ = parse(&parts.concat());
    }

    #[test]
    fn strings_come_back(text in "[^$]{0,40}") {
        let mut quoted = String::new();
        for c in text.chars() {
            match c {
                '"' | '\\' => { quoted.push('\\'); quoted.push(c); }
                '\n' => quoted.push_str("\\n"),
                c => quoted.push(c),
            }
        }
        let body = parse(&format!("a = \"{quoted}\"")).unwrap();
        prop_assert_eq!(body.string("a").unwrap(), text);
    }
}
