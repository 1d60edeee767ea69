//! A table that is only ever looked into.

use std::hash::Hash;

use ahash::AHashMap;

/// Values by keys, which nobody can iterate: so the hasher's random seed decides nothing that could be seen.
#[derive(Debug)]
pub(crate) struct Lookup<K, V>(AHashMap<K, V>);

impl<K, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self(AHashMap::new())
    }
}

impl<K: Eq + Hash, V: Copy> Lookup<K, V> {
    /// Puts a value where whatever was there is forgotten.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.0.insert(key, value);
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).copied()
    }
}
