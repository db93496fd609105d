//! The code of the tonic example, generated from its `.proto` file without any program that would have to be installed.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{Outcome, output};

/// Write `examples/tonic/notes.rs` anew
#[derive(Args)]
pub(crate) struct Options;

pub(crate) fn run(_: &Options) -> Outcome<ExitCode> {
    fs::write(example().join("notes.rs"), generated()?)?;
    output::say("examples/tonic/notes.rs is written");
    Ok(ExitCode::SUCCESS)
}

fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/tonic")
}

fn generated() -> Outcome<String> {
    let files = protox::compile(["notes.proto"], [example()])?;
    let out = tempfile::tempdir()?;
    tonic_prost_build::configure().out_dir(out.path()).compile_fds(files)?;
    Ok(fs::read_to_string(out.path().join("notes.v1.rs"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_the_example_is_as_its_description_says() -> Outcome<()> {
        let committed = fs::read_to_string(example().join("notes.rs"))?;
        assert!(committed == generated()?, "run `cargo xtask proto`");
        Ok(())
    }
}
