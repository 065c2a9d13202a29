//! Durations: what is read is written so that it is read again as the same.
#![no_main]

use holdfast_base::duration;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(read) = duration::parse(text) {
        let written = duration::format(read);
        let again = duration::parse(&written).expect("what we write can be read");
        assert_eq!(again, read, "{text:?} {written:?}");
    }
});
