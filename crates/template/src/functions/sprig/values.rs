//! Sprig over numbers, lists and dictionaries.

use std::rc::Rc;

use super::super::{
    Function, MANY,
    arguments::{list, map, shown, text, whole},
    collections::merged,
    row,
    text::join,
    values::same,
};
use crate::value::{Map, Value};

/// Longest list that a range makes.
const MAX_LIST: i64 = 1 << 20;

pub(crate) const ROWS: &[Function] = &[
    row("sprig_add", (1, MANY), "NUMBER…", "the sum", |a, _| folded(a, i64::checked_add)),
    row("sprig_add1", (1, 1), "NUMBER", "one more", |a, _| folded(&[a[0].clone(), Value::Int(1)], i64::checked_add)),
    row("sprig_all", (0, MANY), "VALUE…", "is none of them empty?", |a, _| {
        Ok(Value::Bool(a.iter().all(Value::is_true)))
    }),
    row("sprig_any", (0, MANY), "VALUE…", "is one of them not empty?", |a, _| {
        Ok(Value::Bool(a.iter().any(Value::is_true)))
    }),
    row("sprig_append", (2, 2), "LIST VALUE", "the list and the value", |a, _| {
        Ok(Value::list(list(a, 0)?.iter().chain([&a[1]]).cloned()))
    }),
    row("sprig_atoi", (1, 1), "TEXT", "a whole number, or 0", |a, _| Ok(Value::Int(text(a, 0)?.parse().unwrap_or(0)))),
    row("sprig_ceil", (1, 1), "NUMBER", "rounded up", |a, _| Ok(Value::Float(float(&a[0]).ceil(), None))),
    row("sprig_coalesce", (0, MANY), "VALUE…", "the first that is not empty", |a, _| {
        Ok(a.iter().find(|value| value.is_true()).cloned().unwrap_or(Value::Nil))
    }),
    row("sprig_compact", (1, 1), "LIST", "without empty elements", |a, _| {
        Ok(Value::list(list(a, 0)?.iter().filter(|value| value.is_true()).cloned()))
    }),
    row("sprig_concat", (0, MANY), "LIST…", "the lists as one", |a, _| {
        let mut all = Vec::new();
        for at in 0..a.len() {
            all.extend_from_slice(list(a, at)?);
        }
        Ok(Value::list(all))
    }),
    row("sprig_default", (1, 2), "OTHER VALUE", "the value, or the other one if it is empty", |a, _| {
        Ok(a.get(1).filter(|value| value.is_true()).unwrap_or(&a[0]).clone())
    }),
    row("sprig_dict", (0, MANY), "KEY VALUE…", "a dictionary", |a, _| {
        let pairs = a
            .chunks(2)
            .map(|pair| (shown(&pair[0]).to_string(), pair.get(1).cloned().unwrap_or_else(|| Value::text(""))));
        Ok(Value::map(pairs))
    }),
    row(
        "sprig_dig",
        (3, MANY),
        "KEY… OTHER DICT",
        "what is there at these keys one below the other, or the other value",
        |a, _| {
            let (keys, rest) = a.split_at(a.len() - 2);
            let mut found = &rest[1];
            for key in keys {
                match found {
                    Value::Map(map) => match map.get(shown(key).as_str()) {
                        Some(next) => found = next,
                        None => return Ok(rest[0].clone()),
                    },
                    _ => return Ok(rest[0].clone()),
                }
            }
            Ok(found.clone())
        },
    ),
    row("sprig_div", (2, 2), "A B", "A / B", |a, _| folded(a, i64::checked_div)),
    row("sprig_empty", (1, 1), "VALUE", "is it empty?", |a, _| Ok(Value::Bool(!a[0].is_true()))),
    row("sprig_first", (1, 1), "LIST", "the first element", |a, _| {
        Ok(list(a, 0)?.first().cloned().unwrap_or(Value::Nil))
    }),
    row("sprig_float64", (1, 1), "VALUE", "as a number", |a, _| Ok(Value::Float(float(&a[0]), None))),
    row("sprig_floor", (1, 1), "NUMBER", "rounded down", |a, _| Ok(Value::Float(float(&a[0]).floor(), None))),
    row("sprig_get", (2, 2), "DICT KEY", "what is there, or an empty text", |a, _| {
        Ok(map(a, 0)?.get(text(a, 1)?).cloned().unwrap_or_else(|| Value::text("")))
    }),
    row("sprig_has", (2, 2), "VALUE LIST", "is it in the list?", |a, _| {
        Ok(Value::Bool(list(a, 1)?.iter().any(|item| same(item, &a[0]))))
    }),
    row("sprig_hasKey", (2, 2), "DICT KEY", "is the key there?", |a, _| {
        Ok(Value::Bool(map(a, 0)?.contains_key(text(a, 1)?)))
    }),
    row("sprig_initial", (1, 1), "LIST", "all but the last", |a, _| {
        let items = list(a, 0)?;
        Ok(Value::list(items[..items.len().saturating_sub(1)].iter().cloned()))
    }),
    row("sprig_int", (1, 1), "VALUE", "as a whole number", |a, _| Ok(Value::Int(int(&a[0])))),
    row("sprig_int64", (1, 1), "VALUE", "as a whole number", |a, _| Ok(Value::Int(int(&a[0])))),
    row("sprig_join", (2, 2), "SEPARATOR LIST", "the elements as one text", |a, _| join(text(a, 0)?, &a[1])),
    row("sprig_keys", (1, MANY), "DICT…", "the keys, in order", |a, _| {
        let mut keys = Vec::new();
        for at in 0..a.len() {
            keys.extend(map(a, at)?.keys().map(|key| Value::text(key.as_str())));
        }
        Ok(Value::list(keys))
    }),
    row("sprig_last", (1, 1), "LIST", "the last element", |a, _| Ok(list(a, 0)?.last().cloned().unwrap_or(Value::Nil))),
    row("sprig_list", (0, MANY), "VALUE…", "a list", |a, _| Ok(Value::list(a.iter().cloned()))),
    row("sprig_max", (1, MANY), "NUMBER…", "the greatest", |a, _| folded(a, |x, y| Some(x.max(y)))),
    row("sprig_merge", (1, MANY), "DICT OTHER…", "the dictionary, and what only the others have", |a, _| {
        merge(a, false)
    }),
    row("sprig_mergeOverwrite", (1, MANY), "DICT OTHER…", "the dictionary, overridden by the others", |a, _| {
        merge(a, true)
    }),
    row("sprig_min", (1, MANY), "NUMBER…", "the least", |a, _| folded(a, |x, y| Some(x.min(y)))),
    row("sprig_mod", (2, 2), "A B", "what A / B leaves over", |a, _| folded(a, i64::checked_rem)),
    row("sprig_mul", (1, MANY), "NUMBER…", "the product", |a, _| folded(a, i64::checked_mul)),
    row("sprig_omit", (1, MANY), "DICT KEY…", "without these keys", |a, _| picked(a, false)),
    row("sprig_pick", (1, MANY), "DICT KEY…", "these keys only", |a, _| picked(a, true)),
    row("sprig_pluck", (1, MANY), "KEY DICT…", "what the dictionaries have at the key", |a, _| {
        let mut found = Vec::new();
        for at in 1..a.len() {
            found.extend(map(a, at)?.get(text(a, 0)?).cloned());
        }
        Ok(Value::list(found))
    }),
    row("sprig_prepend", (2, 2), "LIST VALUE", "the value and the list", |a, _| {
        Ok(Value::list([&a[1]].into_iter().chain(list(a, 0)?).cloned()))
    }),
    row("sprig_rest", (1, 1), "LIST", "all but the first", |a, _| Ok(Value::list(list(a, 0)?.iter().skip(1).cloned()))),
    row("sprig_reverse", (1, 1), "LIST", "the other way round", |a, _| {
        Ok(Value::list(list(a, 0)?.iter().rev().cloned()))
    }),
    row("sprig_round", (2, 3), "NUMBER PLACES", "rounded to so many places", |a, _| {
        let scale = 10f64.powi(i32::try_from(whole(a, 1)?).unwrap_or(0).clamp(0, 15));
        let scaled = float(&a[0]) * scale;
        let up = scaled - scaled.floor() >= a.get(2).map_or(0.5, float);
        Ok(Value::Float(if up { scaled.ceil() } else { scaled.floor() } / scale, None))
    }),
    row("sprig_set", (3, 3), "DICT KEY VALUE", "sets a key; changes the variable that it is given", |a, _| {
        let mut new = map(a, 0)?.clone();
        new.insert(text(a, 1)?.to_owned(), a[2].clone());
        Ok(Value::Map(Rc::new(new)))
    }),
    row("sprig_sortAlpha", (1, 1), "LIST", "in alphabetical order", |a, _| {
        let mut texts: Vec<_> = list(a, 0)?.iter().map(shown).collect();
        texts.sort_unstable_by(|x, y| x.as_str().cmp(y.as_str()));
        Ok(Value::list(texts.into_iter().map(super::super::arguments::secretly)))
    }),
    row("sprig_split", (2, 2), "SEPARATOR TEXT", "the parts as a dictionary: _0, _1 …", |a, _| {
        let parts = text(a, 1)?.split(text(a, 0)?).enumerate();
        Ok(Value::map(parts.map(|(at, part)| (format!("_{at}"), Value::text(part)))))
    }),
    row("sprig_splitList", (2, 2), "SEPARATOR TEXT", "the parts as a list", |a, _| {
        Ok(Value::list(text(a, 1)?.split(text(a, 0)?).map(Value::text)))
    }),
    row("sprig_sub", (2, 2), "A B", "A - B", |a, _| folded(a, i64::checked_sub)),
    row("sprig_ternary", (3, 3), "YES NO TRUTH", "one or the other", |a, _| match a[2] {
        Value::Bool(true) => Ok(a[0].clone()),
        Value::Bool(false) => Ok(a[1].clone()),
        _ => Err("wrong type for value; expected bool".to_owned()),
    }),
    row("sprig_toStrings", (1, 1), "LIST", "its elements printed", |a, _| {
        Ok(Value::list(list(a, 0)?.iter().map(|item| super::super::arguments::secretly(shown(item)))))
    }),
    row("sprig_tuple", (0, MANY), "VALUE…", "a list", |a, _| Ok(Value::list(a.iter().cloned()))),
    row("sprig_uniq", (1, 1), "LIST", "each element once", |a, _| {
        let mut found: Vec<Value> = Vec::new();
        for item in list(a, 0)? {
            if !found.iter().any(|known| same(known, item)) {
                found.push(item.clone());
            }
        }
        Ok(Value::list(found))
    }),
    row("sprig_unset", (2, 2), "DICT KEY", "removes a key; changes the variable that it is given", |a, _| {
        let mut new = map(a, 0)?.clone();
        new.remove(text(a, 1)?);
        Ok(Value::Map(Rc::new(new)))
    }),
    row("sprig_until", (1, 1), "COUNT", "0, 1 … up to but not including the count", |a, _| range(0, int(&a[0]), 1)),
    row("sprig_untilStep", (3, 3), "FROM TO STEP", "the same with another start and step", |a, _| {
        range(int(&a[0]), int(&a[1]), int(&a[2]))
    }),
    row("sprig_values", (1, 1), "DICT", "the values, in the order of their keys", |a, _| {
        Ok(Value::list(map(a, 0)?.values().cloned()))
    }),
    row("sprig_without", (1, MANY), "LIST VALUE…", "without these elements", |a, _| {
        Ok(Value::list(list(a, 0)?.iter().filter(|item| !a[1..].iter().any(|gone| same(gone, item))).cloned()))
    }),
];

fn int(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        Value::Bool(truth) => i64::from(*truth),
        #[expect(clippy::cast_possible_truncation, reason = "as Go's int64()")]
        Value::Float(number, _) => *number as i64,
        Value::Text(text) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(number, _) => *number,
        Value::Text(text) => text.parse().unwrap_or(0.0),
        #[expect(clippy::cast_precision_loss, reason = "as Go's float64()")]
        other => int(other) as f64,
    }
}

fn folded(args: &[Value], step: impl Fn(i64, i64) -> Option<i64>) -> Result<Value, String> {
    let mut numbers = args.iter().map(int);
    let first = numbers.next().unwrap_or(0);
    let result = numbers.try_fold(first, step);
    result.map(Value::Int).ok_or_else(|| "out of range, or division by zero".to_owned())
}

fn range(from: i64, to: i64, step: i64) -> Result<Value, String> {
    let step = if step == 0 { 1 } else { step };
    let distance = if step > 0 { to.saturating_sub(from) } else { from.saturating_sub(to) };
    if distance.max(0) / step.saturating_abs() > MAX_LIST {
        return Err(format!("more than {MAX_LIST} elements"));
    }
    let end = |at: i64| if step > 0 { at < to } else { at > to };
    Ok(Value::list(
        std::iter::successors(Some(from), |at| at.checked_add(step)).take_while(|at| end(*at)).map(Value::Int),
    ))
}

fn picked(args: &[Value], keep: bool) -> Result<Value, String> {
    let mut names = Vec::new();
    for at in 1..args.len() {
        names.push(text(args, at)?);
    }
    let chosen = map(args, 0)?.iter().filter(|(key, _)| names.contains(&key.as_str()) == keep);
    Ok(Value::map(chosen.map(|(key, value)| (key.clone(), value.clone()))))
}

fn merge(args: &[Value], over: bool) -> Result<Value, String> {
    let mut all: Map = map(args, 0)?.clone();
    for at in 1..args.len() {
        all = merged(&all, map(args, at)?, over, 0)?;
    }
    Ok(Value::Map(Rc::new(all)))
}
