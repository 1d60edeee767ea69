#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| roadbed_fuzz::wal_operations(bytes));
