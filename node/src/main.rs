//! The demo validator and operator tools.
fn main() {}
