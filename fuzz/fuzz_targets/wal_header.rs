#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.len() > 3 && data[0] == b'a' { if data[1] == b'q' { if data[2] == 200 { panic!("found") } } }
});
