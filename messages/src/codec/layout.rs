//! Which fields each type is made of on the wire, in their order.

use std::cmp::Ordering;

use bincode::{
    de::{Decode, Decoder},
    enc::{Encode, Encoder},
    error::{DecodeError as RawDecodeError, EncodeError as RawEncodeError},
};

use super::{
    Strict,
    list::{Item, decode_list, encode_list},
};
use crate::{
    block::{Block, BlockHeader, Payload},
    hash::{AppHash, ChainId, HeaderHash, PayloadHash, VoteHash},
    keys::{PublicKey, Signature},
    limits::{COMMITTEE_LEN_MAX, QC_HEADERS_MAX},
    numbers::{BlockNumber, LaneBlockNumber, RoadIndex, Timestamp, ViewNumber},
    qc::{AppProposal, CommitQc, FullCommitQc, LaneRange, Proposal, SignatureOf, View},
};

/// A struct as its fields; `[field]` is a list.
macro_rules! layout {
    ($($name:ident { $($field:tt),+ })+) => {$(
        impl Encode for $name {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), RawEncodeError> {
                $(layout!(@encode self encoder $field);)+
                Ok(())
            }
        }

        impl Decode<Strict> for $name {
            fn decode<D: Decoder<Context = Strict>>(decoder: &mut D) -> Result<Self, RawDecodeError> {
                $(layout!(@decode decoder $field);)+
                Ok(layout!(@make $name {} $($field)+))
            }
        }
    )+};
    (@encode $self:ident $encoder:ident [$field:ident]) => { encode_list(&$self.$field, $encoder)?; };
    (@encode $self:ident $encoder:ident $field:ident) => { $self.$field.encode($encoder)?; };
    (@decode $decoder:ident [$field:ident]) => { let $field = decode_list($decoder)?; };
    (@decode $decoder:ident $field:ident) => { let $field = Decode::decode($decoder)?; };
    (@make $name:ident { $($done:ident)* } [$field:ident] $($rest:tt)*) => {
        layout!(@make $name { $($done)* $field } $($rest)*)
    };
    (@make $name:ident { $($done:ident)* } $field:ident $($rest:tt)*) => {
        layout!(@make $name { $($done)* $field } $($rest)*)
    };
    (@make $name:ident { $($done:ident)* }) => { $name { $($done),* } };
}

/// A newtype as what it wraps.
macro_rules! transparent {
    ($($name:ident),+) => {$(
        impl Encode for $name {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), RawEncodeError> {
                self.0.encode(encoder)
            }
        }

        impl Decode<Strict> for $name {
            fn decode<D: Decoder<Context = Strict>>(decoder: &mut D) -> Result<Self, RawDecodeError> {
                Decode::decode(decoder).map(Self)
            }
        }
    )+};
}

transparent!(BlockNumber, LaneBlockNumber, RoadIndex, ViewNumber);
transparent!(HeaderHash, PayloadHash, VoteHash, AppHash, ChainId, PublicKey, Signature);

impl Encode for Timestamp {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), RawEncodeError> {
        self.unix_us().encode(encoder)
    }
}

impl Decode<Strict> for Timestamp {
    fn decode<D: Decoder<Context = Strict>>(decoder: &mut D) -> Result<Self, RawDecodeError> {
        u64::decode(decoder).map(Self::from_unix_us)
    }
}

layout! {
    BlockHeader { lane, number, parent, payload }
    Payload { created_at, gas, txs }
    Block { header, payload }
    View { road_index, number }
    LaneRange { lane, first, next, last_hash }
    AppProposal { number, road_index, hash }
    Proposal { view, timestamp, [lane_ranges], app_proposal }
    SignatureOf { signer, signature }
    CommitQc { proposal, [signatures] }
    FullCommitQc { qc, [headers] }
}

impl Item for LaneRange {
    const LIST: &'static str = "lane ranges";
    const LEN_MAX: usize = COMMITTEE_LEN_MAX;
    const ENCODED_LEN: usize = 32 + 8 + 8 + 32;

    fn order(&self, next: &Self) -> Ordering {
        self.lane.cmp(&next.lane)
    }
}

impl Item for SignatureOf {
    const LIST: &'static str = "signatures";
    const LEN_MAX: usize = COMMITTEE_LEN_MAX;
    const ENCODED_LEN: usize = 32 + 64;

    fn order(&self, next: &Self) -> Ordering {
        self.signer.cmp(&next.signer)
    }
}

impl Item for BlockHeader {
    const LIST: &'static str = "headers";
    const LEN_MAX: usize = QC_HEADERS_MAX;
    const ENCODED_LEN: usize = 32 + 8 + 32 + 32;
}
