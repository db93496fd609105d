//! What was found, as text and as JSON.

use std::{
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
};

use serde_json::{Value, json};

use crate::{
    catalogue::{Check, Severity},
    plain::plain,
};

/// The longest text that is quoted of a service, in characters.
const LONGEST_QUOTE: usize = 300;

/// Something that is not as expected.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    /// The URL where it was found.
    pub(crate) at: String,
    pub(crate) found: String,
}

/// A condition that fails, its check, and what was found.
pub(crate) type Row = (bool, Check, &'static str);

/// Findings that something is not there.
const ABSENCES: [Check; 6] = [
    Check::PrmMissing,
    Check::PrmNamedMissing,
    Check::PrmWellKnown,
    Check::AsMissing,
    Check::AsOnlyOpenid,
    Check::AuthMdMissing,
];

/// How a service does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Grade {
    Good = 0,
    Warnings = 1,
    Errors = 3,
    Unreachable = 5,
}

impl Grade {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warnings => "warnings",
            Self::Errors => "errors",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The exit code if the report can't be written.
pub(crate) const NOT_WRITTEN: u8 = 4;

impl From<Grade> for ExitCode {
    fn from(grade: Grade) -> Self {
        Self::from(grade as u8)
    }
}

/// The exit codes in `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  good: nothing was found, or notes only
    1  warnings
    2  the command line is wrong
    3  errors
    4  the report can't be written
    5  the URL can't be reached, does not answer in time, does not speak HTTP, or can't answer now (429, 502, 503, 504)

The report is written to stdout.";

#[derive(Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    /// What was looked at, in a few words each.
    looked_at: Vec<String>,
    pub(crate) is_unreachable: bool,
}

impl Report {
    /// Adds a finding, once for each URL.
    pub(crate) fn add(&mut self, check: Check, at: impl AsRef<str>, found: impl AsRef<str>) {
        let at = plain(at.as_ref());
        let clean = plain(found.as_ref());
        let mut found: String = clean.chars().take(LONGEST_QUOTE).collect();
        if found.len() < clean.len() {
            found.push('…');
        }
        // What was refused for now is not missing.
        if ABSENCES.contains(&check) && self.has(Check::Unavailable) {
            return;
        }
        // That nothing more was asked is one finding, wherever it was noticed.
        if self.findings.iter().any(|known| known.check == check && (known.at == at || check == Check::GaveUp)) {
            return;
        }
        self.findings.push(Finding { check, at, found });
    }

    /// Adds what fails in one place.
    pub(crate) fn add_failed(&mut self, at: &str, rows: impl IntoIterator<Item = Row>) {
        for (fails, check, found) in rows {
            if fails {
                self.add(check, at, found);
            }
        }
    }

    pub(crate) fn has(&self, check: Check) -> bool {
        self.findings.iter().any(|finding| finding.check == check)
    }

    pub(crate) fn looked_at(&mut self, what: impl AsRef<str>) {
        self.looked_at.push(plain(what.as_ref()));
    }

    /// Whether anything was read that is for agents.
    pub(crate) fn has_documents(&self) -> bool {
        !self.looked_at.is_empty()
    }

    /// Leaves one finding, in place of its consequences.
    pub(crate) fn replace(&mut self, check: Check, at: &str, found: &str) {
        self.findings.retain(|finding| finding.check == Check::UrlInsecure);
        self.add(check, at, found);
    }

    pub(crate) fn grade(&self) -> Grade {
        if self.is_unreachable {
            return Grade::Unreachable;
        }
        match self.findings.iter().map(|finding| finding.check.about().severity).max() {
            Some(Severity::Error) => Grade::Errors,
            Some(Severity::Warning) => Grade::Warnings,
            Some(Severity::Note) | None => Grade::Good,
        }
    }

    /// The findings of a severity, in the order of the catalogue.
    fn of(&self, severity: Severity) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> =
            self.findings.iter().filter(|finding| finding.check.about().severity == severity).collect();
        findings.sort_by_key(|finding| finding.check);
        findings
    }

    fn worst_first(&self) -> impl Iterator<Item = &Finding> {
        Severity::WORST_FIRST.into_iter().flat_map(|severity| self.of(severity))
    }

    pub(crate) fn to_json(&self, url: &str) -> Value {
        let findings: Vec<Value> = self
            .worst_first()
            .map(|Finding { check, at, found }| {
                let about = check.about();
                json!({
                    "id": about.id,
                    "severity": about.severity.name(),
                    "at": at,
                    "found": found,
                    "expected": about.expected,
                    "source": about.source,
                    "remedy": about.remedy,
                })
            })
            .collect();
        json!({ "url": url, "grade": self.grade().name(), "findings": findings })
    }

    pub(crate) fn write(&self, to: &mut impl Write, url: &str, has_escapes: bool) -> io::Result<()> {
        let counts = Severity::WORST_FIRST.map(|severity| counted(self.of(severity).len(), severity));
        writeln!(to, "{}: {}", plain(url), counts.join(", "))?;
        if !self.looked_at.is_empty() {
            writeln!(to, "Looked at:\n    {}", self.looked_at.join("\n    "))?;
        }
        for severity in Severity::WORST_FIRST {
            let findings = self.of(severity);
            let colour = match severity {
                Severity::Error => "\u{1b}[1;31m",
                Severity::Warning => "\u{1b}[1;33m",
                Severity::Note => "\u{1b}[1;36m",
            };
            let (start, end) = if has_escapes { (colour, "\u{1b}[0m") } else { ("", "") };
            if !findings.is_empty() {
                writeln!(to, "\n{start}{}{end}", title(severity))?;
            }
            for Finding { check, at, found } in findings {
                let about = check.about();
                writeln!(to, "\n  {start}{}{end}  {at}", about.id)?;
                let lines = [
                    ("found", &**found),
                    ("expected", about.expected),
                    ("source", about.source),
                    ("remedy", about.remedy),
                ];
                for (name, text) in lines {
                    writeln!(to, "    {name:9} {text}")?;
                }
            }
        }
        Ok(())
    }
}

fn counted(count: usize, severity: Severity) -> String {
    format!("{count} {severity}{}", if count == 1 { "" } else { "s" })
}

fn title(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "Errors: agents can't get in, or a specification says MUST",
        Severity::Warning => "Warnings: some agents or hosts can't get in, or are told something wrong",
        Severity::Note => "Notes: agents get in; some do better with it, or one grader asks for it",
    }
}

/// All findings as a Markdown table: that of docs/doctor.md.
pub(crate) fn catalogue() -> String {
    let mut table = "| id | severity | expected | source |\n|---|---|---|---|\n".to_owned();
    for check in Check::ALL {
        let about = check.about();
        let _ = writeln!(table, "| `{}` | {} | {} | {} |", about.id, about.severity, about.expected, about.source);
    }
    table
}
