//! Entries, on their way in and out.

/// An entry to append.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// For [`crate::Reader::get_by_key`]; never below the key of the entry before.
    pub key: u64,
    /// For [`crate::Reader::find_digest`]: any 64 bits, for example a part of a hash; 0 means none.
    pub digest: u64,
    /// The bytes.
    pub payload: &'a [u8],
}

/// An entry as it was read: its checksum holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its index.
    pub index: u64,
    /// Its key.
    pub key: u64,
    /// Its digest.
    pub digest: u64,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// An entry as it lies in the window that it is read through: its checksum holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Its index.
    pub index: u64,
    /// Its key.
    pub key: u64,
    /// Its digest.
    pub digest: u64,
    /// Its bytes.
    pub payload: &'a [u8],
}

impl EntryRef<'_> {
    /// A copy.
    #[must_use]
    pub fn to_owned(&self) -> StoredEntry {
        StoredEntry { index: self.index, key: self.key, digest: self.digest, payload: self.payload.to_vec() }
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Taken: durable after the next sync.
    New,
    /// Below the next index: ignored.
    Duplicate,
}
