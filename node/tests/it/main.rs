//! Tests of the program, from outside: flags in, exit codes, output and files out.

mod kill;
mod refusals;
mod runs;
mod signals;
mod support;
mod tools;
