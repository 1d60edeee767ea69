use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::format::frame::{self, FrameKind};
use crate::storage::SyncPoint;

/// Counts the bytes that are read.
struct Counted {
    bytes: Vec<u8>,
    read: Cell<usize>,
}

/// Knows where its bytes are not zeros, in steps of so many bytes.
struct Sparse {
    counted: Counted,
    step: usize,
}

impl Source for Sparse {
    fn bytes(&self) -> u64 {
        self.counted.bytes()
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.counted.read(buffer, offset)
    }

    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        let bytes = &self.counted.bytes;
        let from = usize::try_from(offset).ok()?;
        let start = from + bytes.get(from..)?.iter().position(|byte| *byte != 0)?;
        let start = from.max(start - start % self.step);
        let zeros = |step: &[u8]| step.iter().all(|byte| *byte == 0);
        let steps = bytes[start..].chunks(self.step).take_while(|step| !zeros(step)).count();
        Some(start as u64..(start + steps * self.step) as u64)
    }
}

#[test]
fn what_holds_no_data_is_not_read_and_nothing_else_is_left_out() {
    const SALT: u64 = 77;
    let put = |bytes: &mut [u8], offset: u64, durable_upto: u64| {
        let header = FrameHeader {
            index: 3,
            durable_upto,
            key: 0,
            digest: 0,
            length: 0,
            kind: FrameKind::Mark,
            last_in_group: true,
            payload_crc: crate::format::crc32c(&[]),
        };
        let frame = &mut bytes[usize::try_from(offset).unwrap()..][..FRAME_HEADER_BYTES];
        header.encode_unfinished(frame);
        frame::finish(frame, SALT, offset, durable_upto, true);
    };
    for step in [512, PAGE_BYTES, 4 * PAGE_BYTES] {
        for places in [vec![], vec![0], vec![5 << 20], vec![PAGE, 3 * PAGE + 4080, 7 << 20, (8 << 20) - 56]] {
            let mut bytes = vec![0; 8 << 20];
            for (nth, offset) in places.iter().enumerate() {
                put(&mut bytes, *offset, nth as u64 + 1);
            }
            let dense = beyond(&bytes.as_slice(), SALT, 0, 1 << 20).unwrap();
            assert_eq!(dense.claim.is_some(), !places.is_empty());
            let sparse = Sparse { counted: Counted { bytes, read: Cell::new(0) }, step };
            assert_eq!(beyond(&sparse, SALT, 0, 1 << 20).unwrap(), dense, "{places:?} in steps of {step}");
            let read = sparse.counted.read.get();
            assert!(read <= places.len() * 6 * PAGE_BYTES, "{read} bytes for {places:?} in steps of {step}");
        }
    }
}

impl Source for Counted {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.set(self.read.get() + buffer.len());
        self.bytes.as_slice().read(buffer, offset)
    }
}

#[test]
fn a_window_reads_nothing_again_that_it_holds() {
    let bytes: Vec<u8> = (0..1000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let source = Counted { bytes: bytes.clone(), read: Cell::new(0) };
    let mut window = Window::default();
    for (offset, len, ahead, read) in
        [(0, 10, 100, 100), (50, 50, 100, 100), (90, 50, 100, 190), (150, 300, 0, 450), (900, 100, 500, 550)]
    {
        let place = window.reach(&source, offset as u64, len, ahead).unwrap();
        assert_eq!(window.memory[place], bytes[offset..offset + len], "{offset}");
        assert_eq!(source.read.get(), read, "{offset}");
    }
    assert_eq!(window.have(950, 100), &bytes[950..]);
    window.clear();
    assert!(window.have(950, 100).is_empty());
}
const SALT: u64 = 77;

/// A frame with the payload that is given, in the middle of its group.
fn framed(offset: u64, index: u64, durable_upto: u64, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        index,
        durable_upto,
        key: 0,
        digest: 0,
        length: u32::try_from(payload.len()).unwrap(),
        kind: FrameKind::Entry,
        last_in_group: false,
        payload_crc: crate::format::crc32c(payload),
    };
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    header.encode_unfinished(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(FRAME_ALIGN), 0);
    frame::finish(&mut bytes, SALT, offset, durable_upto, false);
    bytes
}

/// Frames of payloads of so many bytes, one after the other.
fn frames(count: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in 0..count {
        bytes.extend(framed(bytes.len() as u64, index, 0, &vec![1; len]));
    }
    bytes
}

#[test]
fn a_walk_reads_what_it_visits_about_once() {
    const AHEAD: usize = 256 << 10;
    for (count, len) in [(3000, 100), (40, LARGE_BYTES - 1), (40, LARGE_BYTES), (20, 300 << 10)] {
        for owned in [false, true] {
            let bytes = frames(count, len);
            let total = bytes.len();
            let source = Counted { bytes, read: Cell::new(0) };
            let terms = Terms {
                salt: SALT,
                offset: 0,
                index: 0,
                end: Some(total as u64),
                entry_bytes_max: 1 << 20,
                ahead: AHEAD,
            };
            let mut walker = Walker::new(&source, terms);
            let mut visited = 0;
            loop {
                let step = if owned { walker.step_owned() } else { walker.step() };
                match step.unwrap() {
                    Step::Frame { payload, .. } => {
                        assert_eq!(payload.len(), len);
                        visited += 1;
                    }
                    Step::Stop(stop) => {
                        assert_eq!(stop, Stop::End);
                        break;
                    }
                }
            }
            assert_eq!(visited, count);
            let (read, context) = (source.read.get(), format!("{len} bytes, owned {owned}"));
            assert!(read <= total, "{read} of {total} bytes: {context}");
            // Who keeps large payloads gets them without the window, and none is made for them.
            let window = walker.into_window().memory.len();
            let large = len >= LARGE_BYTES;
            let at_most = match (large, owned) {
                (true, true) => AHEAD,
                (true, false) => AHEAD.max(len + 3 * PAGE_BYTES),
                (false, _) => AHEAD,
            };
            assert!(window <= at_most, "{window} bytes are held: {context}");
        }
    }
}

/// Of what claims the most, the first; the last trace of this life, frame or not.
#[test]
fn what_lies_beyond_is_found_to_the_last_byte() {
    let found = |bytes: &[u8], from: u64| beyond(&bytes, SALT, from, PAGE_BYTES).unwrap();
    let mut bytes = vec![0; 5 * PAGE_BYTES + 64];
    assert_eq!(found(&bytes, 0), Beyond::default());
    let mut put = |offset: u64, durable_upto: u64| {
        let frame = framed(offset, 1, durable_upto, b"");
        let at = usize::try_from(offset).unwrap();
        bytes[at..at + frame.len()].copy_from_slice(&frame);
    };
    put(PAGE + 8, 500);
    put(2 * PAGE - 16, 500);
    put(3 * PAGE, 400);
    let end = 3 * PAGE + FRAME_HEADER_BYTES as u64;
    for from in [0, 1, 8, PAGE, PAGE + 8] {
        assert_eq!(found(&bytes, from), Beyond { claim: Some((PAGE + 8, 500)), last_end: Some(end) });
    }
    assert_eq!(found(&bytes, PAGE + 9).claim, Some((2 * PAGE - 16, 500)));
    assert_eq!(found(&bytes, 2 * PAGE).claim, Some((3 * PAGE, 400)));
    // At the end of a file that is no whole page: a frame that just fits, and a salt with too little behind it. What was
    // read before is not taken for what would lie behind the end.
    let mut whole = bytes.clone();
    for page in [3, 4] {
        let at = page * PAGE_BYTES + 2000;
        whole[at..at + 56].copy_from_slice(&framed(at as u64, 1, 300, b""));
    }
    let at = 5 * PAGE + 8;
    whole[5 * PAGE_BYTES + 8..].copy_from_slice(&framed(at, 1, 900, b""));
    let wanted = Beyond { claim: Some((at, 900)), last_end: Some(at + 56) };
    assert_eq!(found(&whole, 0), wanted);
    let cut = &whole[..5 * PAGE_BYTES + 63];
    let wanted = Beyond { claim: Some((PAGE + 8, 500)), last_end: Some(at + 8) };
    assert_eq!(found(cut, 0), wanted);
    assert_eq!(found(&bytes[..3 * PAGE_BYTES + 32], 0).last_end, Some(3 * PAGE + 8));
}

#[test]
fn a_footer_beyond_claims_all_before_it() {
    use crate::format::footer::{FooterKind, Summary};
    let records = [crate::format::table::Record { offset: 0, key: 0, digest: 0 }];
    let summary = Summary { kind: FooterKind::Close, tail: 6, base_index: 10, last_key: 0 };
    let mut footer = crate::buffer::AlignedBuffer::default();
    let mut builder = crate::format::table::TableBuilder::default();
    footer::build(summary, records.iter().copied(), SALT, 2 * PAGE, &mut builder, &mut footer);
    let mut bytes = vec![0; 8 * PAGE_BYTES];
    bytes[2 * PAGE_BYTES..2 * PAGE_BYTES + footer.len()].copy_from_slice(footer.bytes());
    let found = |bytes: &[u8]| beyond(&bytes, SALT, 0, PAGE_BYTES).unwrap().claim;
    assert_eq!(found(&bytes), Some((2 * PAGE, 2 * PAGE)));
    // Also from a place within a page: a tail that is torn ends in one.
    for from in [8, PAGE - 8, PAGE + 56] {
        let claim = beyond(&bytes.as_slice(), SALT, from, PAGE_BYTES).unwrap().claim;
        assert_eq!(claim, Some((2 * PAGE, 2 * PAGE)), "from {from}");
    }
    assert_eq!(found(&bytes[..3 * PAGE_BYTES]), Some((2 * PAGE, 2 * PAGE)), "its first page says it");
    assert_eq!(found(&bytes[..3 * PAGE_BYTES - 1]), None);
}

/// A file with holes that notes what is read of it and what it is told of reads to come. What is read of a hole, and so
/// much more, passes for data from then on: as with a page cache that reads ahead.
#[derive(Debug)]
struct Holes {
    bytes: u64,
    data: Mutex<Vec<Range<u64>>>,
    cached_ahead: u64,
    read: AtomicU64,
    told: Mutex<Vec<Range<u64>>>,
}

impl Holes {
    fn new(bytes: u64, data: &[Range<u64>], cached_ahead: u64) -> Self {
        let data = Mutex::new(data.to_vec());
        Self { bytes, data, cached_ahead, read: AtomicU64::new(0), told: Mutex::default() }
    }
}

impl StorageFile for Holes {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset + buffer.len() as u64;
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        if self.cached_ahead > 0 {
            self.data.lock().unwrap().push(offset..self.bytes.min(end + self.cached_ahead));
        }
        buffer.fill(0);
        Ok(buffer.len())
    }
    fn write_at(&self, _: &[u8], _: u64, _: SyncPoint) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_data(&self, _: SyncPoint) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn writes_are_durable(&self) -> bool {
        false
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }
    fn expect_reads(&self, range: Range<u64>) {
        self.told.lock().unwrap().push(range);
    }
    fn data_from(&self, offset: u64) -> Option<Range<u64>> {
        let data = self.data.lock().unwrap();
        let next = data.iter().filter(|data| data.end > offset).min_by_key(|data| data.start)?;
        Some(next.start.max(offset)..next.end)
    }
}

#[test]
fn what_reading_ahead_brings_into_the_cache_is_not_taken_for_data() {
    let file = Holes::new(64 << 20, &[0..PAGE, 9 * PAGE..10 * PAGE], 4 << 20);
    let source = FileSource::in_order(&file, 0).unwrap();
    assert_eq!(beyond(&source, 77, 0, 1 << 20).unwrap(), Beyond::default());
    assert_eq!(file.read.into_inner(), 2 * PAGE);
}

#[test]
fn the_storage_is_told_in_time_and_once_of_what_will_be_read() {
    const MIB: u64 = 1 << 20;
    let data = vec![0..5 * MIB, 20 * MIB..41 * MIB, 60 * MIB..u64::MAX];
    let file = Holes::new(64 * MIB, &data, 0);
    let source = FileSource::in_order(&file, 0).unwrap();
    let mut buffer = vec![0; 256 << 10];
    for piece in 0..64 * 4 {
        let offset = piece * (256 << 10);
        if data.iter().any(|data| data.contains(&offset)) {
            source.read(&mut buffer, offset).unwrap();
            let told = file.told.lock().unwrap();
            let covered = |at: u64| told.iter().any(|told| told.contains(&at));
            // What lies less than the whole lead ahead is told of, or holds nothing.
            for at in (offset..offset + EXPECTED_BYTES).step_by(256 << 10) {
                let holds = at < 64 * MIB && data.iter().any(|data| data.contains(&at));
                assert!(!holds || covered(at), "{at} when {offset} is read");
            }
            let ahead = told.iter().map(|told| told.end).max().unwrap() - offset;
            assert!(ahead <= EXPECTED_BYTES + EXPECTED_STEP_BYTES, "{ahead} bytes ahead of {offset}");
        }
    }
    let told = file.told.into_inner().unwrap();
    assert!(told.windows(2).all(|pair| pair[0].end <= pair[1].start), "{told:?}");
    assert!(told.iter().all(|told| told.end - told.start <= EXPECTED_STEP_BYTES), "{told:?}");
    assert_eq!(told.iter().map(|told| told.end - told.start).sum::<u64>(), (5 + 21 + 4) * MIB);
    // Whoever asks in no order is not told for.
    let file = Holes::new(64 * MIB, &data, 0);
    FileSource::new(&file).unwrap().read(&mut buffer, 0).unwrap();
    assert!(file.told.into_inner().unwrap().is_empty());
}
