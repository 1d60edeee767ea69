//! Headers, frames and footers with any content under a checksum that is right: what no disk makes, but a program can.
//! Every number in them is hostile, and must be answered or refused. The layout is that of `docs/wal-format.md`.

use std::path::PathBuf;

use crc_fast::{CrcAlgorithm, Digest};
use roadbed_wal::sim::SimStorage;

use super::input::Input;
use super::{survey, written};

const PAGE: usize = 4096;
const PAGE_CRC: usize = PAGE - 4;
const HEADER_SALT: usize = 64;
const HEADER_FRAMES: usize = 104;
const FRAME_LENGTH: usize = 40;
const FRAME_FLAGS: usize = 45;
const FRAME_PAYLOAD_CRC: usize = 48;
const FRAME_HEADER_CRC: usize = 52;
const FRAME_HEADER: usize = 56;

/// Forges the header of a segment.
pub(crate) fn header(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sim = written(input.flag());
    let segment = pick(&sim, &mut input);
    let rest = input.take(usize::MAX);
    sim.damage(&segment, |file| {
        patch(&mut file[..200], &mut Input::new(rest));
        seal(&mut file[..PAGE], 0, 0);
    });
    survey(&sim, true);
}

/// Forges a frame, its payload included.
pub(crate) fn frame(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sim = written(input.flag());
    let segment = pick(&sim, &mut input);
    let content = sim.read_file(&segment).unwrap();
    let frames = frames(&content);
    if frames.is_empty() {
        return;
    }
    let offset = frames[input.below(frames.len())];
    let vouch_for_payload = input.flag();
    let rest = input.take(usize::MAX);
    sim.damage(&segment, |file| {
        let frame = &mut file[offset..];
        patch(&mut frame[..FRAME_HEADER + 16], &mut Input::new(rest));
        if vouch_for_payload {
            let len = (number(frame, FRAME_LENGTH, 4) as usize).min(frame.len() - FRAME_HEADER);
            let crc = crc(&[&frame[FRAME_HEADER..FRAME_HEADER + len]]);
            frame[FRAME_PAYLOAD_CRC..FRAME_HEADER_CRC].copy_from_slice(&crc);
        }
        let crc = crc(&[&frame[..FRAME_HEADER_CRC], &(offset as u64).to_le_bytes()]);
        frame[FRAME_HEADER_CRC..FRAME_HEADER].copy_from_slice(&crc);
    });
    survey(&sim, false);
}

/// Forges a summary or a page of a table.
pub(crate) fn footer(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sim = written(input.flag());
    let segment = pick(&sim, &mut input);
    let content = sim.read_file(&segment).unwrap();
    let magics: [&[u8]; 3] = [b"RBWFOOTR", b"RBWENTRY", b"RBWDIGST"];
    let pages: Vec<usize> = (PAGE..content.len().saturating_sub(PAGE - 1))
        .step_by(PAGE)
        .filter(|at| magics.contains(&&content[*at..*at + 8]))
        .collect();
    if pages.is_empty() {
        return;
    }
    let at = pages[input.below(pages.len())];
    let salt = number(&content, HEADER_SALT, 8);
    let rest = input.take(usize::MAX);
    sim.damage(&segment, |file| {
        let page = &mut file[at..at + PAGE];
        patch(&mut page[8..PAGE_CRC], &mut Input::new(rest));
        seal(page, salt, at as u64);
    });
    survey(&sim, true);
}

/// A segment, of those that count or did.
fn pick(sim: &SimStorage, input: &mut Input<'_>) -> PathBuf {
    let segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg");
    let mut segments: Vec<PathBuf> = sim.files().into_iter().filter(segment).collect();
    segments.swap_remove(input.below(segments.len()))
}

/// Where the frames of a segment are.
fn frames(file: &[u8]) -> Vec<usize> {
    let salt = &file[HEADER_SALT..HEADER_SALT + 8];
    let mut at = number(file, HEADER_FRAMES, 8) as usize;
    let mut frames = Vec::new();
    while at + FRAME_HEADER <= file.len() && &file[at..at + 8] == salt {
        frames.push(at);
        let end = at + FRAME_HEADER + number(file, at + FRAME_LENGTH, 4) as usize;
        let last_of_group = file[at + FRAME_FLAGS] & 1 == 1;
        at = end.next_multiple_of(if last_of_group { PAGE } else { 8 });
    }
    frames
}

/// Puts bytes of the input over some of `bytes`, up to four times: a place, a length, and what goes there.
fn patch(bytes: &mut [u8], input: &mut Input<'_>) {
    for _ in 0..4 {
        if input.is_empty() {
            return;
        }
        let at = match bytes.len() {
            0..=256 => usize::from(input.byte()) % bytes.len(),
            len => input.below(len),
        };
        let len = 1 + usize::from(input.byte() % 8);
        for (to, from) in bytes[at..].iter_mut().zip(input.take(len)) {
            *to = *from;
        }
    }
}

fn seal(page: &mut [u8], salt: u64, offset: u64) {
    let crc = crc(&[&page[..PAGE_CRC], &salt.to_le_bytes(), &offset.to_le_bytes()]);
    page[PAGE_CRC..].copy_from_slice(&crc);
}

fn crc(parts: &[&[u8]]) -> [u8; 4] {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    (digest.finalize() as u32).to_le_bytes()
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise every forgery would be refused for its checksum, and nothing would be tested.
    #[test]
    fn forging_nothing_changes_nothing() {
        let (mut entries, mut footers) = (0, 0);
        for close in [false, true] {
            let sim = written(close);
            let segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg");
            for path in sim.files().into_iter().filter(segment) {
                let before = sim.read_file(&path).unwrap();
                entries += frames(&before).len();
                sim.damage(&path, |file| {
                    seal(&mut file[..PAGE], 0, 0);
                    for offset in frames(file) {
                        let frame = &mut file[offset..];
                        let crc = crc(&[&frame[..FRAME_HEADER_CRC], &(offset as u64).to_le_bytes()]);
                        frame[FRAME_HEADER_CRC..FRAME_HEADER].copy_from_slice(&crc);
                    }
                });
                assert!(sim.read_file(&path).unwrap() == before, "{}", path.display());
                // A recycled file has footers of its former life too.
                let salt = number(&before, HEADER_SALT, 8);
                footers += before
                    .chunks_exact(PAGE)
                    .enumerate()
                    .filter(|(_, page)| page.starts_with(b"RBWFOOTR"))
                    .filter(|(at, page)| {
                        let mut sealed = page.to_vec();
                        seal(&mut sealed, salt, (at * PAGE) as u64);
                        sealed == *page
                    })
                    .count();
            }
        }
        assert!(entries > 20 && footers > 1, "{entries} {footers}");
    }
}
