//! 32-byte hashes, one type a meaning, and the canonical writer they come from.
//!
//! A hash is SHA-256 over a domain name and the fields of a value, written one by one: integers little-endian
//! at their fixed width, bytes after their length, lists after their count, options after a tag. The encoding
//! is injective for each domain and independent of any serialization library, so the wire format can change
//! and hashes stay.

use sha2::{Digest, Sha256};

/// A newtype of bytes that prints, parses and serializes as hex.
macro_rules! hex_bytes {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All bytes zero.
            pub const ZERO: Self = Self([0; $len]);

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::hash::ParseHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $len];
                $crate::hash::parse_hex(stringify!($name), text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use hex_bytes;

/// A text that is not the hex form of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseHexError {
    /// Too short or too long.
    #[error("{what}: expected {expected} hex digits, found {found} bytes of text")]
    Length {
        /// Type that was wanted.
        what: &'static str,
        /// Digits it needs.
        expected: usize,
        /// Bytes that the text has.
        found: usize,
    },
    /// A character outside 0-9, a-f, A-F.
    #[error("{what}: byte {position} is not a hex digit")]
    Digit {
        /// Type that was wanted.
        what: &'static str,
        /// Offset of the first such byte.
        position: usize,
    },
}

pub(crate) fn parse_hex(what: &'static str, text: &str, bytes: &mut [u8]) -> Result<(), ParseHexError> {
    let expected = bytes.len() * 2;
    hex::decode_to_slice(text, bytes).map_err(|error| match error {
        hex::FromHexError::InvalidHexCharacter { index, .. } => {
            ParseHexError::Digit { what, position: index }
        }
        _ => ParseHexError::Length { what, expected, found: text.len() },
    })
}

hex_bytes! {
    /// Hash of a block header, which by its payload hash covers the whole block.
    HeaderHash, 32
}
hex_bytes! {
    /// Hash of a payload.
    PayloadHash, 32
}
hex_bytes! {
    /// Hash of a proposal on one chain: what a member signs.
    VoteHash, 32
}
hex_bytes! {
    /// State of the application after a block; Roadbed never looks inside.
    AppHash, 32
}
hex_bytes! {
    /// Identity of a chain: committee, first block, genesis time, parameters.
    ChainId, 32
}

/// Writes one value field by field into SHA-256, under a domain name.
///
/// The domain comes first and length-prefixed, so values of two kinds never hash alike.
#[derive(Clone)]
pub struct CanonicalHasher(Sha256);

impl CanonicalHasher {
    /// Starts a value of the kind that `domain` names.
    #[must_use]
    pub fn new(domain: &'static str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.bytes(domain.as_bytes());
        hasher
    }

    /// An integer, little-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.update(value.to_le_bytes());
        self
    }

    /// Bytes whose length the type fixes.
    pub fn fixed<const N: usize>(&mut self, bytes: &[u8; N]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Bytes of any length, after their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.update(bytes);
        self
    }

    /// The number of items of a list whose items follow.
    pub fn count(&mut self, len: usize) -> &mut Self {
        self.u64(len as u64)
    }

    /// A list of offsets, after its length.
    pub fn u32_list(&mut self, values: &[u32]) -> &mut Self {
        self.count(values.len());
        let mut buffer = [0; 1024];
        for chunk in values.chunks(buffer.len() / 4) {
            for (slot, value) in buffer.chunks_exact_mut(4).zip(chunk) {
                slot.copy_from_slice(&value.to_le_bytes());
            }
            self.0.update(&buffer[..chunk.len() * 4]);
        }
        self
    }

    /// An option: a tag, then the value if there is one.
    pub fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) -> &mut Self {
        self.0.update([u8::from(value.is_some())]);
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    /// The hash.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
