//! What Go's text/template has itself.

use super::{
    Function, MANY,
    arguments::{secretly, text},
    row,
    text::{html, url_query},
    values::{equals_any, index, length, order, slice},
};
use crate::{format, value::Value};

pub(crate) const ROWS: &[Function] = &[
    row("and", (1, MANY), "VALUE…", "the first value that is empty, or else the last", |_, _| Err(apart())),
    row("eq", (2, MANY), "VALUE OTHER…", "is the first equal to one of the others?", |args, _| {
        Ok(Value::Bool(equals_any(&args[0], &args[1..])?))
    }),
    row("ge", (2, 2), "A B", "A ≥ B", |args, _| Ok(Value::Bool(order(args)?.is_ge()))),
    row("gt", (2, 2), "A B", "A > B", |args, _| Ok(Value::Bool(order(args)?.is_gt()))),
    row("html", (1, MANY), "VALUE…", "printed, escaped for HTML", |args, _| {
        Ok(Value::text(html(&format::print(args, false))))
    }),
    row("index", (1, MANY), "VALUE KEY…", "the element at a key or position, and so on inside it", |args, _| {
        index(&args[0], &args[1..])
    }),
    row("js", (1, MANY), "VALUE…", "printed, escaped for JavaScript", |args, _| {
        Ok(Value::text(super::text::js(&format::print(args, false))))
    }),
    row("le", (2, 2), "A B", "A ≤ B", |args, _| Ok(Value::Bool(order(args)?.is_le()))),
    row("len", (1, 1), "VALUE", "bytes of a text, elements of a list or map", |args, _| {
        Ok(Value::Int(length(&args[0])?))
    }),
    row("lt", (2, 2), "A B", "A < B", |args, _| Ok(Value::Bool(order(args)?.is_lt()))),
    row("ne", (2, 2), "A B", "are they different?", |args, _| Ok(Value::Bool(!equals_any(&args[0], &args[1..])?))),
    row("not", (1, 1), "VALUE", "is it empty?", |args, _| Ok(Value::Bool(!args[0].is_true()))),
    row("or", (1, MANY), "VALUE…", "the first value that is not empty, or else the last", |_, _| Err(apart())),
    row("print", (0, MANY), "VALUE…", "as fmt.Sprint", |args, _| Ok(secretly(format::print(args, false)))),
    row("printf", (1, MANY), "FORMAT VALUE…", "as fmt.Sprintf", |args, _| {
        Ok(secretly(format::printf(text(args, 0)?, &args[1..])))
    }),
    row("println", (0, MANY), "VALUE…", "as fmt.Sprintln", |args, _| {
        Ok(Value::text(format!("{}\n", *format::print(args, true))))
    }),
    row("slice", (1, 3), "VALUE FROM TO", "a part of a text or list", |args, _| slice(&args[0], &args[1..])),
    row("urlquery", (1, MANY), "VALUE…", "printed, escaped for the query of a URL", |args, _| {
        Ok(Value::text(url_query(&format::print(args, false))))
    }),
    row("executeTemplate", (1, 2), "NAME VALUE", "what a defined template prints, as a text", |_, _| Err(apart())),
];

/// These do not get their arguments like others: the interpreter does them itself.
fn apart() -> String {
    "cannot be called like this".to_owned()
}
