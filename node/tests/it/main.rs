//! Tests of the program, from outside: flags in, exit codes, output and files out.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report, in its helpers as well")]

mod backup;
mod documents;
mod exit_codes;
mod import;
mod kill;
mod mutate;
mod operator;
mod pinned;
mod refusals;
mod runs;
mod signals;
mod support;
mod tools;
