//! The functions against consul-template itself: `documented.json` holds the examples of its documentation (`secret` to
//! `maximum`), of Vault's agent and of sprig, with what consul-template 0.41 printed for each, or null where it failed.
//! `consul-template/main.go` makes it anew.

use std::{collections::BTreeMap, process::Command};

use holdfast_base::Timestamp;
use holdfast_template::{Call, Kind, Lookup, Source, Template, reference};
use serde_json::{Value, json};

/// The world of the examples: what is asked for and what there is.
struct World(Value);

impl World {
    fn read() -> Self {
        Self(serde_json::from_str(include_str!("documented.json")).unwrap())
    }

    fn secret(&self, path: &str, args: &[(String, String)]) -> Lookup {
        let args: BTreeMap<_, _> = args.iter().cloned().collect();
        let found = &self.0["secrets"][path];
        let wanted = &found["arguments"];
        assert!(if args.is_empty() { wanted.is_null() } else { *wanted == json!(args) }, "{path} {args:?}");
        if found.is_null() { Lookup::Missing } else { Lookup::Ready(found.clone()) }
    }

    fn rows(&self) -> &[Value] {
        self.0["rows"].as_array().unwrap()
    }
}

impl Source for World {
    fn answer(&self, call: &Call) -> Option<Lookup> {
        let path = call.path.as_str();
        Some(match call.kind {
            Kind::Secret => self.secret(path, &call.args),
            Kind::List => Lookup::Ready(json!({ "data": { "keys": self.0["lists"][format!("{path}/")] } })),
            Kind::Certificate => Lookup::Ready(json!({ "data": self.0["certificates"][path] })),
        })
    }

    fn file(&self, path: &str) -> Option<Result<String, String>> {
        let found = self.0["files"][path].as_str();
        Some(found.map(str::to_owned).ok_or_else(|| "no such file".to_owned()))
    }

    fn env(&self, name: &str) -> Option<Option<String>> {
        Some(self.0["env"][name].as_str().map(str::to_owned))
    }

    fn now(&self) -> Option<Timestamp> {
        Timestamp::from_second(0).ok()
    }
}

fn rendered(text: &str, source: &dyn Source) -> Result<String, String> {
    let template = Template::parse(text).map_err(|error| error.to_string())?;
    let rendered = template.render(&Value::Null, source).map_err(|error| error.to_string())?;
    Ok(rendered.expose().to_owned())
}

#[test]
fn documented_examples_print_the_same_bytes() {
    let world = World::read();
    assert!(world.rows().len() >= 150);
    let mut wrong = Vec::new();
    for row in world.rows() {
        let text = row["template"].as_str().unwrap();
        let got = rendered(text, &world);
        if got.as_deref().ok() != row["want"].as_str() {
            wrong.push(format!("{}: {text}\n   want {:?}\n   got  {got:?}", row["doc"], row["want"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), world.rows().len(), wrong.join("\n"));
}

#[test]
fn times_are_those_of_the_documentation() {
    let world = World::read();
    for (text, printed) in [
        ("{{ timestamp }}", "1970-01-01T00:00:00Z"),
        (r#"{{ timestamp "2006-01-02" }}"#, "1970-01-01"),
        (r#"{{ timestamp "unix" }}"#, "0"),
        (r#"{{ sprig_now | sprig_date "Mon 15:04" }}"#, "Thu 00:00"),
    ] {
        assert_eq!(rendered(text, &world).as_deref(), Ok(printed));
    }
}

#[test]
fn what_is_not_done_here_says_so() {
    let world = World::read();
    for (text, reason) in [
        (r#"{{ key "a" }}"#, "function \"key\" reads from Consul, which is not asked here; secrets come by secret"),
        (r#"{{ range ls "a" }}{{ end }}"#, "function \"ls\" reads from Consul"),
        (r#"{{ service "web" }}"#, "function \"service\" reads from Consul"),
        (r#"{{ nomadVar "x" }}"#, "function \"nomadVar\" reads from Nomad"),
        (r#"{{ plugin "x" }}"#, "function \"plugin\" runs a program"),
        (r#"{{ sprig_randAlphaNum 5 }}"#, "function \"sprig_randAlphaNum\" makes something new at each rendering"),
        (r#"{{ upper "x" }}"#, "function \"upper\" not defined; sprig's is sprig_upper"),
        (r#"{{ scratch.Nope "x" }}"#, "scratch.Nope: is no method"),
        (r#"{{ "(" | regexMatch "(" }}"#, "regexMatch: the pattern cannot be read"),
    ] {
        let error = rendered(text, &world).unwrap_err();
        assert!(error.starts_with(&format!("template line 1: {reason}")), "{error}");
    }
    for text in [
        r#"{{ file "x" }}"#,
        r#"{{ secrets "x" }}"#,
        r#"{{ pkiCert "x" }}"#,
        r#"{{ "x" | writeToFile "/x" "" "" "0600" }}"#,
    ] {
        assert!(rendered(text, &holdfast_template::NoSource).is_err(), "{text}");
    }
}

#[test]
fn the_reference_is_made_from_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/templates.md");
    let held = std::fs::read_to_string(path).unwrap_or_default();
    let mark = "<!-- made from the tables of crates/template: HOLDFAST_UPDATE=1 cargo test -p holdfast-template -->\n";
    let introduction = held.split(mark).next().unwrap_or_default();
    let page = format!("{introduction}{mark}{}", reference::functions());
    if std::env::var_os("HOLDFAST_UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    } else {
        assert!(held == page, "docs/reference/templates.md is old: HOLDFAST_UPDATE=1 cargo test -p holdfast-template");
    }
}

/// Where Go and consul-template's module are there, without asking any network.
#[test]
fn the_facts_are_still_what_consul_template_prints() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/consul-template");
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command.args(arguments).current_dir(folder).env("GOPROXY", "off").env("GOFLAGS", "-mod=mod");
        command.env("CLUSTER_ID", "Cluster-7");
        command
    };
    let binary = tempfile::tempdir().unwrap();
    let program = binary.path().join("facts");
    let built = go(&["build", "-o", program.to_str().unwrap(), "."]).output();
    if !built.is_ok_and(|built| built.status.success()) {
        eprintln!("skipped: needs go and, in its cache, what tests/consul-template/go.mod names");
        return;
    }
    let facts = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documented.json")).unwrap();
    let printed = Command::new(&program).env("CLUSTER_ID", "Cluster-7").stdin(facts).output().unwrap();
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed["rows"], World::read().0["rows"]);
}
