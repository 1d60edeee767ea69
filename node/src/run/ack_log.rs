//! The ack log: a line `number hash` for each app hash that was answered, written before the answer counts.
//!
//! The lines never descend. A process that is killed leaves what it wrote in the page cache, so nothing is synced
//! here; at most the last line is incomplete, it never counted, and it is cut off before the next is written.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use roadbed_messages::{AppHash, BlockNumber};

/// A number, a space, a hash and the end of the line; nothing longer is read.
const LINE_BYTES_MAX: usize = 20 + 1 + 64 + 1;

/// An ack log that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AckLogError {
    /// The operating system refused something.
    #[error("ack log {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What came back.
        error: std::io::Error,
    },
    /// A line of something else.
    #[error("{}:{line}: {text:?} is not `number hash`: --ack-log takes a new file, or one that an earlier run wrote", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The start of it.
        text: String,
    },
}

impl AckLogError {
    /// Whether the file is not what it should be, rather than out of reach.
    pub(crate) fn is_content(&self) -> bool {
        matches!(self, Self::Malformed { .. })
    }
}

/// An app hash that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    /// Where in the file, from 1.
    pub(crate) line: u64,
    /// The block.
    pub(crate) number: BlockNumber,
    /// The hash.
    pub(crate) hash: AppHash,
}

/// The file, open for more.
#[derive(Debug)]
pub(crate) struct AckLog {
    path: PathBuf,
    file: File,
}

impl AckLog {
    /// Opens the log, made if it is missing: every line is looked at, and an incomplete last one is cut off.
    ///
    /// # Errors
    /// When it holds anything else; the file is as it was then.
    pub(crate) fn open(path: &Path) -> Result<Self, AckLogError> {
        let failed = |error| AckLogError::Io { path: path.to_path_buf(), error };
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        let mut lines = Lines::open(path)?;
        for ack in lines.by_ref() {
            ack?;
        }
        if file.metadata().map_err(failed)?.len() != lines.bytes {
            file.set_len(lines.bytes).map_err(failed)?;
        }
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Appends a line; it is with the operating system when this returns.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn append(&mut self, number: BlockNumber, hash: AppHash) -> Result<(), AckLogError> {
        let line = format!("{number} {hash}\n");
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| AckLogError::Io { path: self.path.clone(), error })
    }
}

/// The complete lines of an ack log, in their order.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    line: u64,
    /// Bytes of the complete lines so far.
    bytes: u64,
}

impl Lines {
    /// Opens the log to read.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(path: &Path) -> Result<Self, AckLogError> {
        let opened = File::open(path);
        let file = opened.map_err(|error| AckLogError::Io { path: path.to_path_buf(), error })?;
        Ok(Self { path: path.to_path_buf(), reader: BufReader::new(file), line: 0, bytes: 0 })
    }
}

impl Iterator for Lines {
    type Item = Result<Ack, AckLogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut text = Vec::new();
        let read = self.reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut text);
        if let Err(error) = read {
            return Some(Err(AckLogError::Io { path: self.path.clone(), error }));
        }
        self.line += 1;
        let parsed = match text.split_last() {
            Some((b'\n', line)) => {
                self.bytes += text.len() as u64;
                parse(line).map(|(number, hash)| Ack { line: self.line, number, hash })
            }
            _ if is_cut_short(&text) => return None,
            _ => None,
        };
        Some(parsed.ok_or_else(|| AckLogError::Malformed {
            path: self.path.clone(),
            line: self.line,
            text: String::from_utf8_lossy(&text).trim_end().to_owned(),
        }))
    }
}

fn parse(line: &[u8]) -> Option<(BlockNumber, AppHash)> {
    let (number, hash) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let all_digits = number.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then_some((BlockNumber(number.parse().ok()?), hash.parse().ok()?))
}

/// Whether this can be the start of a line, or nothing: what a killed process may leave at the end.
fn is_cut_short(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = &text[digits..];
    digits <= 20
        && rest.len() <= 65
        && match rest.split_first() {
            None => true,
            Some((b' ', hex)) => digits > 0 && hex.iter().all(u8::is_ascii_hexdigit),
            Some(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> AppHash {
        AppHash([byte; 32])
    }

    fn acks(path: &Path) -> Vec<(u64, u64, AppHash)> {
        Lines::open(path)
            .unwrap()
            .map(|ack| ack.unwrap())
            .map(|ack| (ack.line, ack.number.0, ack.hash))
            .collect()
    }

    #[test]
    fn what_was_appended_is_read_again_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acks");
        AckLog::open(&path).unwrap().append(BlockNumber(3), hash(3)).unwrap();
        AckLog::open(&path).unwrap().append(BlockNumber(4), hash(4)).unwrap();
        assert_eq!(acks(&path), [(1, 3, hash(3)), (2, 4, hash(4))]);
    }

    #[test]
    fn an_incomplete_last_line_never_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acks");
        std::fs::write(&path, format!("3 {}\n4 0101", hash(3))).unwrap();
        assert_eq!(acks(&path), [(1, 3, hash(3))]);
        AckLog::open(&path).unwrap().append(BlockNumber(4), hash(4)).unwrap();
        assert_eq!(acks(&path), [(1, 3, hash(3)), (2, 4, hash(4))]);
    }

    #[test]
    fn another_file_is_refused_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acks");
        let long = "7".repeat(1000);
        for text in ["shopping\n", "shopping", "3\n", "3 00\n4 00", "-1 00\n", "\n", " 00", long.as_str()] {
            std::fs::write(&path, text).unwrap();
            let error = AckLog::open(&path).unwrap_err();
            assert!(error.is_content() && error.to_string().contains("acks:1:"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
