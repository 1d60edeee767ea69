//! roadbed-benches.
