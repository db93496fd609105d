//! Each fuzz target once with every seed, and a few thousand times with something near one (security row R107). It needs
//! neither nightly Rust nor libFuzzer. A failure shrinks to the shortest input that still fails: add that to the seeds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use proptest::{prelude::*, sample::Index};
use tower_agent_auth_fuzz::{TARGETS, Target};

fn target(name: &str) -> Target {
    TARGETS.iter().find(|(known, _)| *known == name).unwrap().1
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seed for {name}");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Insert(Index, u8),
    Replace(Index, u8),
    Remove(Index),
    Cut(Index),
    Double(Index),
}

fn change() -> impl Strategy<Value = Change> {
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

fn changed(seed: &[u8], changes: &[Change]) -> Vec<u8> {
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

fn near_a_seed(name: &str, times: u32) {
    let (target, seeds) = (target(name), seeds(name));
    for seed in &seeds {
        target(seed);
    }
    let config = ProptestConfig { cases: times, failure_persistence: None, ..ProptestConfig::default() };
    let inputs = (proptest::sample::select(seeds), prop::collection::vec(change(), 0..8));
    proptest!(config, |((seed, changes) in inputs)| target(&changed(&seed, &changes)));
}

#[test]
fn r107_the_seeds_reach_beyond_errors() {
    for whole in [include_str!("../seeds/configuration/least.toml"), include_str!("../seeds/configuration/most.toml")] {
        tower_agent_auth::Config::from_toml(whole).unwrap();
    }
}

macro_rules! smoke {
    ($($test:ident: $name:literal, $times:literal;)*) => {
        $(#[test]
        fn $test() {
            near_a_seed($name, $times);
        })*

        #[test]
        fn r107_every_target_has_its_smoke_test() {
            let mut tested = vec![$($name),*];
            let mut all: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            tested.sort_unstable();
            all.sort_unstable();
            assert_eq!(tested, all);
        }
    };
}

smoke! {
    r107_challenge: "challenge", 20_000;
    r107_credentials: "credentials", 5_000;
    r107_callback: "callback", 20_000;
    r107_names: "names", 20_000;
    r107_bodies: "bodies", 10_000;
    r107_forwarded: "forwarded", 5_000;
    r107_cookies: "cookies", 2_000;
    r107_configuration: "configuration", 5_000;
}
