//! The functions that are fuzzed. They live beside the tests of their crates, where the corpus is replayed as well; here
//! they meet a fuzzer that sees which branches they take.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, dead_code)]

#[path = "../../wal/tests/it/fuzz/mod.rs"]
mod fuzz;
#[path = "../../wal/tests/it/life.rs"]
mod life;
#[path = "../../messages/tests/it/fuzz.rs"]
mod messages;
#[path = "../../wal/tests/it/script.rs"]
mod script;
#[path = "../../wal/tests/it/support.rs"]
mod support;

macro_rules! targets {
    ($($name:ident: $function:path;)*) => {
        $(
            /// Panics when a promise is broken.
            pub fn $name(bytes: &[u8]) {
                $function(bytes);
            }
        )*
    };
}

targets! {
    wal_header: fuzz::header;
    wal_frame: fuzz::frame;
    wal_footer: fuzz::footer;
    wal_directory: fuzz::directory;
    wal_operations: fuzz::operations;
    messages_decode: messages::decode_any;
}
