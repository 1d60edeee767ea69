//! Bytes of the wire and of the logs. The only module that knows the serialization library.
//!
//! Layout: fields in the order that `layout.rs` states, integers little-endian at their fixed width, lists
//! after a u32 count, options after a byte 0 or 1, transactions as their end offsets and then all their bytes
//! at once. One value has one encoding, and only that one decodes:
//!
//! - a message is at most [`MESSAGE_BYTES_MAX`] long, and every list is capped on its own;
//! - no list is allocated before as many bytes are there as its items need;
//! - lanes and signers are strictly ascending, so none is there twice;
//! - no byte is left over.
//!
//! ```
//! use roadbed_messages::{DecodeError, Txs, codec};
//!
//! let txs: Txs = [b"pay", b"tip"].into_iter().collect();
//! let mut bytes = codec::encode(&txs);
//! assert_eq!(bytes.len(), codec::encoded_len(&txs));
//! assert_eq!(codec::decode(&bytes), Ok(txs));
//!
//! bytes.push(0);
//! assert_eq!(codec::decode::<Txs>(&bytes), Err(DecodeError::TrailingBytes { count: 1 }));
//! ```

mod error;
mod layout;
mod list;
mod txs;

use bincode::{
    config,
    de::{Decode, Decoder, DecoderImpl, read::Reader, read::SliceReader},
    enc::{
        Encode, EncoderImpl,
        write::{SizeWriter, SliceWriter, Writer},
    },
};

pub use error::{DecodeError, EncodeError};

use crate::limits::MESSAGE_BYTES_MAX;

const CONFIG: config::Configuration<config::LittleEndian, config::Fixint, config::NoLimit> = config::legacy();

/// A type with an encoding. All types of this crate that travel or are stored have one.
pub trait Wire: Encode + Decode<Strict> {}

impl<T: Encode + Decode<Strict>> Wire for T {}

/// What a strict decoder carries along: the typed reason of a refusal, which the library's own error cannot
/// hold.
#[derive(Debug, Default)]
pub struct Strict {
    refusal: Option<DecodeError>,
}

/// The encoding of a value.
#[must_use]
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let bytes = Vec::with_capacity(encoded_len(value));
    let mut encoder = EncoderImpl::new(Appender(bytes), CONFIG);
    // Appending to memory does not fail, and no list in memory has more than u32::MAX items.
    value.encode(&mut encoder).expect("encoding into memory does not fail");
    encoder.into_writer().0
}

struct Appender(Vec<u8>);

impl Writer for Appender {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Length of the encoding of a value. It looks at lengths only, never at the bytes of transactions.
#[must_use]
pub fn encoded_len<T: Wire>(value: &T) -> usize {
    let mut encoder = EncoderImpl::new(SizeWriter::default(), CONFIG);
    // The writer counts and never fails; no list in memory has more than u32::MAX items.
    value.encode(&mut encoder).expect("counting bytes does not fail");
    encoder.into_writer().bytes_written
}

/// Writes the encoding of a value to the front of `buffer` and answers its length.
///
/// # Errors
/// When the buffer is too short; its content is then undefined.
pub fn encode_into<T: Wire>(value: &T, buffer: &mut [u8]) -> Result<usize, EncodeError> {
    let available = buffer.len();
    let mut encoder = EncoderImpl::new(SliceWriter::new(buffer), CONFIG);
    match value.encode(&mut encoder) {
        Ok(()) => Ok(encoder.into_writer().bytes_written()),
        Err(_) => Err(EncodeError::BufferTooShort { needed: encoded_len(value), available }),
    }
}

/// The value that `bytes` encode, all of them.
///
/// # Errors
/// When they are not the one encoding of any value; see the module.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(DecodeError::MessageTooLong { found: bytes.len(), max: MESSAGE_BYTES_MAX });
    }
    let mut decoder = DecoderImpl::new(SliceReader::new(bytes), CONFIG, Strict::default());
    match T::decode(&mut decoder) {
        Ok(value) if decoder.reader().peek_read(1).is_none() => Ok(value),
        Ok(value) => Err(DecodeError::TrailingBytes { count: bytes.len() - encoded_len(&value) }),
        Err(error) => Err(decoder.context().refusal.take().unwrap_or_else(|| error.into())),
    }
}

/// Notes why the value is refused; the library's error that comes back only carries the fact.
fn refuse<D: Decoder<Context = Strict>>(
    decoder: &mut D,
    refusal: DecodeError,
) -> bincode::error::DecodeError {
    decoder.context().refusal = Some(refusal);
    bincode::error::DecodeError::Other("refused")
}
