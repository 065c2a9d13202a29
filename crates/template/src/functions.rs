//! Go's built-in functions, those of consul-template and of sprig, and a few of our own: one [`Function`] each, in tables by what they work on.
//! Errors never carry an argument's content.

mod arguments;
mod builtin;
mod collections;
mod encoding;
mod files;
mod numbers;
mod outside;
mod scratch;
mod sprig;
mod text;
mod values;

use std::{collections::BTreeMap, sync::LazyLock};

pub(crate) use self::scratch::method as scratch;
use crate::{exec::Pass, format, value::Value};

/// Any number of arguments.
const MANY: usize = usize::MAX;

/// One function: its name, what it takes, what it does.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    least: usize,
    most: usize,
    run: fn(&[Value], &Pass<'_>) -> Result<Value, String>,
    /// Arguments in capitals, as in a help text.
    pub(crate) arguments: &'static str,
    pub(crate) help: &'static str,
}

/// Functions under one heading of the reference.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) rows: &'static [Function],
}

const fn row(
    name: &'static str,
    (least, most): (usize, usize),
    arguments: &'static str,
    help: &'static str,
    run: fn(&[Value], &Pass<'_>) -> Result<Value, String>,
) -> Function {
    Function { name, least, most, run, arguments, help }
}

/// All functions, in the order of the reference.
pub(crate) const TABLES: [Table; 9] = [
    Table { title: "What is read from outside", rows: outside::ROWS },
    Table { title: "Go's own", rows: builtin::ROWS },
    Table { title: "Text", rows: text::ROWS },
    Table { title: "Encodings and hashes", rows: encoding::ROWS },
    Table { title: "Whole files (not in consul-template)", rows: files::ROWS },
    Table { title: "Lists and maps", rows: collections::ROWS },
    Table { title: "Numbers", rows: numbers::ROWS },
    Table { title: "Sprig: text and types", rows: sprig::text::ROWS },
    Table { title: "Sprig: numbers, lists, dictionaries", rows: sprig::values::ROWS },
];

static BY_NAME: LazyLock<BTreeMap<&'static str, &'static Function>> = LazyLock::new(|| {
    let rows = TABLES.iter().flat_map(|table| table.rows);
    rows.map(|function| (function.name, function)).collect()
});

/// Functions of consul-template that read from Consul or Nomad.
pub(crate) const ELSEWHERE: [(&str, &[&str]); 2] = [
    (
        "Consul",
        &[
            "byMeta",
            "byPort",
            "byTag",
            "caLeaf",
            "caRoots",
            "connect",
            "datacenters",
            "exportedServices",
            "explode",
            "key",
            "keyExists",
            "keyOrDefault",
            "ls",
            "node",
            "nodes",
            "partitions",
            "peerings",
            "safeLs",
            "safeTree",
            "service",
            "services",
            "tree",
        ],
    ),
    ("Nomad", &["nomadService", "nomadServices", "nomadVar", "nomadVarExists", "nomadVarList", "nomadVarListSafe"]),
];

/// Other functions that are refused, and why.
pub(crate) const REFUSED: [(&str, &str); 3] = [
    ("plugin", "runs a program in the middle of rendering; use the exec of a template, after it"),
    ("sockaddr", "is about the addresses of the host; use env with the downward API (status.podIP)"),
    ("spew_", "prints what it is given to standard output, where secrets must not go; use toJSON in a test"),
];

/// Sprig's functions that make something new each time: a file would change with every look at it.
const RANDOM: [&str; 6] = ["rand", "gen", "uuidv4", "htpasswd", "bcrypt", "derivePassword"];

pub(crate) fn exists(name: &str) -> bool {
    BY_NAME.contains_key(name)
}

/// Why a name is no function.
pub(crate) fn unknown(name: &str) -> String {
    for (product, names) in ELSEWHERE {
        if names.contains(&name) {
            return format!("function {name:?} reads from {product}, which is not asked here; secrets come by secret");
        }
    }
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| name.starts_with(refused)) {
        return format!("function {name:?} {why}");
    }
    if let Some(sprig) = name.strip_prefix("sprig_") {
        if RANDOM.iter().any(|random| sprig.starts_with(random)) {
            return format!(
                "function {name:?} makes something new at each rendering: the file would change all the time"
            );
        }
        return format!("function {name:?} of sprig is not supported");
    }
    if BY_NAME.contains_key(format!("sprig_{name}").as_str()) {
        return format!("function {name:?} not defined; sprig's is sprig_{name}");
    }
    format!("function {name:?} not defined")
}

/// Bytes that the result of a function may have beyond what a few times its arguments are.
pub(crate) fn swell(name: &str, args: &[Value]) -> usize {
    let text = |at: usize| match args.get(at) {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    let number = |at: usize| match args.get(at) {
        Some(Value::Int(number)) => usize::try_from(*number).unwrap_or(0),
        _ => 0,
    };
    let weight = |at: usize| args.get(at).map_or(0, Value::weight);
    match name {
        "replaceAll" | "sprig_replace" => {
            let most = if text(0).is_empty() { text(1).len() + 1 } else { text(1).len() / text(0).len() + 1 };
            most.saturating_mul(text(2).len())
        }
        "regexReplaceAll" => text(0).len().max(8).saturating_mul(text(2).len()).saturating_mul(text(1).len().max(1)),
        "regexMatch" => text(0).len().max(8).saturating_mul(text(1).len()),
        name if name.starts_with("sprig_regex") => {
            let replacement = text(2).len().max(1);
            text(0).len().max(8).saturating_mul(text(1).len()).saturating_mul(replacement)
        }
        "join" | "sprig_join" => match args.get(1) {
            Some(Value::List(items)) => items.len().saturating_mul(text(0).len()),
            _ => 0,
        },
        "indent" | "sprig_indent" | "sprig_nindent" => text(1).split('\n').count().saturating_mul(number(0)),
        "sprig_repeat" => number(0).saturating_mul(text(1).len()),
        "containsAll" | "containsAny" | "containsNone" | "containsNotAll" | "sprig_without" => {
            weight(0).saturating_mul(args.len()).saturating_add(weight(0).saturating_mul(weight(1)) / 64)
        }
        "sprig_uniq" => weight(0).saturating_mul(weight(0)) / 64,
        "printf" => text(0).matches('%').count().saturating_mul(format::MAX_WIDTH),
        _ => 0,
    }
}

/// Calls a function; the error is the reason alone.
pub(crate) fn call(name: &str, args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    let function = BY_NAME.get(name).ok_or_else(|| unknown(name))?;
    if !(function.least..=function.most).contains(&args.len()) {
        let (least, most) = (function.least, function.most);
        let want = if least == most { least.to_string() } else { format!("at least {least}") };
        return Err(format!("wrong number of args: want {want} got {}", args.len()));
    }
    (function.run)(args, pass)
}
