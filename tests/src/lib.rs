//! What the integration tests share: a chain to feed, a store to feed it to, and hands to tamper with a store's files.
//!
//! Tests speak to State through its address only, see [`Client`]; nothing here waits for luck: a test waits for a
//! reply, or asks for the status until it shows what it must.

pub mod chaos;
mod client;
mod files;
mod fixture;
mod rig;
mod scrape;
pub mod sim;

pub use client::{Client, Sent};
pub use files::{Craft, Files};
pub use fixture::{Certified, Fixture, app_hash, certified};
pub use rig::{Rig, settings};
pub use scrape::{Labels, Scrape};
