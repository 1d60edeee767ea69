//! Directories that were damaged: whatever is found, nothing panics, nothing large is allocated, and no other bytes are
//! served.

use std::path::PathBuf;

use roadbed_wal::sim::SimStorage;

use super::input::Input;
use super::{survey, written};

/// Places where something begins, and any other.
fn place(input: &mut Input<'_>) -> usize {
    match input.byte() % 3 {
        0 => input.below(8) * 4096,
        1 => input.below(400) * 8,
        _ => input.below(32_768),
    }
}

fn len(input: &mut Input<'_>) -> usize {
    match input.byte() % 4 {
        0 => 512,
        1 => 4096,
        2 => 8192,
        _ => 1 + input.below(64),
    }
}

/// Damages a log as the bytes say, up to eight times.
pub(crate) fn directory(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sim = written(input.flag());
    for _ in 0..8 {
        if !input.is_empty() {
            damage(&sim, &mut input);
        }
    }
    survey(&sim, true);
}

fn damage(sim: &SimStorage, input: &mut Input<'_>) {
    let files: Vec<PathBuf> = sim.files().into_iter().filter(|path| path.extension().is_some()).collect();
    let kind = input.byte() % 11;
    let Some(file) = files.get(input.below(files.len())) else {
        return;
    };
    match kind {
        0..=3 => {
            let bit = place(input) as u64 * 8 + u64::from(input.byte() % 8);
            sim.flip_bit(file, bit);
        }
        4 | 5 => {
            let (at, len, byte) = (place(input), len(input), input.byte());
            sim.damage(file, |bytes| {
                let end = (at + len).min(bytes.len());
                bytes[at.min(end)..end].fill(byte);
            });
        }
        6..=8 => {
            // Bytes of one file at a place of another.
            let source = sim.read_file(&files[input.below(files.len())]).unwrap();
            let (at, to, len) = (place(input), place(input), len(input));
            let end = (at + len).min(source.len());
            let piece = &source[at.min(end)..end];
            sim.damage(file, |bytes| {
                let end = (to + piece.len()).min(bytes.len());
                let start = to.min(end);
                bytes[start..end].copy_from_slice(&piece[..end - start]);
            });
        }
        9 => {
            let to = place(input);
            sim.damage(file, |bytes| bytes.truncate(to));
        }
        _ => {
            sim.lose_file(file);
        }
    }
}
