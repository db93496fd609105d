//! `docs/requirements.md`, `docs/faults.md` and the tests agree: every test that a page names exists, and every id that
//! begins the name of a test is on a page.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A row of a page: its id, the tests that it names, each with its file, and the whole last column.
struct Row {
    id: String,
    tests: Vec<(String, String)>,
    shown_by: String,
}

fn requirements() -> Vec<Row> {
    rows("docs/requirements.md")
}

fn faults() -> Vec<Row> {
    rows("docs/faults.md")
}

fn rows(page: &str) -> Vec<Row> {
    fs::read_to_string(page).unwrap().lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    let (id, shown_by) = (*cells.first()?, *cells.last()?);
    if !is_id(id) {
        return None;
    }
    let (mut file, mut tests) = (None, Vec::new());
    // The text between backticks is every second piece: a file, then tests in it.
    for quoted in shown_by.split('`').skip(1).step_by(2) {
        if quoted.ends_with(".rs") {
            file = Some(quoted);
        } else if quoted.contains('_') && quoted.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let file = file.unwrap_or_else(|| panic!("{id}: no file before {quoted}"));
            tests.push((file.to_owned(), quoted.to_owned()));
        }
    }
    Some(Row { id: id.to_owned(), tests, shown_by: shown_by.to_owned() })
}

/// An upper-case letter and a number.
fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix(|first: char| first.is_ascii_uppercase());
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Every source below these folders, by its path.
fn sources() -> BTreeMap<String, String> {
    fn collect(folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.to_str().unwrap().replace('\\', "/");
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    for folder in ["src", "tests", "examples", "xtask"] {
        collect(Path::new(folder), &mut found);
    }
    found
}

/// The ids that begin a test's name: R9 and A16 of `r9_a16_a_name`.
fn ids(name: &str) -> impl Iterator<Item = String> {
    name.split('_').map(str::to_uppercase).take_while(|word| is_id(word))
}

fn functions(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| line.split_once("fn ")?.1.split_once('(')).map(|(name, _)| name)
}

#[test]
fn every_requirement_is_there_once_and_shown_or_says_why_not() {
    let rows = requirements();
    let numbers: Vec<String> = (1..=132).map(|number| format!("R{number}")).collect();
    assert_eq!(rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), numbers);
    for Row { id, tests, shown_by } in &rows {
        let reasoned = shown_by.starts_with("no test: ") || shown_by.contains("fuzz/tests/smoke.rs");
        assert!(!tests.is_empty() || reasoned, "{id} names neither a test nor a reason");
    }
}

#[test]
fn every_fault_is_there_once_and_shown_or_says_why_not() {
    let mut seen = BTreeSet::new();
    for Row { id, tests, shown_by } in faults() {
        assert!(!tests.is_empty() || shown_by.starts_with("no test: "), "{id} names neither a test nor a reason");
        assert!(!id.starts_with('R') && seen.insert(id.clone()), "{id} is there twice");
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let sources = sources();
    for Row { id, tests, .. } in requirements().into_iter().chain(faults()) {
        for (file, test) in tests {
            let source = sources.get(&file).unwrap_or_else(|| panic!("{id}: there is no {file}"));
            assert!(functions(source).any(|name| name == test), "{id}: {file} has no {test}");
        }
    }
}

#[test]
fn every_id_that_a_test_has_is_a_row() {
    let known: BTreeSet<String> = requirements().into_iter().chain(faults()).map(|row| row.id).collect();
    let mut counted = 0;
    for (file, source) in sources() {
        for name in functions(&source) {
            for id in ids(name) {
                assert!(known.contains(&id), "{file}: {name} shows {id}, which is on no page");
                counted += 1;
            }
        }
    }
    assert!(counted > 200, "the tests are found at all: {counted}");
}
