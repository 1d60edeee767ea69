//! Encoding and decoding cost about as much as copying.

use std::time::{Duration, Instant};

use roadbed_messages::{
    Block, codec,
    testing::{self, ChainShape},
};

fn best_of(mut work: impl FnMut()) -> Duration {
    let once = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..200).map(|_| once(&mut work)).min().unwrap()
}

#[test]
fn a_large_block_is_encoded_and_decoded_like_memory_is_copied() {
    let shape = ChainShape { txs_per_block: 1_000, tx_bytes: 300, ..ChainShape::default() };
    let members = testing::committee(1, 4);
    let block = testing::chain(1, &members, shape).next().unwrap().1.remove(0);
    let bytes = codec::encode(&block);
    let mut buffer = vec![0; bytes.len()];

    let copy = best_of(|| drop(std::hint::black_box(bytes.clone())));
    let encode = best_of(|| drop(std::hint::black_box(codec::encode(&block))));
    let encode_into =
        best_of(|| assert!(codec::encode_into(&block, std::hint::black_box(&mut buffer)).is_ok()));
    let decode = best_of(|| drop(std::hint::black_box(codec::decode::<Block>(&bytes))));
    println!(
        "{} bytes: copy {copy:?}, encode {encode:?}, into {encode_into:?}, decode {decode:?}",
        bytes.len()
    );
    if cfg!(debug_assertions) {
        println!("skipped: only optimized code is held to a figure");
        return;
    }
    // A loop over bytes is more than 15 times slower than a copy; noise is not.
    let limit = copy.max(Duration::from_micros(10)) * 5;
    assert!(encode < limit && encode_into < limit && decode < limit, "limit {limit:?}");
}
