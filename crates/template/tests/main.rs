//! The engine against Go's own: `go.json` holds what `text/template` of Go 1.26 printed for each snippet, or null where
//! it failed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests say what they expect")]

mod documented;

use std::cell::RefCell;

use holdfast_template::{Call, Error, Kind, Lookup, NoSource, Options, Source, Template};
use serde_json::{Value, json};

struct Fixed;

impl Source for Fixed {
    fn answer(&self, call: &Call) -> Option<Lookup> {
        let envelope = json!({
            "lease_id": "l/1", "lease_duration": 3600, "renewable": true,
            "data": { "data": { "user": "ada", "pass": "s3cret" } },
        });
        (call.kind == Kind::Secret).then_some(Lookup::Ready(envelope))
    }
}

fn root() -> Value {
    json!({
        "user": "ada", "pass": "p:w", "empty": "", "count": 3, "yes": true, "null": null, "unicode": "grüße☃",
        "map": { "b": "2", "a": "1", "c": 3 }, "list": ["a", "b", "c"], "nolist": [],
        "nested": { "deep": { "er": "found" } }, "html": { "q": "<a>&b" },
    })
}

#[test]
fn every_snippet_prints_what_go_prints_or_fails_where_go_fails() {
    let rows: Vec<Value> = serde_json::from_str(include_str!("go.json")).unwrap();
    assert!(rows.len() >= 100);
    let mut wrong = Vec::new();
    for row in &rows {
        let text = row["template"].as_str().unwrap();
        let got = Template::parse(text).and_then(|template| template.render(&root(), &Fixed));
        let got_text = got.as_ref().ok().map(|text| text.expose().to_owned());
        if got_text.as_deref() != row["want"].as_str() {
            wrong.push(format!("{text}\n   want {:?}\n   got  {got_text:?} {:?}", row["want"], got.err()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn a_pass_names_all_that_is_missing_and_the_next_one_renders() {
    struct Growing(RefCell<bool>);
    impl Source for Growing {
        fn answer(&self, call: &Call) -> Option<Lookup> {
            if *self.0.borrow() { Fixed.answer(call) } else { Some(Lookup::Missing) }
        }
    }
    let template = Template::parse(
        r#"{{ with secret "a" }}{{ .Data.data.user }}{{ end }}{{ with secret "/b" "k=v" }}{{ .Data.data.pass }}{{ end }}"#,
    )
    .unwrap();
    let source = Growing(RefCell::new(false));
    let calls = vec![
        Call { path: "a".to_owned(), ..Call::default() },
        Call { path: "b".to_owned(), args: vec![("k".to_owned(), "v".to_owned())], ..Call::default() },
    ];
    assert_eq!(template.render(&Value::Null, &source).unwrap_err(), Error::Missing(calls));
    *source.0.borrow_mut() = true;
    assert_eq!(template.render(&Value::Null, &source).unwrap().expose(), "adas3cret");
}

#[test]
fn delimiters_and_missing_keys_can_be_set() {
    let options =
        Options { left: "<<".to_owned(), right: ">>".to_owned(), error_on_missing_key: true, ..Options::default() };
    let template = Template::parse_with("<< .user >> {{ stays }} x<<- /* no */ ->> y << .nope >>", options).unwrap();
    let error = template.render(&root(), &NoSource).unwrap_err();
    assert_eq!(error.to_string(), "template line 1: map has no entry for key \"nope\"");
    let options = Options { left: "[[".to_owned(), right: "]]".to_owned(), ..Options::default() };
    let template = Template::parse_with("[[ .user ]] {{ stays }} x [[- /* no */ -]] y [[ .nope ]]", options).unwrap();
    assert_eq!(template.render(&root(), &NoSource).unwrap().expose(), "ada {{ stays }} xy <no value>");
}

#[test]
fn denied_functions_are_refused_wherever_they_stand() {
    let parse = |text: &str| {
        let denied = vec!["env".to_owned(), "scratch".to_owned()];
        Template::parse_with(text, Options { denied, ..Options::default() })
    };
    for text in [
        "{{ env \"X\" }}",
        "x\n{{ if false }}{{ \"X\" | env }}{{ end }}",
        "{{ define \"t\" }}{{ print (env \"X\") }}{{ end }}",
        "{{ scratch.Get \"x\" }}",
    ] {
        assert!(parse(text).unwrap_err().to_string().contains("is in the list of those that are denied"), "{text}");
    }
    parse("{{ .env }}{{ envOrDefault \"X\" \"y\" }}{{ \"env\" }}").unwrap();
}

#[test]
fn errors_name_the_line_and_never_a_value() {
    for (text, reason) in [
        ("a\nb\n{{ nosuch .x }}", "template line 3: function \"nosuch\" not defined"),
        ("{{ if .x }}\n", "template line 1: {{if}} lacks its {{end}}"),
        ("\n{{ $x }}", "template line 2: undefined variable \"$x\""),
        (
            "{{ with secret \"p\" }}\n{{ .data.x }}{{ end }}",
            "template line 2: can't evaluate field data in a secret: it has Auth, Data, LeaseDuration, LeaseID, \
             Renewable, RequestID, Warnings, WrapInfo",
        ),
        ("{{ .pass | parseInt }}", "template line 1: parseInt: not a whole number"),
        ("{{ .pass | base64Decode }}", "template line 1: base64Decode: not base64"),
        ("{{ env \"HOME\" }}", "template line 1: env: templates must not read the environment here"),
    ] {
        let error = Template::parse(text).and_then(|template| template.render(&root(), &Fixed)).unwrap_err();
        assert_eq!(error.to_string(), reason, "{text}");
        assert!(!error.to_string().contains("p:w"));
    }
}

#[test]
fn endless_templates_end() {
    for text in [
        r#"{{ define "t" }}{{ template "t" . }}{{ end }}{{ template "t" . }}"#.to_owned(),
        "{{ range 1000000000000 }}{{ end }}".to_owned(),
        "{{ range 100000 }}{{ range 1000 }}{{ end }}{{ end }}".to_owned(),
        "{{ range 100000 }}".to_owned() + &"x".repeat(1000) + "{{ end }}",
        // Values that double, calls that double, and results that are far more than what they are made of.
        r#"{{ $x := "aaaaaaaaaaaaaaaa" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}"#.to_owned(),
        (1..60).fold(r#"{{ define "0" }}{{ end }}"#.to_owned(), |text, n| {
            format!(
                r#"{text}{{{{ define "{n}" }}}}{{{{ template "{0}" }}}}{{{{ template "{0}" }}}}{{{{ end }}}}"#,
                n - 1
            )
        }) + r#"{{ template "59" }}"#,
        r#"{{ $x := ""#.to_owned() + &"a".repeat(100_000) + r#"" }}{{ $y := replaceAll "a" $x $x }}"#,
        r#"{{ $x := ""#.to_owned() + &"a ".repeat(100_000) + r#"" }}{{ $y := join $x (split " " $x) }}"#,
        r#"{{ $x := printf ""#.to_owned() + &"%4096d".repeat(100_000) + r#"" }}"#,
        "{{ range 1000000 }}".repeat(40) + &"{{ end }}".repeat(40),
        // Blocks in templates in blocks: deep enough to leave the stack of a thread.
        r#"{{ define "t" }}"#.to_owned()
            + &"{{ if true }}".repeat(45)
            + r#"{{ template "t" }}"#
            + &"{{ end }}".repeat(46)
            + r#"{{ template "t" }}"#,
        "{{ ".to_owned() + &"(".repeat(5000) + &")".repeat(5000) + " }}",
    ] {
        let began = std::time::Instant::now();
        let rendered = Template::parse(&text).and_then(|template| template.render(&root(), &Fixed));
        assert!(rendered.is_err(), "{}", &text[..40]);
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{}", &text[..40]);
    }
}
