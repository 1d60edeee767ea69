#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| roadbed_fuzz::messages_decode(bytes));
