//! The names of files in a log's directory.
//!
//! ```text
//! LOCK                      held by the owner, never removed
//! END                       says where the log ended when it was last closed or idle: evidence, never needed
//! 00000000000000000001.seg  a segment: counts
//! 00000000000000000002.tmp  a segment in preparation: never counts, removed when the log is opened
//! 00000000000000000003.free a spare file of the pool: never counts
//! ```

use std::path::{Path, PathBuf};

/// The lock file.
pub(crate) const LOCK: &str = "LOCK";
/// The record of the end.
pub(crate) const END: &str = "END";
const SEGMENT: &str = "seg";
const PREPARED: &str = "tmp";
const SPARE: &str = "free";

/// What a file is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Segment(u64),
    Prepared(u64),
    Spare(u64),
    End,
    /// Nothing of ours.
    Other,
}

/// Reads a name; only the exact form that [`segment`], [`prepared`] and [`spare`] write is ours.
pub(crate) fn parse(name: &str) -> Named {
    if name == END {
        return Named::End;
    }
    let Some((digits, suffix)) = name.split_once('.') else {
        return Named::Other;
    };
    let number = match digits.parse::<u64>() {
        Ok(number) if digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()) => number,
        _ => return Named::Other,
    };
    match suffix {
        SEGMENT => Named::Segment(number),
        PREPARED => Named::Prepared(number),
        SPARE => Named::Spare(number),
        _ => Named::Other,
    }
}

pub(crate) fn segment(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:020}.{SEGMENT}"))
}

pub(crate) fn prepared(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:020}.{PREPARED}"))
}

pub(crate) fn spare(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.{SPARE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_others_are_not_ours() {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let dir = Path::new("d");
        assert_eq!(parse(&name(segment(dir, 7))), Named::Segment(7));
        assert_eq!(parse(&name(prepared(dir, u64::MAX))), Named::Prepared(u64::MAX));
        assert_eq!(parse(&name(spare(dir, 0))), Named::Spare(0));
        assert_eq!(parse("END"), Named::End);
        for other in [
            "LOCK",
            "end",
            "END.seg",
            "7.seg",
            "+0000000000000000007.seg",
            "00000000000000000007.seg.bak",
            "seg",
        ] {
            assert_eq!(parse(other), Named::Other, "{other}");
        }
    }
}
