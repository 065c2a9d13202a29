//! Numbers: parsing and calculating.

use super::{
    Function,
    arguments::{number, text},
    row,
    values::arithmetic,
};
use crate::value::Value;

const MANY_TURNS: i64 = 1 << 20;

pub(crate) const ROWS: &[Function] = &[
    row("add", (2, 2), "A B", "A + B", |args, _| arithmetic("add", args)),
    row("divide", (2, 2), "A B", "B / A", |args, _| arithmetic("divide", args)),
    row("loop", (1, 2), "FROM TO", "the numbers from 0 or FROM up to but not including TO", |args, _| {
        let bound = |value: &Value| match value {
            Value::Int(number) => Ok(*number),
            Value::Text(text) => number(text, "a whole number"),
            other => Err(format!("bad argument type: {}", other.kind())),
        };
        let (from, to) = if args.len() == 2 { (bound(&args[0])?, bound(&args[1])?) } else { (0, bound(&args[0])?) };
        if to.saturating_sub(from) > MANY_TURNS {
            return Err(format!("more than {MANY_TURNS} turns"));
        }
        Ok(Value::list((from..to).map(Value::Int)))
    }),
    row("maximum", (2, 2), "A B", "the greater", |args, _| arithmetic("maximum", args)),
    row("minimum", (2, 2), "A B", "the lesser", |args, _| arithmetic("minimum", args)),
    row("modulo", (2, 2), "A B", "what B / A leaves over", |args, _| arithmetic("modulo", args)),
    row("multiply", (2, 2), "A B", "A × B", |args, _| arithmetic("multiply", args)),
    row("parseBool", (1, 1), "TEXT", "truth: 1, t, true, 0, f, false", |args, _| match text(args, 0)? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
        _ => Err("not a boolean".to_owned()),
    }),
    row("parseFloat", (1, 1), "TEXT", "a number", |args, _| {
        Ok(Value::Float(number(text(args, 0)?, "a number")?, None))
    }),
    row("parseInt", (1, 1), "TEXT", "a whole number", |args, _| {
        Ok(Value::Int(number(text(args, 0)?, "a whole number")?))
    }),
    row("parseUint", (1, 1), "TEXT", "a whole number that is not negative", |args, _| {
        let digits = text(args, 0)?;
        if digits.starts_with(['-', '+']) {
            return Err("not a whole number".to_owned());
        }
        Ok(Value::Int(number(digits, "a whole number")?))
    }),
    row("subtract", (2, 2), "A B", "B - A", |args, _| arithmetic("subtract", args)),
];
