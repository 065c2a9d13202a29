//! Paths: whatever is let through has one form only, with nothing in it that leads elsewhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|encoded: &str| {
    let Ok(path) = holdfast_http::path::decode(encoded) else { return };
    if holdfast_core::pipeline::is_canonical(&path) {
        assert!(!path.contains("//") && !path.chars().any(char::is_control), "{path:?}");
        assert!(
            path.split('/').all(|segment| segment != "." && segment != ".." && segment.trim() == segment),
            "{path:?}"
        );
    }
});
