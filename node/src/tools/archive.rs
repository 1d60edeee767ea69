//! The archive: QCs and blocks in one file, as they are stored.
//!
//! ```text
//! "RBARCHV1"  length u32  header (JSON: chain, committee, from, to)  CRC32C u32
//! record:     kind u8 (1 a QC, 2 a block, 255 the end)  index u64  key u64  length u32  CRC32C u32  payload
//! ```
//!
//! Numbers are little-endian. A record's checksum covers its fields and its payload. The end counts QCs (index) and blocks
//! (key). A file without an end was interrupted: what is before the first record that does not hold can be relied on, and
//! an export goes on behind it. The checksums find accidents; whoever imports verifies signatures and hashes.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use roadbed_messages::api::WalKind;
use roadbed_messages::{BlockNumber, ChainId, Committee};
use serde::{Deserialize, Serialize};

use super::records::Raw;
use crate::exit::NodeError;

const MAGIC: &[u8; 8] = b"RBARCHV1";
const SCHEMA: &str = "roadbed.archive/1";
const QC: u8 = 1;
const BLOCK: u8 = 2;
const END: u8 = 255;
/// Kind, index, key and length.
const FIELDS_BYTES: usize = 1 + 8 + 8 + 4;
/// A header is a committee; nothing longer is read.
const HEADER_BYTES_MAX: u32 = 16 << 20;
/// As the logs have it.
const PAYLOAD_BYTES_MAX: u32 = 64 << 20;

/// What an archive is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    schema: String,
    /// The chain.
    pub(crate) chain: ChainId,
    /// Who votes.
    pub(crate) committee: Committee,
    /// The first block.
    pub(crate) from: BlockNumber,
    /// The end of the blocks.
    pub(crate) to: BlockNumber,
}

impl Header {
    pub(crate) fn new(committee: &Committee, from: BlockNumber, to: BlockNumber) -> Self {
        let (schema, chain) = (SCHEMA.to_owned(), committee.chain_id());
        Self { schema, chain, committee: committee.clone(), from, to }
    }
}

/// Writes an archive.
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    qcs: u64,
    blocks: u64,
}

impl Writer {
    /// Begins a file, which must not exist.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn create(path: &Path, header: &Header) -> Result<Self, NodeError> {
        let file = File::options().write(true).create_new(true).open(path);
        let file = file.map_err(|error| NodeError::io(path.display().to_string(), error))?;
        let mut writer = Self { path: path.to_path_buf(), file: BufWriter::new(file), qcs: 0, blocks: 0 };
        let json = serde_json::to_vec(header)
            .map_err(|error| NodeError::Failed(format!("{}: {error}", path.display())))?;
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
        writer.write(&[MAGIC, &length.to_le_bytes(), &json, &crc(&[&json]).to_le_bytes()])?;
        Ok(writer)
    }

    /// Goes on behind what an interrupted export left: cuts off what does not hold.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn resume(path: &Path, held: &Held) -> Result<Self, NodeError> {
        let failed = |error| NodeError::io(path.display().to_string(), error);
        let mut file = File::options().write(true).open(path).map_err(failed)?;
        file.set_len(held.bytes).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let file = BufWriter::new(file);
        Ok(Self { path: path.to_path_buf(), file, qcs: held.qcs, blocks: held.blocks })
    }

    fn write(&mut self, parts: &[&[u8]]) -> Result<(), NodeError> {
        let failed = |error| NodeError::io(self.path.display().to_string(), error);
        parts.iter().try_for_each(|part| self.file.write_all(part)).map_err(failed)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn add(&mut self, record: &Raw) -> Result<(), NodeError> {
        let kind = match record.wal {
            WalKind::Qcs => QC,
            WalKind::Blocks => BLOCK,
        };
        self.record(kind, record.index, record.key, &record.payload)?;
        *(if kind == QC { &mut self.qcs } else { &mut self.blocks }) += 1;
        Ok(())
    }

    fn record(&mut self, kind: u8, index: u64, key: u64, payload: &[u8]) -> Result<(), NodeError> {
        let fields = fields(kind, index, key, u32::try_from(payload.len()).unwrap_or(u32::MAX));
        self.write(&[&fields, &crc(&[&fields, payload]).to_le_bytes(), payload])
    }

    /// Ends the file, durably. Answers how many QCs and blocks are in it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn finish(mut self) -> Result<(u64, u64), NodeError> {
        self.record(END, self.qcs, self.blocks, &[])?;
        let failed = |error| NodeError::io(self.path.display().to_string(), error);
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok((self.qcs, self.blocks))
    }
}

fn fields(kind: u8, index: u64, key: u64, length: u32) -> [u8; FIELDS_BYTES] {
    let mut fields = [0; FIELDS_BYTES];
    fields[0] = kind;
    fields[1..9].copy_from_slice(&index.to_le_bytes());
    fields[9..17].copy_from_slice(&key.to_le_bytes());
    fields[17..].copy_from_slice(&length.to_le_bytes());
    fields
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    // A CRC32 is 32 bits wide.
    u32::try_from(digest.finalize()).unwrap_or(0)
}

/// Reads an archive.
pub(crate) struct Archive {
    path: PathBuf,
    file: BufReader<File>,
    /// What it is about.
    pub(crate) header: Header,
    held: Held,
}

/// How far an archive holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Bytes up to the end of the last record that holds.
    pub(crate) bytes: u64,
    /// QCs in it.
    pub(crate) qcs: u64,
    /// Blocks in it.
    pub(crate) blocks: u64,
    /// The end of its last QC.
    pub(crate) covered: u64,
    /// The number after its last block.
    pub(crate) next_block: Option<u64>,
    /// Whether it has its end.
    pub(crate) complete: bool,
}

impl Archive {
    /// Opens an archive and reads its header.
    ///
    /// # Errors
    /// When it is no archive, or what the system says.
    pub(crate) fn open(path: &Path) -> Result<Self, NodeError> {
        let failed = |error| NodeError::io(path.display().to_string(), error);
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let refuse =
            |why: &str| NodeError::Refused(format!("{} is no archive of Roadbed: {why}", path.display()));
        let header = read_header(&mut file).map_err(failed)?.map_err(|why| refuse(&why))?;
        if header.schema != SCHEMA {
            return Err(refuse(&format!("its schema is {:?}, this program reads {SCHEMA}", header.schema)));
        }
        if header.committee.chain_id() != header.chain {
            return Err(refuse("its committee is not its chain's"));
        }
        let bytes = file.stream_position().map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), file, header, held: Held { bytes, ..Held::default() } })
    }

    /// How far it has been read.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// The next record; `None` at the end, be it there or missing.
    fn read(&mut self) -> io::Result<Option<Raw>> {
        let (mut head, mut sum) = ([0; FIELDS_BYTES], [0; 4]);
        if self.held.complete || !fill(&mut self.file, &mut head)? || !fill(&mut self.file, &mut sum)? {
            return Ok(None);
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut length = [0; 4];
        length.copy_from_slice(&head[17..]);
        let length = u32::from_le_bytes(length);
        if length > PAYLOAD_BYTES_MAX {
            return Ok(None);
        }
        // A length is not believed before its checksum: memory grows with what is really there.
        let mut payload = Vec::new();
        self.file.by_ref().take(u64::from(length)).read_to_end(&mut payload)?;
        if payload.len() != length as usize || crc(&[&head, &payload]) != u32::from_le_bytes(sum) {
            return Ok(None);
        }
        let (index, key) = (number(1), number(9));
        let wal = match head[0] {
            QC => WalKind::Qcs,
            BLOCK => WalKind::Blocks,
            END if (index, key) == (self.held.qcs, self.held.blocks) => {
                self.held.complete = true;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        self.held.bytes += (FIELDS_BYTES + 4 + payload.len()) as u64;
        match wal {
            WalKind::Qcs => {
                self.held.qcs += 1;
                self.held.covered = key;
            }
            WalKind::Blocks => {
                self.held.blocks += 1;
                self.held.next_block = Some(index.saturating_add(1));
            }
        }
        Ok(Some(Raw { wal, index, key, payload }))
    }
}

impl Iterator for Archive {
    type Item = Result<Raw, NodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().map_err(|error| NodeError::io(self.path.display().to_string(), error));
        read.transpose()
    }
}

/// Fills the buffer; `false` at the end of the file.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_header(file: &mut impl Read) -> io::Result<Result<Header, String>> {
    let short = || Ok(Err("it ends within its header".to_owned()));
    let (mut magic, mut length, mut sum) = ([0; 8], [0; 4], [0; 4]);
    if !fill(file, &mut magic)? || &magic != MAGIC {
        return Ok(Err("it does not begin like one".to_owned()));
    }
    if !fill(file, &mut length)? {
        return short();
    }
    let length = u32::from_le_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Ok(Err(format!("a header of {length} bytes")));
    }
    let mut json = Vec::new();
    file.by_ref().take(u64::from(length)).read_to_end(&mut json)?;
    if json.len() != length as usize || !fill(file, &mut sum)? {
        return short();
    }
    if crc(&[&json]) != u32::from_le_bytes(sum) {
        return Ok(Err("its header's checksum does not hold".to_owned()));
    }
    Ok(serde_json::from_slice(&json).map_err(|error| format!("its header: {error}")))
}
