//! Go templates: any text is parsed or refused, and rendering ends.
#![no_main]

use holdfast_template::Template;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(template) = Template::parse(text) {
        let data = serde_json::json!({"Data": {"data": {"a": "b", "n": 7, "list": [1, "two", null]}}});
        let _ = template.render(&data, &holdfast_template::NoSource);
    }
});
