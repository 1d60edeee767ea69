//! roadbed.
