//! Arguments as the kind that a function wants.

use std::{rc::Rc, str::FromStr};

use zeroize::Zeroizing;

use crate::{
    format,
    value::{Map, Value},
};

pub(super) fn text(args: &[Value], at: usize) -> Result<&str, String> {
    match &args[at] {
        Value::Text(text) => Ok(text),
        Value::Missing | Value::Nil => Err("invalid value; expected string".to_owned()),
        other => Err(wrong("string", other)),
    }
}

pub(super) fn whole(args: &[Value], at: usize) -> Result<i64, String> {
    match &args[at] {
        Value::Int(number) => Ok(*number),
        other => Err(wrong("int", other)),
    }
}

pub(super) fn list(args: &[Value], at: usize) -> Result<&[Value], String> {
    match &args[at] {
        Value::List(items) => Ok(items),
        other => Err(wrong("list", other)),
    }
}

pub(super) fn map(args: &[Value], at: usize) -> Result<&Map, String> {
    match &args[at] {
        Value::Map(map) => Ok(map),
        other => Err(wrong("map", other)),
    }
}

fn wrong(expected: &str, got: &Value) -> String {
    format!("wrong type for value; expected {expected}; got {}", got.kind())
}

/// Text of a Go `string` that may be printed from anything, as sprig takes it.
pub(super) fn shown(value: &Value) -> Zeroizing<String> {
    match value {
        Value::Missing | Value::Nil => Zeroizing::default(),
        other => format::plain(other),
    }
}

/// Text that is zeroed when dropped, as a value.
pub(super) fn secretly(text: Zeroizing<String>) -> Value {
    Value::Text(Rc::new(text))
}

/// `key=value` texts from `args[1..]`.
pub(super) fn pairs(args: &[Value]) -> Result<Vec<(String, String)>, String> {
    (1..args.len())
        .map(|at| {
            let (key, value) = text(args, at)?.split_once('=').ok_or("arguments after the path are \"key=value\"")?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// As Go's strconv reads a number in base 10; `""` is zero, as consul-template has it.
pub(super) fn number<N: FromStr + Default>(text: &str, what: &str) -> Result<N, String> {
    if text.is_empty() { Ok(N::default()) } else { text.parse().map_err(|_| format!("not {what}")) }
}
