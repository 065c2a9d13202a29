//! Functions that ask the source of the template.

use std::rc::Rc;

use holdfast_secret::SecretString;

use super::{
    Function, MANY,
    arguments::{pairs, text},
    row,
};
use crate::{Call, Kind, Lookup, Written, exec::Pass, moment, value::Value};

pub(crate) const ROWS: &[Function] = &[
    row(
        "secret",
        (1, MANY),
        "PATH KEY=VALUE…",
        "the answer of the server for a path: a read, or with arguments a write",
        secret,
    ),
    row("secrets", (1, 1), "PATH", "the keys below a path", secrets),
    row(
        "pkiCert",
        (1, MANY),
        "PATH KEY=VALUE…",
        "a certificate with .Cert, .Key, .CA and .CAChain; a new one when it nears its end",
        certificate,
    ),
    row("file", (1, 1), "PATH", "the content of a file", file),
    row("env", (1, 1), "NAME", "an environment variable, or nothing", |args, pass| {
        Ok(Value::text(variable(text(args, 0)?, pass)?.unwrap_or_default()))
    }),
    row("mustEnv", (1, 1), "NAME", "an environment variable that must be there and not empty", |args, pass| {
        let name = text(args, 0)?;
        let found = variable(name, pass)?.filter(|value| !value.is_empty());
        found.map(Value::text).ok_or_else(|| format!("required environment variable {name} is empty"))
    }),
    row(
        "envOrDefault",
        (2, 2),
        "NAME VALUE",
        "an environment variable, or the value if there is none",
        |args, pass| {
            let found = variable(text(args, 0)?, pass)?;
            Ok(Value::text(match found {
                Some(value) => value,
                None => text(args, 1)?.to_owned(),
            }))
        },
    ),
    row("timestamp", (0, 1), "LAYOUT", "now, in UTC: RFC 3339, a layout of Go's, or \"unix\"", timestamp),
    row("scratch", (0, 0), "", "the scratchpad: .Set, .SetX, .Get, .Key, .MapSet, .MapSetX, .MapValues", |_, _| {
        Ok(Value::Scratch)
    }),
    row(
        "writeToFile",
        (5, 6),
        "PATH USER GROUP MODE FLAGS TEXT",
        "writes another file; flags: append, newline",
        write_to_file,
    ),
];

fn ask(kind: Kind, args: &[Value], pass: &Pass<'_>) -> Result<Option<serde_json::Value>, String> {
    let path = text(args, 0)?.trim().trim_matches('/').to_owned();
    let call = Call { kind, path, args: pairs(args)? };
    match pass.source.answer(&call).ok_or("is not possible here: only secret is")? {
        Lookup::Ready(envelope) => Ok(Some(envelope)),
        Lookup::Missing => {
            let mut missing = pass.missing.borrow_mut();
            if !missing.contains(&call) {
                missing.push(call);
            }
            Ok(None)
        }
    }
}

fn secret(args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    Ok(ask(Kind::Secret, args, pass)?.map_or(Value::Nil, |envelope| Value::secret(&envelope)))
}

fn secrets(args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    let envelope = ask(Kind::List, args, pass)?;
    let keys = envelope.as_ref().and_then(|envelope| envelope.pointer("/data/keys"));
    Ok(keys.map_or_else(|| Value::list([]), Value::from_json))
}

fn certificate(args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    Ok(ask(Kind::Certificate, args, pass)?.map_or(Value::Nil, |envelope| Value::certificate(&envelope["data"])))
}

fn file(args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    let path = text(args, 0)?;
    if path.is_empty() {
        return Ok(Value::text(""));
    }
    pass.source.file(path).ok_or("templates must not read files here")?.map(Value::text)
}

fn variable(name: &str, pass: &Pass<'_>) -> Result<Option<String>, String> {
    pass.source.env(name).ok_or_else(|| "templates must not read the environment here".to_owned())
}

fn timestamp(args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    let now = pass.source.now().ok_or("there is no clock here")?;
    Ok(Value::text(match args.first() {
        None => moment::format(now, moment::RFC3339),
        Some(Value::Text(layout)) if layout.as_str() == "unix" => now.as_second().to_string(),
        Some(_) => moment::format(now, text(args, 0)?),
    }))
}

fn write_to_file(args: &[Value], pass: &Pass<'_>) -> Result<Value, String> {
    let mode = text(args, 3)?;
    let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777);
    let flags = if args.len() == 6 { text(args, 4)? } else { "" };
    // While something is missing its place holder is no text to write.
    if !pass.missing.borrow().is_empty() {
        return Ok(Value::text(""));
    }
    let mut content = text(args, args.len() - 1)?.to_owned();
    if flags.contains("newline") {
        content.push('\n');
    }
    let written = Written {
        path: text(args, 0)?.to_owned(),
        user: text(args, 1)?.to_owned(),
        group: text(args, 2)?.to_owned(),
        mode: mode.ok_or("the mode is an octal number such as \"0600\"")?,
        append: flags.contains("append"),
        text: SecretString::new(content),
    };
    pass.source.write(written).ok_or("templates must not write files here")??;
    Ok(Value::Text(Rc::default()))
}
