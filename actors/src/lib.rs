//! roadbed.

pub mod config;
pub mod state;
pub mod supervision;

pub use config::{Config, RetentionPolicy};
