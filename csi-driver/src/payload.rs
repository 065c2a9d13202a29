//! From what was read to the bytes of the files. Pure.

mod pair;
mod reading;
mod text;

use std::collections::BTreeMap;

use holdfast_secret::SecretBytes;
use holdfast_template::{Call as TemplateCall, Kind, Lookup, Source, fields as formats};
use serde_json::{Map, Value};

pub use self::reading::Reading;
use crate::{
    attributes::{Call, Content, File, Origin, Plan, check_file_name},
    status::Failure,
};

/// All files of a volume by their path below its root.
pub type Payload = BTreeMap<String, Entry>;

/// One file.
#[derive(Debug)]
pub struct Entry {
    /// Its content.
    pub bytes: SecretBytes,
    /// Its permission bits.
    pub mode: u32,
}

/// All that was read so far.
pub type Readings = BTreeMap<Origin, Reading>;

/// Why there is no payload.
#[derive(Debug)]
pub enum Incomplete {
    /// Templates ask for these paths too.
    Missing(Vec<Origin>),
    /// It can't be made.
    Failed(Failure),
}

struct Paths<'a>(&'a Readings);

impl Source for Paths<'_> {
    fn answer(&self, call: &TemplateCall) -> Option<Lookup> {
        let found = self.0.get(&asked(call)).map(|reading| reading.envelope().clone());
        Some(found.map_or(Lookup::Missing, Lookup::Ready))
    }
}

/// What a template asks for: a path, a list, or with arguments a write.
fn asked(TemplateCall { kind, path, args }: &TemplateCall) -> Origin {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = plain(path);
    let call = |query: &str, body| Origin::Call(Call { path: path.clone(), query: query.to_owned(), body });
    match kind {
        Kind::List => call("list=true", None),
        Kind::Secret if args.is_empty() && query.is_empty() => Origin::Path(path),
        Kind::Secret if args.is_empty() => call(query, None),
        Kind::Secret | Kind::Certificate => {
            let body: Map<_, _> = args.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
            call(query, Some(Value::Object(body).to_string()))
        }
    }
}

fn plain(path: &str) -> String {
    path.trim_matches('/').to_owned()
}

/// Makes the files of `plan`. With a `group` every file is readable by it (0440 unless the plan says more), else by all
/// (0444): the volume is seen by the pod alone.
pub fn assemble(plan: &Plan, readings: &Readings, group: Option<u32>) -> Result<Payload, Incomplete> {
    let mut payload = Payload::new();
    let mut missing = Vec::new();
    for file in &plan.files {
        match files_of(file, readings, group) {
            Ok(files) => {
                for (name, entry) in files {
                    if payload.insert(name.clone(), entry).is_some() {
                        return Err(Incomplete::Failed(Failure::Invalid(format!("file {name:?} is made twice"))));
                    }
                }
            }
            Err(Incomplete::Missing(more)) => {
                for origin in more {
                    // Several files may be of one origin.
                    if !missing.contains(&origin) {
                        missing.push(origin);
                    }
                }
            }
            Err(failed) => return Err(failed),
        }
    }
    if missing.is_empty() { Ok(payload) } else { Err(Incomplete::Missing(missing)) }
}

fn files_of(file: &File, readings: &Readings, group: Option<u32>) -> Result<Vec<(String, Entry)>, Incomplete> {
    let fail = |failure: Failure| Incomplete::Failed(failure.context(&format!("file {:?}", file.name)));
    let reading = match &file.origin {
        Some(origin) => Some(readings.get(origin).ok_or_else(|| Incomplete::Missing(vec![origin.clone()]))?),
        None => None,
    };
    let empty = Map::new();
    let fields = reading.and_then(Reading::fields).unwrap_or(&empty);
    let entry = |bytes: Vec<u8>| Entry { bytes: SecretBytes::new(bytes), mode: effective_mode(file.mode, group) };
    let origin = file.origin.as_ref().map(Origin::name).unwrap_or_default();
    let field = |key: &str| fields.get(key).ok_or_else(|| fail(no_such_field(origin, key, fields)));
    let one = |bytes: Vec<u8>| Ok(vec![(file.name.clone(), entry(bytes))]);
    match &file.content {
        Content::Directory => fields
            .iter()
            .map(|(key, value)| {
                let name = format!("{}/{key}", file.name);
                check_file_name(&name).map_err(|reason| fail(Failure::Invalid(format!("of {origin}: {reason}"))))?;
                Ok((name, entry(bytes_of(value))))
            })
            .collect(),
        Content::Field(key, encoding) => {
            let decoded = text::decode(bytes_of(field(key)?), *encoding);
            one(decoded.map_err(|what| fail(Failure::Invalid(format!("key {key:?} of {origin} is not {what}"))))?)
        }
        Content::Json => one(Value::Object(fields.clone()).to_string().into_bytes()),
        Content::Envelope => one(reading.map(Reading::whole).unwrap_or_default().into_bytes()),
        Content::Env => {
            let text = formats::dotenv(fields);
            one(text.map_err(|reason| fail(Failure::Invalid(format!("{origin}: {reason}"))))?.into_bytes())
        }
        Content::Properties => one(formats::properties(fields).into_bytes()),
        Content::Yaml => one(text::yaml(fields).into_bytes()),
        Content::Pem | Content::Tls | Content::Pkcs12 { .. } => {
            let of = |reason: String| fail(Failure::Invalid(format!("{origin}: {reason}")));
            let pair = pair::Pair::of(fields).map_err(of)?;
            match &file.content {
                Content::Pkcs12 { password_key } => {
                    let password = match password_key {
                        Some(key) => bytes_of(field(key)?),
                        None => pair::PASSWORD.as_bytes().to_vec(),
                    };
                    one(pair.pkcs12(&String::from_utf8_lossy(&password)).map_err(of)?)
                }
                Content::Tls => {
                    let files = pair.files().into_iter();
                    Ok(files.map(|(name, text)| (format!("{}/{name}", file.name), entry(text.into_bytes()))).collect())
                }
                _ => one(pair.bundle().into_bytes()),
            }
        }
        Content::Template(template) => match template.render(&Value::Object(fields.clone()), &Paths(readings)) {
            Ok(text) => one(text.expose().as_bytes().to_vec()),
            Err(holdfast_template::Error::Missing(calls)) => {
                Err(Incomplete::Missing(calls.iter().map(asked).collect()))
            }
            Err(error) => Err(fail(Failure::Invalid(error.to_string()))),
        },
    }
}

fn no_such_field(origin: &str, key: &str, fields: &Map<String, Value>) -> Failure {
    let names = fields.keys().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    Failure::NotFound(format!("{origin} has no key {key:?}; it has {}", if names.is_empty() { "none" } else { &names }))
}

/// Says which files the application may not be able to read: they belong to the driver's user, and without a `group`
/// (fsGroup) a mode that spares others spares the application too, unless it runs as that user or as root.
pub fn warning(plan: &Plan, group: Option<u32>) -> Option<String> {
    let closed = plan.files.iter().filter(|file| effective_mode(file.mode, group) & 0o004 == 0);
    let names: Vec<_> =
        closed.map(|file| format!("{} ({:04o})", file.name, effective_mode(file.mode, group))).collect();
    (group.is_none() && !names.is_empty()).then(|| {
        format!(
            "only root and user 65532 can read {}: the files belong to the driver's user and the pod has no fsGroup. Set \
             securityContext.fsGroup in the pod, or leave mode out",
            names.join(", ")
        )
    })
}

fn effective_mode(asked: Option<u32>, group: Option<u32>) -> u32 {
    match (asked, group) {
        (None, None) => 0o444,
        (None, Some(_)) => 0o440,
        (Some(mode), None) => mode,
        // As kubelet does for Secret volumes: the group may read what the owner may.
        (Some(mode), Some(_)) => mode | ((mode & 0o400) >> 3),
    }
}

fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Null => Vec::new(),
        other => other.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(attributes: &[(&str, &str)]) -> Plan {
        let map: BTreeMap<String, String> =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Plan::parse(map.iter()).unwrap()
    }

    fn reading(data: Value) -> Reading {
        Reading::new("", 0, false, data.as_object().unwrap().clone())
    }

    fn text<'a>(payload: &'a Payload, name: &str) -> &'a str {
        std::str::from_utf8(payload[name].bytes.expose()).unwrap()
    }

    fn credential() -> (Origin, Reading) {
        (Origin::Credential("orders-ro".into()), reading(json!({"username": "v-1", "password": "p$\"1"})))
    }

    #[test]
    fn a_credential_is_a_directory_and_a_template() {
        let plan = plan(&[
            ("credentials", "orders-ro"),
            ("items", "- {template: '{{ .username }}:{{ .password }}', credential: orders-ro, file: url}"),
        ]);
        let readings = Readings::from([credential()]);
        let payload = assemble(&plan, &readings, None).unwrap();
        assert_eq!(payload.keys().collect::<Vec<_>>(), ["orders-ro/password", "orders-ro/username", "url"]);
        assert_eq!((text(&payload, "url"), payload["url"].mode), ("v-1:p$\"1", 0o444));
    }

    #[test]
    fn kv_version_2_is_unwrapped_and_version_1_is_not() {
        let plan =
            plan(&[("items", "- {path: kv/data/a, key: token, file: t, mode: \"0400\"}\n- {path: kv1/a, file: j}")]);
        let readings = Readings::from([
            (Origin::Path("kv/data/a".into()), reading(json!({"data": {"token": "s"}, "metadata": {"version": 1}}))),
            (Origin::Path("kv1/a".into()), reading(json!({"data": "x", "n": 12345678901234567890123u128.to_string()}))),
        ]);
        let payload = assemble(&plan, &readings, Some(2000)).unwrap();
        assert_eq!((text(&payload, "t"), payload["t"].mode), ("s", 0o440));
        assert_eq!(text(&payload, "j"), r#"{"data":"x","n":"12345678901234567890123"}"#);
    }

    #[test]
    fn formats_are_as_they_say() {
        let plan = plan(&[(
            "items",
            "- {credential: orders-ro, file: env, format: env}\n- {path: kv/b, key: b, file: bin, format: base64}",
        )]);
        let readings = Readings::from([credential(), (Origin::Path("kv/b".into()), reading(json!({"b": "AAH/"})))]);
        let payload = assemble(&plan, &readings, None).unwrap();
        assert_eq!(text(&payload, "env"), "PASSWORD='p$\"1'\nUSERNAME='v-1'\n");
        assert_eq!(payload["bin"].bytes.expose(), [0, 1, 255]);
    }

    #[test]
    fn a_template_names_the_paths_it_needs() {
        let plan =
            plan(&[("items", "- {template: '{{ with secret \"kv/data/a\" }}{{ .Data.data.x }}{{ end }}', file: f}")]);
        let Err(Incomplete::Missing(paths)) = assemble(&plan, &Readings::new(), None) else { panic!() };
        assert_eq!(paths, [Origin::Path("kv/data/a".into())]);
        let readings =
            Readings::from([(Origin::Path("kv/data/a".into()), reading(json!({"data": {"x": "y"}, "metadata": {}})))]);
        assert_eq!(text(&assemble(&plan, &readings, None).unwrap(), "f"), "y");
    }

    #[test]
    fn a_template_lists_and_writes_and_asks_for_certificates() {
        let items = r#"- {template: '{{ range secrets "kv/metadata/" }}{{ . }} {{ end }}{{ with secret "t/x" "a=b" }}{{ .Data.y }}{{ end }}{{ with pkiCert "pki/issue/x" "common_name=c" }}{{ .Cert }}{{ end }}', file: f}"#;
        let plan = plan(&[("items", items)]);
        let mut readings = Readings::new();
        let answers = [
            (None, json!({"keys": ["one", "two"]})),
            (Some(r#"{"a":"b"}"#), json!({"y": "made"})),
            (Some(r#"{"common_name":"c"}"#), json!({"certificate": "C", "private_key": "K"})),
        ];
        for (body, data) in answers {
            let Err(Incomplete::Missing(missing)) = assemble(&plan, &readings, None) else { panic!() };
            let Origin::Call(call) = &missing[0] else { panic!("{missing:?}") };
            assert_eq!((call.body.as_deref(), call.query.is_empty()), (body, body.is_some()), "{call:?}");
            readings.insert(missing[0].clone(), reading(data));
        }
        assert_eq!(text(&assemble(&plan, &readings, None).unwrap(), "f"), "one two madeC");
    }

    /// Found by fuzzing.
    #[test]
    fn what_several_files_are_made_of_is_asked_for_once() {
        let items = "- {credential: orders-ro, key: user, file: u}\n- {credential: orders-ro, file: a.yaml, format: yaml}\n\
                     - {template: '{{ with secret \"kv/a\" }}{{ .Data.x }}{{ end }}', file: f}\n\
                     - {template: '{{ with secret \"/kv/a/\" }}{{ .Data.y }}{{ end }}', file: g}";
        let Err(Incomplete::Missing(missing)) = assemble(&plan(&[("items", items)]), &Readings::new(), None) else {
            panic!()
        };
        assert_eq!(missing, [Origin::Credential("orders-ro".into()), Origin::Path("kv/a".into())]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let plan_of = |items: &str| plan(&[("items", items)]);
        let readings = Readings::from([credential()]);
        let Err(Incomplete::Failed(failure)) =
            assemble(&plan_of("- {credential: orders-ro, key: user, file: u}"), &readings, None)
        else {
            panic!()
        };
        assert_eq!(failure.to_string(), "file \"u\": orders-ro has no key \"user\"; it has password, username");
        let Err(Incomplete::Failed(failure)) =
            assemble(&plan_of("- {credential: orders-ro, template: '{{ .user }}', file: u}"), &readings, None)
        else {
            panic!()
        };
        assert!(failure.to_string().contains("template"), "{failure}");
    }

    #[test]
    fn files_that_only_root_can_read_are_named() {
        let items = "- {path: kv/a, key: a, file: own, mode: \"0400\"}\n- {path: kv/a, key: a, file: group, mode: \"0440\"}\n\
                     - {path: kv/a, key: a, file: all, mode: \"0444\"}\n- {path: kv/a, key: a, file: usual}";
        let plan = plan(&[("items", items)]);
        let text = warning(&plan, None).unwrap();
        assert!(text.starts_with("only root and user 65532 can read own (0400), group (0440): "), "{text}");
        assert!(text.contains("fsGroup"), "{text}");
        assert_eq!(warning(&plan, Some(2000)), None);
    }
}
