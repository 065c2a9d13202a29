//! JSON, YAML, TOML, base64 and hashes.

use base64::{Engine as _, engine::general_purpose};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::{
    Function,
    arguments::text,
    row,
    text::{decode, html_safe},
};
use crate::{toml, value::Value, yaml};

pub(crate) const ROWS: &[Function] = &[
    row("base64Decode", (1, 1), "TEXT", "what is behind base64", |args, _| {
        decode(&general_purpose::STANDARD, text(args, 0)?)
    }),
    row("base64Encode", (1, 1), "TEXT", "as base64", |args, _| {
        Ok(Value::text(general_purpose::STANDARD.encode(text(args, 0)?)))
    }),
    row("base64URLDecode", (1, 1), "TEXT", "what is behind base64 of the URL alphabet", |args, _| {
        decode(&general_purpose::URL_SAFE, text(args, 0)?)
    }),
    row("base64URLEncode", (1, 1), "TEXT", "as base64 of the URL alphabet", |args, _| {
        Ok(Value::text(general_purpose::URL_SAFE.encode(text(args, 0)?)))
    }),
    row("hmacSHA256Hex", (2, 2), "MESSAGE KEY", "HMAC-SHA-256 in hexadecimal", |args, _| {
        let mut mac = Hmac::<Sha256>::new_from_slice(text(args, 1)?.as_bytes()).map_err(|error| error.to_string())?;
        mac.update(text(args, 0)?.as_bytes());
        Ok(Value::text(hex::encode(mac.finalize().into_bytes())))
    }),
    row("md5sum", (1, 1), "TEXT", "MD5 in hexadecimal", |args, _| {
        Ok(Value::text(hex::encode(Md5::digest(text(args, 0)?))))
    }),
    row("parseJSON", (1, 1), "TEXT", "the value that JSON says", |args, _| parse_json(text(args, 0)?)),
    row("parseYAML", (1, 1), "TEXT", "the value that YAML says", |args, _| {
        let text = text(args, 0)?;
        if text.is_empty() {
            return Ok(Value::map([]));
        }
        yaml::parse(text)
    }),
    row("sha256Hex", (1, 1), "TEXT", "SHA-256 in hexadecimal", |args, _| sha256(text(args, 0)?)),
    row("toJSON", (1, 1), "VALUE", "as JSON; <, > and & escaped", |args, _| {
        Ok(Value::text(html_safe(&args[0].to_json().to_string())))
    }),
    row("toJSONPretty", (1, 1), "VALUE", "the same over several lines", |args, _| {
        Ok(Value::text(html_safe(&pretty(&args[0]))))
    }),
    row("toTOML", (1, 1), "MAP", "as TOML", |args, _| toml::print(&args[0]).map(Value::text)),
    row("toUnescapedJSON", (1, 1), "VALUE", "as JSON", |args, _| Ok(Value::text(args[0].to_json().to_string()))),
    row("toUnescapedJSONPretty", (1, 1), "VALUE", "the same over several lines", |args, _| {
        Ok(Value::text(pretty(&args[0])))
    }),
    row("toYAML", (1, 1), "VALUE", "as YAML", |args, _| Ok(Value::text(yaml::print(&args[0])))),
];

pub(super) fn sha256(text: &str) -> Result<Value, String> {
    Ok(Value::text(hex::encode(Sha256::digest(text))))
}

pub(super) fn pretty(value: &Value) -> String {
    format!("{:#}", value.to_json())
}

pub(super) fn parse_json(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::map([]));
    }
    // The error of serde_json names position and kind, not content.
    serde_json::from_str(text).map(|json| Value::from_json(&json)).map_err(|error| format!("not JSON: {error}"))
}
