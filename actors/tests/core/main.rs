//! State's pure core, from outside: its tables exhaustively, its behaviours by name, and all of it at random
//! against a model of everything around it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]
#![allow(unreachable_pub, reason = "a binary has no public interface")]

mod app;
mod calls;
mod chain;
mod pushes;
mod reconcile;
mod recovery;
mod scenarios;
mod serving;
mod shutdown;
mod storm;
mod supervision;
mod world;
