//! `docs/requirements.md` and the tests agree: every test that the page names is there, and every number that begins the
//! name of a test is on the page.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A row of the page: the tests that it names, each with its file, and what else stands in the last column.
struct Row {
    number: u32,
    tests: Vec<(String, String)>,
    shown_by: String,
}

fn rows() -> Vec<Row> {
    let page = fs::read_to_string("docs/requirements.md").unwrap();
    page.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix("| R")?.strip_suffix(" |")?.split(" | ").collect();
    let [number, _, shown_by] = cells[..] else { panic!("a row has three cells: {line}") };
    let (mut file, mut tests) = (None, Vec::new());
    // What stands between backticks is every second piece: a file, then tests in it.
    for quoted in shown_by.split('`').skip(1).step_by(2) {
        if quoted.ends_with(".rs") {
            file = Some(quoted);
        } else if quoted.contains('_') && quoted.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let file = file.unwrap_or_else(|| panic!("R{number}: no file before {quoted}"));
            tests.push((file.to_owned(), quoted.to_owned()));
        }
    }
    Some(Row { number: number.parse().unwrap(), tests, shown_by: shown_by.to_owned() })
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
    for folder in ["src", "tests"] {
        collect(Path::new(folder), &mut found);
    }
    found
}

/// The numbers that begin a test's name: 9 and 16 of `r9_r16_a_name`.
fn numbers(name: &str) -> impl Iterator<Item = u32> {
    name.split('_').map_while(|word| word.strip_prefix('r')?.parse().ok())
}

fn functions(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| line.split_once("fn ")?.1.split_once('(')).map(|(name, _)| name)
}

#[test]
fn every_requirement_is_there_once_and_shown_or_says_why_not() {
    let rows = rows();
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), (1..=110).collect::<Vec<_>>());
    for Row { number, tests, shown_by } in &rows {
        let reasoned = shown_by.starts_with("no test: ") || shown_by.contains("fuzz/tests/smoke.rs");
        assert!(!tests.is_empty() || reasoned, "R{number} names neither a test nor a reason");
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let sources = sources();
    for Row { number, tests, .. } in rows() {
        for (file, test) in tests {
            let source = sources.get(&file).unwrap_or_else(|| panic!("R{number}: there is no {file}"));
            assert!(functions(source).any(|name| name == test), "R{number}: {file} has no {test}");
        }
    }
}

#[test]
fn every_number_that_a_test_has_is_a_row() {
    let known: BTreeSet<u32> = rows().iter().map(|row| row.number).collect();
    let mut counted = 0;
    for (file, source) in sources() {
        for name in functions(&source) {
            for number in numbers(name) {
                assert!(known.contains(&number), "{file}: {name} shows R{number}, which is not on the page");
                counted += 1;
            }
        }
    }
    assert!(counted > 200, "the tests are found at all: {counted}");
}
