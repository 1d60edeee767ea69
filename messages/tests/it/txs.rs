//! Flattened transactions behave like a list of byte strings.

use proptest::{collection::vec, prelude::*};
use roadbed_messages::Txs;

proptest! {
    #[test]
    fn txs_are_the_list_they_were_made_of(list in vec(vec(any::<u8>(), 0..9), 0..50)) {
        let txs = Txs::from(list.clone());
        prop_assert_eq!(txs.len(), list.len());
        prop_assert_eq!(txs.is_empty(), list.is_empty());
        prop_assert_eq!(txs.iter().len(), list.len());
        prop_assert_eq!(txs.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), list.clone());
        prop_assert_eq!(txs.total_bytes(), list.concat().len());
        prop_assert_eq!(txs.data(), &list.concat()[..]);
        prop_assert_eq!(txs.longest_bytes(), list.iter().map(Vec::len).max().unwrap_or(0));
        for (index, tx) in list.iter().enumerate() {
            prop_assert_eq!(txs.get(index), Some(&tx[..]));
        }
        prop_assert_eq!(txs.get(list.len()), None);
        prop_assert_eq!(Txs::from_parts(txs.data().to_vec(), txs.ends().to_vec()), Some(txs));
    }
}

#[test]
fn parts_that_do_not_belong_together_make_no_txs() {
    assert_eq!(Txs::from_parts(vec![1, 2], vec![]), None);
    assert_eq!(Txs::from_parts(vec![1, 2], vec![1]), None);
    assert_eq!(Txs::from_parts(vec![1, 2], vec![3]), None);
    assert_eq!(Txs::from_parts(vec![1, 2], vec![3, 2]), None);
    assert_eq!(Txs::from_parts(vec![], vec![0, 1]), None);
    assert_eq!(Txs::from_parts(vec![], vec![0]).unwrap().iter().collect::<Vec<_>>(), [b""]);
}
