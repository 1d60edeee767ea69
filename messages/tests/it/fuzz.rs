//! What the fuzzer runs (`make fuzz`): any bytes as any message. The corpus is replayed here.

use std::fmt::Debug;

use roadbed_messages::codec::{Wire, decode, encode};
use roadbed_messages::testing::{self, TestCommittee};
use roadbed_messages::{Block, BlockHeader, CommitQc, Committee, FullCommitQc, Proposal, Txs, verify_qc};

/// Decodes bytes as the type that the first of them names. What decodes is encoded the same way again, takes no more
/// memory than its bytes, and can be judged by whoever verifies it.
pub(crate) fn decode_any(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    match kind % 8 {
        0 => {
            if let Some(qc) = strict::<FullCommitQc>(bytes) {
                // Nothing that the fuzzer makes is signed.
                assert!(verify_qc(&committee().committee, qc.into()).is_err());
            }
        }
        1 => drop(strict::<CommitQc>(bytes)),
        2 => {
            if let Some(block) = strict::<Block>(bytes) {
                let _hash = (block.payload.hash(), block.header.hash());
            }
        }
        3 => drop(strict::<BlockHeader>(bytes)),
        4 => drop(strict::<Proposal>(bytes)),
        5 => drop(strict::<Txs>(bytes)),
        // Committees are files that operators write.
        _ => {
            if let Ok(committee) = serde_json::from_slice::<Committee>(bytes) {
                let again = serde_json::to_vec(&committee).unwrap();
                assert_eq!(serde_json::from_slice::<Committee>(&again).unwrap(), committee);
            }
        }
    }
}

fn committee() -> TestCommittee {
    testing::committee(1, 4)
}

/// The value of these bytes, if they are its one encoding; decoding takes no more memory than the bytes themselves take
/// (what a refusal formats apart, which is short).
pub(crate) fn strict<T: Wire + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let mut answer = None;
    let measured = allocation_counter::measure(|| answer = Some(decode::<T>(bytes)));
    let allocated = measured.bytes_max;
    assert!(allocated <= bytes.len() as u64 + 64, "{allocated} bytes allocated for {}", bytes.len());
    let value = answer.unwrap().ok()?;
    assert_eq!(encode(&value), bytes, "a second encoding of {value:?}");
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::samples;

    fn corpus() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/messages_decode")
    }

    #[test]
    fn the_corpus_holds() {
        let mut files: Vec<_> = fs::read_dir(corpus()).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(files.len() > 5, "{} is nearly empty", corpus().display());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let outcome = std::panic::catch_unwind(|| decode_any(&bytes));
            assert!(outcome.is_ok(), "{} breaks a promise", file.display());
        }
    }

    /// The fuzzer begins with one value of each type: `ROADBED_CORPUS=write` writes them anew.
    #[test]
    fn the_corpus_has_a_value_of_each_type() {
        let committee = committee();
        let seeds = [
            (0, encode(&samples::full_commit_qc())),
            (1, encode(&samples::commit_qc())),
            (2, encode(&samples::block())),
            (3, encode(&samples::header(1))),
            (4, encode(&samples::proposal())),
            (5, encode(&samples::payload().txs)),
            (6, serde_json::to_vec(&committee.committee).unwrap()),
        ];
        for (kind, bytes) in seeds {
            let (path, seed) = (corpus().join(format!("value-{kind}")), [&[kind][..], &bytes].concat());
            if std::env::var_os("ROADBED_CORPUS").is_some_and(|wish| wish == "write") {
                fs::write(&path, &seed).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), seed, "{}", path.display());
        }
    }
}
