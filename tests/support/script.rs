//! The scripts of the repository, run as a user runs them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// How a script ended.
#[derive(Debug)]
pub struct Said {
    /// `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command elsewhere than in the repository; scripts use the binary of this test.
pub fn run(command: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Said {
    let command = command.as_ref();
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(command)
        .args(arguments)
        .current_dir("/")
        .env("OXDAAS_BINARY", env!("CARGO_BIN_EXE_oxdaas"))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", command.display()));
    Said {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Runs a command that must succeed.
#[track_caller]
pub fn succeed(command: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Said {
    let said = run(command, arguments);
    assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
    said
}

/// The script `name`.
pub fn script(name: &str) -> PathBuf {
    repository().join("scripts").join(name)
}

/// `path` as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
