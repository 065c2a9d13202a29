//! Stored values: bytes that we did not write are never opened, at any path.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (&str, &[u8])| holdfast_barrier::fuzzing::open(input.0, input.1));
