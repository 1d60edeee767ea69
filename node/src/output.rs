//! Where words go: results to stdout, everything else to stderr. A reader that went away is no failure.

use std::io::{self, Write};

/// Writes a line of results.
///
/// # Errors
/// What the system says, unless nobody reads any more.
pub(crate) fn result(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a line for whoever watches. Nothing depends on it being read.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
