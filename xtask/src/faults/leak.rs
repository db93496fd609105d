//! Whether a server wrote a secret to its log (I7).

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::Outcome;

/// By so many of its first bytes a secret is looked up: enough to tell apart most of those that have a prefix in common.
const HEAD: usize = 8;

/// Every secret that was issued in a run.
#[derive(Default)]
pub(crate) struct Secrets(Mutex<HashMap<[u8; HEAD], Vec<String>>>);

impl Secrets {
    pub(crate) fn add(&self, secret: &str) {
        let Some(head) = secret.as_bytes().first_chunk() else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(*head).or_default().push(secret.to_owned());
    }

    /// How many secrets stand in a text, and how the first of them begins.
    pub(crate) fn found_in(&self, text: &[u8]) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |start: usize| -> Option<&String> {
            let rest = &text[start..];
            known.get(rest.first_chunk::<HEAD>()?)?.iter().find(|secret| rest.starts_with(secret.as_bytes()))
        };
        let secret = (0..text.len()).find_map(at)?;
        Some(secret.chars().take(HEAD).collect())
    }
}

/// The log of a server, read as it grows.
pub(crate) struct Log {
    path: PathBuf,
    read: u64,
}

impl Log {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: 0 }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What came since the last time, up to the end of a line.
    pub(crate) fn news(&mut self) -> Outcome<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        text.truncate(whole);
        self.read += whole as u64;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Secrets;

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        let secrets = Secrets::default();
        secrets.add("aas_0123456789");
        secrets.add("aas_0123999999");
        assert_eq!(secrets.found_in(b"status=200 aas_0123 aas_01234"), None);
        assert_eq!(secrets.found_in(b"x\"aas_0123999999\"").as_deref(), Some("aas_0123"));
    }
}
