//! The signed-in browsers and their accounts.
//!
//! Processes on this machine that share a store also share sign-ins. Each sign-in is a small file, in a folder next to
//! the SQLite file or in the working directory. A real service uses a database. Like the folder, it should store only a
//! digest of the cookie's secret.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt, fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use sha2::{Digest, Sha256};
use tower_agent_auth::types::random::{OsRandom, Random, RandomError};

use crate::options::Store;

/// The secret in the cookie of a signed-in browser: 256 random bits in hexadecimal.
pub(crate) struct LoginSecret(String);

/// The key of a sign-in: the SHA-256 of its secret in hexadecimal.
pub(crate) struct LoginId(String);

impl LoginSecret {
    pub(crate) fn generate() -> Result<Self, RandomError> {
        let mut bytes = [0; 32];
        OsRandom.fill(&mut bytes)?;
        Ok(Self(hexadecimal(&bytes)))
    }

    /// Parses a cookie value; `None` if it has another form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(text.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn id(&self) -> LoginId {
        LoginId(hexadecimal(&Sha256::digest(&self.0)))
    }
}

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A sign-in.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) email: String,
    pub(crate) since: SystemTime,
}

/// All sign-ins.
pub(crate) enum Logins {
    Memory(Mutex<HashMap<String, Login>>),
    Folder(PathBuf),
}

impl Logins {
    pub(crate) fn open(store: &Store) -> Result<Self, String> {
        let mut folder = match store {
            Store::Memory => return Ok(Self::Memory(Mutex::default())),
            Store::Sqlite(file) => file.clone().into_os_string(),
            Store::Postgres(_) | Store::Redis(_) => OsString::from("demo"),
        };
        folder.push(".logins");
        let folder = PathBuf::from(folder);
        match create_private_folder(&folder) {
            Ok(()) => Ok(Self::Folder(folder)),
            Err(error) => Err(format!("can't keep sign-ins in {}: {error}", folder.display())),
        }
    }

    // The files are small and local, so the blocking calls below do not delay other requests noticeably.

    pub(crate) fn add(&self, id: &LoginId, email: &str) -> io::Result<()> {
        match self {
            Self::Memory(logins) => {
                let login = Login { email: email.to_owned(), since: SystemTime::now() };
                logins.lock().unwrap_or_else(PoisonError::into_inner).insert(id.0.clone(), login);
                Ok(())
            }
            Self::Folder(folder) => create_private_file(&folder.join(&id.0))?.write_all(email.as_bytes()),
        }
    }

    pub(crate) fn find(&self, id: &LoginId) -> io::Result<Option<Login>> {
        match self {
            Self::Memory(logins) => Ok(logins.lock().unwrap_or_else(PoisonError::into_inner).get(&id.0).cloned()),
            Self::Folder(folder) => found(read(&folder.join(&id.0))),
        }
    }

    pub(crate) fn remove(&self, id: &LoginId) -> io::Result<()> {
        match self {
            Self::Memory(logins) => {
                logins.lock().unwrap_or_else(PoisonError::into_inner).remove(&id.0);
                Ok(())
            }
            Self::Folder(folder) => found(fs::remove_file(folder.join(&id.0))).map(|_| ()),
        }
    }
}

/// Reads a sign-in. The file is written once, at the sign-in, so its modification time is the sign-in time.
fn read(file: &Path) -> io::Result<Login> {
    Ok(Login { email: fs::read_to_string(file)?, since: fs::metadata(file)?.modified()? })
}

/// Turns `NotFound` into `None`.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn create_private_file(file: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}
