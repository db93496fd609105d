//! Each fuzz target once with every seed, and a few thousand times with something near one (security row R107). It needs
//! neither nightly Rust nor libFuzzer. A failure shrinks to the shortest input that still fails: add that to the seeds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use proptest::prelude::*;
use tower_agent_auth_fuzz::{TARGETS, Target, gives_token, is_client, is_user_code, reaches_approval};

#[path = "../../tests/common/changes.rs"]
mod changes;

use changes::{change, changed};

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
    for (reaches, seeds, deep) in [
        (reaches_approval as fn(&[u8]) -> bool, "authorization", &["whole", "https"][..]),
        (gives_token, "token", &["assertion", "code", "refresh", "unclaimed"]),
        (is_client, "client_id", &["web", "both"]),
        (is_user_code, "user_code", &["live", "spaced"]),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(seeds);
        for file in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (name, seed) = (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap());
            assert_eq!(reaches(&seed), deep.contains(&&*name), "{seeds}/{name}");
        }
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
    r107_mcp: "mcp", 10_000;
    r107_forwarded: "forwarded", 5_000;
    r107_cookies: "cookies", 2_000;
    r107_configuration: "configuration", 5_000;
    r107_client_metadata: "client_metadata", 10_000;
    r107_redirect: "redirect", 20_000;
    r107_authorization: "authorization", 5_000;
    r107_token: "token", 5_000;
    r107_client_id: "client_id", 5_000;
    r107_user_code: "user_code", 2_000;
}
