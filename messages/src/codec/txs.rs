//! Transactions: a u32 count, that many u32 end offsets, then all bytes; their length is the last offset.

use bincode::{
    de::{Decode, Decoder, read::Reader},
    enc::{Encode, Encoder, write::Writer},
    error::{DecodeError as RawDecodeError, EncodeError as RawEncodeError},
};

use super::{
    DecodeError, Strict,
    list::{decode_count, encode_count},
    refuse,
};
use crate::{
    limits::{BLOCK_TX_BYTES_MAX, BLOCK_TXS_MAX},
    txs::Txs,
};

const LIST: &str = "transactions";
const END_LEN: usize = 4;

impl Encode for Txs {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), RawEncodeError> {
        encode_count(self.len(), encoder)?;
        let mut buffer = [0; 1024];
        for chunk in self.ends().chunks(buffer.len() / END_LEN) {
            for (slot, end) in buffer.chunks_exact_mut(END_LEN).zip(chunk) {
                slot.copy_from_slice(&end.to_le_bytes());
            }
            encoder.writer().write(&buffer[..chunk.len() * END_LEN])?;
        }
        encoder.writer().write(self.data())
    }
}

impl Decode<Strict> for Txs {
    fn decode<D: Decoder<Context = Strict>>(decoder: &mut D) -> Result<Self, RawDecodeError> {
        let count = decode_count(LIST, BLOCK_TXS_MAX, END_LEN, decoder)?;
        let ends: Vec<u32> = take(decoder, count * END_LEN, |bytes| {
            // Each chunk has four bytes.
            bytes
                .chunks_exact(END_LEN)
                .map(|end| u32::from_le_bytes([end[0], end[1], end[2], end[3]]))
                .collect()
        })?;
        if let Some(before) = ends.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(refuse(decoder, DecodeError::OutOfOrder { list: LIST, position: before + 1 }));
        }
        let len = ends.last().map_or(0, |end| *end as usize);
        if len > BLOCK_TX_BYTES_MAX {
            return Err(refuse(decoder, DecodeError::TxBytesTooLong { found: len, max: BLOCK_TX_BYTES_MAX }));
        }
        let data = take(decoder, len, <[u8]>::to_vec)?;
        // The offsets are sorted and the last one is the length of the data, both checked above.
        Txs::from_parts(data, ends).ok_or(RawDecodeError::Other("offsets without their data"))
    }
}

/// Copies the next `len` bytes out at once; nothing is allocated unless all of them are there.
fn take<D: Decoder<Context = Strict>, T>(
    decoder: &mut D,
    len: usize,
    copy: impl FnOnce(&[u8]) -> T,
) -> Result<T, RawDecodeError> {
    let reader = decoder.reader();
    let Some(bytes) = reader.peek_read(len) else {
        return Err(refuse(decoder, DecodeError::TxBytesBeyondEnd { claimed: len }));
    };
    let copied = copy(bytes);
    reader.consume(len);
    Ok(copied)
}
