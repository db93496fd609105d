//! A certificate of one's own for 127.0.0.1, that nobody trusts who is not told to.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::Outcome;

pub(crate) struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    pub(crate) fn new() -> Outcome<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        Ok(Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }

    /// Writes `server.crt` and `server.key`, the key for its owner only.
    pub(crate) fn write(&self, directory: &Path) -> Outcome<()> {
        fs::write(directory.join("server.crt"), &self.certificate)?;
        fs::write(directory.join("server.key"), &self.key)?;
        fs::set_permissions(directory.join("server.key"), fs::Permissions::from_mode(0o600))?;
        Ok(())
    }
}
