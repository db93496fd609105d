//! The credentials that the agent stores between runs.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Exit, Failure},
    http::is_below,
};

/// The credential for a resource.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Credential {
    pub(crate) resource: String,
    pub(crate) access_token: String,
    /// The refresh token and its endpoint, if the service has one.
    pub(crate) refresh: Option<Refresh>,
    /// The revocation endpoint (RFC 7009).
    #[serde(default)]
    pub(crate) revocation_uri: Option<String>,
    pub(crate) scopes: Vec<String>,
}

#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Refresh {
    pub(crate) token: String,
    pub(crate) uri: String,
    /// The client id, if the endpoint is that of an OAuth server.
    #[serde(default)]
    pub(crate) client_id: Option<String>,
    /// Whether the token is an assertion, which is exchanged again and again (RFC 7523).
    #[serde(default)]
    pub(crate) is_assertion: bool,
}

impl Credential {
    pub(crate) fn has(&self, scopes: &[String]) -> bool {
        scopes.iter().all(|scope| self.scopes.contains(scope))
    }
}

/// A file with one credential for each resource, readable only by its owner.
pub(crate) struct Credentials {
    file: PathBuf,
    by_resource: BTreeMap<String, Credential>,
}

impl Credentials {
    pub(crate) fn load(file: &Path) -> Result<Self, Failure> {
        let by_resource = match fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text).map_err(|_| unusable(file, "it holds no credentials"))?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(unusable(file, error)),
        };
        Ok(Self { file: file.to_owned(), by_resource })
    }

    /// The credential of the most specific resource that the URL is below.
    pub(crate) fn find(&self, url: &str) -> Option<Credential> {
        let above = self.by_resource.values().filter(|credential| is_below(url, &credential.resource));
        above.max_by_key(|credential| credential.resource.len()).cloned()
    }

    pub(crate) fn keep(&mut self, credential: &Credential) -> Result<(), Failure> {
        self.by_resource.insert(credential.resource.clone(), credential.clone());
        self.save()
    }

    pub(crate) fn forget(&mut self, url: &str) -> Result<(), Failure> {
        if let Some(credential) = self.find(url) {
            self.by_resource.remove(&credential.resource);
        }
        self.save()
    }

    /// Checks that a credential can be stored, before a human is asked for one.
    pub(crate) fn check_writable(&self) -> Result<(), Failure> {
        let new = self.new_file();
        write_private(&new, "").and_then(|()| fs::remove_file(&new)).map_err(|error| unusable(&self.file, error))
    }

    /// Writes a new file and renames it over the old one, so that the file is never incomplete or readable by others.
    /// Without a credential there is no file.
    fn save(&self) -> Result<(), Failure> {
        if self.by_resource.is_empty() {
            let removed = fs::remove_file(&self.file).or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            });
            return removed.map_err(|error| unusable(&self.file, error));
        }
        let new = self.new_file();
        let text = serde_json::to_string_pretty(&self.by_resource)?;
        let written = write_private(&new, &text).and_then(|()| fs::rename(&new, &self.file));
        written.map_err(|error| {
            // It holds the credential, and nobody will look for it.
            let _ = fs::remove_file(&new);
            unusable(&self.file, error)
        })
    }

    fn new_file(&self) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(format!(".{}.new", std::process::id()));
        name.into()
    }
}

fn unusable(file: &Path, error: impl std::fmt::Display) -> Failure {
    let remedy = "choose another file with --credential";
    Failure::new(Exit::File, format!("can't keep a credential in {}: {error}; {remedy}", file.display()))
}

fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
