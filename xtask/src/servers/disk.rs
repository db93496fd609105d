//! A small disk of one's own that can be filled: a tmpfs, which only root may mount.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::Outcome;

pub(crate) struct Disk {
    directory: TempDir,
}

impl Disk {
    pub(crate) fn mount(mebibytes: usize) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("disk-").tempdir()?;
        let options = format!("size={mebibytes}m,mode=0777");
        as_root("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], directory.path())?;
        Ok(Self { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) -> Outcome<()> {
        let mut file = fs::File::create(self.filler())?;
        match io::copy(&mut io::repeat(0), &mut file) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err("the disk has no end".into()),
        }
    }

    pub(crate) fn empty(&self) -> Outcome<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A server that has not ended yet keeps it for as long.
        let _ = as_root("umount", &["--lazy"], self.path());
    }
}

/// Runs a command about a directory as root, through sudo where we are somebody else and are not asked for a password.
fn as_root(program: &str, arguments: &[&str], directory: &Path) -> Outcome<()> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let mut command = if is_root { Command::new(program) } else { Command::new("sudo") };
    if !is_root {
        command.args(["-n", program]);
    }
    let answer =
        command.args(arguments).arg(directory).output().map_err(|error| format!("can't run {program}: {error}"))?;
    if answer.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
    Err(format!("this run needs a small disk, which root may mount, or whoever may `sudo -n {program}`: {reason}")
        .into())
}
