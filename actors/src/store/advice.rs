//! What to do about a call that the operating system refused.

use std::io::ErrorKind;

/// The end of a message about a path: what to do next, behind a semicolon. Empty where the system's own words say it.
pub fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ReadOnlyFilesystem => "; mount it for writing, or choose another place",
        ErrorKind::PermissionDenied => "; let this user read and write there, or choose another place",
        ErrorKind::NotADirectory => {
            "; move away the file that is where a directory belongs, or choose another place"
        }
        ErrorKind::IsADirectory => "; move away the directory that is where a file belongs",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room, or choose another disk",
        _ => "",
    }
}
