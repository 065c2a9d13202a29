//! Request bodies and query strings: what is measured as harmless is parsed without trouble.
#![no_main]

use holdfast_http::{
    body::{self, Shape},
    query,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for content_type in ["application/json", "application/x-www-form-urlencoded"] {
        let shape = Shape { depth: 64, values: 1000 };
        if body::measure(content_type, bytes, shape).is_ok() {
            let _ = body::parse(content_type, bytes);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = query::parse(text, query::Repeated::List);
    }
});
