//! Every hash and every encoding, pinned. A difference breaks stores and peers: it needs a new format
//! version.
//!
//! `ROADBED_WRITE_GOLDEN=1 cargo test -p roadbed-messages golden` writes the file anew.

use std::{fmt::Write, fs, path::Path};

use roadbed_messages::{
    BlockNumber, ChainParams, Committee, Timestamp,
    codec::{self, Wire},
    testing::{self, ChainShape},
};

use crate::samples;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn encoding<T: Wire>(value: &T) -> String {
    hex(&codec::encode(value))
}

fn committee() -> Committee {
    let members = testing::committee_from(1, 4, BlockNumber(1_000_000));
    assert_eq!(members.committee.params(), &ChainParams::default());
    members.committee
}

fn vectors() -> Vec<(String, String)> {
    let chain_id = samples::chain_id();
    let mut all: Vec<(String, String)> = [
        ("hash/block-header", samples::header(1).hash().to_string()),
        ("hash/payload", samples::payload().hash().to_string()),
        ("hash/payload-empty", samples::empty_payload().hash().to_string()),
        ("hash/vote", samples::proposal().vote_hash(&chain_id).to_string()),
        ("hash/vote-bare", samples::bare_proposal().vote_hash(&chain_id).to_string()),
        ("hash/chain-id", committee().chain_id().to_string()),
        ("encoding/block-header", encoding(&samples::header(1))),
        ("encoding/txs-empty", encoding(&samples::empty_payload().txs)),
        ("encoding/txs", encoding(&samples::payload().txs)),
        ("encoding/payload", encoding(&samples::payload())),
        ("encoding/block", encoding(&samples::block())),
        ("encoding/view", encoding(&samples::view())),
        ("encoding/lane-range", encoding(&samples::lane_range(1))),
        ("encoding/app-proposal", encoding(&samples::app_proposal())),
        ("encoding/signature-of", encoding(&samples::signature_of(1))),
        ("encoding/proposal", encoding(&samples::proposal())),
        ("encoding/proposal-bare", encoding(&samples::bare_proposal())),
        ("encoding/commit-qc", encoding(&samples::commit_qc())),
        ("encoding/full-commit-qc", encoding(&samples::full_commit_qc())),
        ("encoding/block-number", encoding(&BlockNumber(0x0102_0304_0506_0708))),
        ("encoding/timestamp", encoding(&Timestamp::from_unix_us(0x0102_0304_0506_0708))),
        ("encoding/chain-id", encoding(&chain_id)),
        ("json/committee", serde_json::to_string(&committee()).unwrap()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    // What a seed stands for is pinned too: stores of demos are checked against it after an upgrade.
    let members = testing::committee(1, 4);
    let shape = ChainShape { blocks_per_qc: 3, txs_per_block: 2, tx_bytes: 5, ..ChainShape::default() };
    for (road, (qc, blocks)) in testing::chain(1, &members, shape).take(2).enumerate() {
        all.push((format!("chain/{road}/qc"), encoding(&qc)));
        for (position, block) in blocks.iter().enumerate() {
            all.push((format!("chain/{road}/block/{position}"), encoding(block)));
        }
    }
    all
}

#[test]
fn golden_vectors_hold() {
    let vectors = vectors();
    if std::env::var_os("ROADBED_WRITE_GOLDEN").is_some() {
        let text: String = vectors.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        fs::create_dir_all(Path::new(FILE).parent().unwrap()).unwrap();
        fs::write(FILE, text).unwrap();
    }
    let text = fs::read_to_string(FILE).unwrap();
    let pinned: Vec<_> = text.lines().map(|line| line.split_once(" = ").unwrap()).collect();
    for ((name, value), (pinned_name, pinned_value)) in vectors.iter().zip(&pinned) {
        assert_eq!(name, pinned_name, "the list of vectors changed");
        assert_eq!(value, pinned_value, "{name} changed");
    }
    assert_eq!(vectors.len(), pinned.len(), "the list of vectors changed");
}
