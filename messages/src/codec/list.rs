//! Lists: a u32 count, then the items.

use std::cmp::Ordering;

use bincode::{
    de::{Decode, Decoder, read::Reader},
    enc::{Encode, Encoder},
    error::{DecodeError as RawDecodeError, EncodeError as RawEncodeError},
};

use super::{DecodeError, Strict, refuse};

/// What the decoder knows of a list before it reads the first item.
pub(super) trait Item: Encode + Decode<Strict> {
    /// Name in errors.
    const LIST: &'static str;
    /// Items that a list may have.
    const LEN_MAX: usize;
    /// Bytes of one item.
    const ENCODED_LEN: usize;

    /// Order of two neighbours, if the list has an order; each must be `Less` than the next.
    fn order(&self, _next: &Self) -> Ordering {
        Ordering::Less
    }
}

pub(super) fn encode_count<E: Encoder>(len: usize, encoder: &mut E) -> Result<(), RawEncodeError> {
    u32::try_from(len).map_err(|_| RawEncodeError::Other("more than u32::MAX items"))?.encode(encoder)
}

pub(super) fn encode_list<T: Item, E: Encoder>(items: &[T], encoder: &mut E) -> Result<(), RawEncodeError> {
    encode_count(items.len(), encoder)?;
    items.iter().try_for_each(|item| item.encode(encoder))
}

/// Reads a count and judges it: within `max`, and with enough bytes behind it. Nothing was allocated by then.
pub(super) fn decode_count<D: Decoder<Context = Strict>>(
    list: &'static str,
    max: usize,
    item_len: usize,
    decoder: &mut D,
) -> Result<usize, RawDecodeError> {
    let found = u32::decode(decoder)? as usize;
    if found > max {
        return Err(refuse(decoder, DecodeError::ListTooLong { list, found, max }));
    }
    // Both factors are capped by constants whose product is small.
    if decoder.reader().peek_read(found * item_len).is_none() {
        return Err(refuse(decoder, DecodeError::ListBeyondEnd { list, items: found }));
    }
    Ok(found)
}

pub(super) fn decode_list<T: Item, D: Decoder<Context = Strict>>(
    decoder: &mut D,
) -> Result<Vec<T>, RawDecodeError> {
    let len = decode_count(T::LIST, T::LEN_MAX, T::ENCODED_LEN, decoder)?;
    let mut items = Vec::<T>::with_capacity(len);
    for position in 0..len {
        let item = T::decode(decoder)?;
        match items.last().map(|last| last.order(&item)) {
            None | Some(Ordering::Less) => items.push(item),
            Some(Ordering::Equal) => {
                return Err(refuse(decoder, DecodeError::Duplicate { list: T::LIST, position }));
            }
            Some(Ordering::Greater) => {
                return Err(refuse(decoder, DecodeError::OutOfOrder { list: T::LIST, position }));
            }
        }
    }
    Ok(items)
}
