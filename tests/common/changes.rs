//! Changes of an input, for tests of what arbitrary input may do. The smoke test of the fuzz targets uses it too.

use proptest::{prelude::*, sample::Index};

/// One change of an input.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Insert(Index, u8),
    Replace(Index, u8),
    Remove(Index),
    Cut(Index),
    Double(Index),
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    // Bytes that mean something in some grammar, as often as any other.
    let byte = || prop_oneof![any::<u8>(), proptest::sample::select(&b"\0\t\n\r \"%&',./:;=?@[\\]{}~\x7f\x80\xff"[..])];
    prop_oneof![
        (at(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (at(), byte()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        at().prop_map(Change::Remove),
        at().prop_map(Change::Cut),
        at().prop_map(Change::Double),
    ]
}

pub(crate) fn changed(seed: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut input = seed.to_vec();
    for change in changes {
        let length = input.len();
        match change {
            Change::Insert(at, byte) => input.insert(at.index(length + 1), *byte),
            _ if length == 0 => {}
            Change::Replace(at, byte) => input[at.index(length)] = *byte,
            Change::Remove(at) => drop(input.remove(at.index(length))),
            Change::Cut(at) => input.truncate(at.index(length)),
            Change::Double(at) if length < 4_096 => input.extend_from_within(at.index(length)..),
            Change::Double(_) => {}
        }
    }
    input
}
