//! Configuration files and policies: any text is read or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = holdfast_hcl::parse(text);
});
