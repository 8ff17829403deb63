//! `oxdaas stop`: ends the server of a data directory, and waits for its end.
//!
//! The signal goes through a process descriptor that is opened before the lock is
//! looked at for the second time: it reaches the process that holds the lock, or
//! none, however process ids are reused meanwhile.

use std::{io, os::fd::OwnedFd, path::Path, process::ExitCode};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::serve::ServeArgs;
use crate::{
    limits::STOP_TIMEOUT_MS,
    log::{Holder, holder},
};

/// Why the server was not stopped.
#[derive(Debug, thiserror::Error)]
enum StopError {
    #[error(
        "{path} is in use by a process that cannot be told from here; stop it where it was started, as in its container"
    )]
    Unknown { path: String },
    #[error("{path}: {source}")]
    Lock { path: String, source: io::Error },
    #[error(
        "process {id} cannot be stopped: {source}; run this as root or as the user that started it"
    )]
    Refused { id: u32, source: io::Error },
    #[error("process {id} has not ended after {} s; it was told to and may still be draining; run this again, or end it with 'kill -9 {id}'", STOP_TIMEOUT_MS / 1000)]
    StillRunning { id: u32 },
}

/// Stops the server; 0: there is none any more, 1: there is, and why.
pub fn stop(args: &ServeArgs) -> ExitCode {
    let path = args.data_dir();
    match run(path) {
        Ok(Some(id)) => {
            println!("process {id} has ended");
            ExitCode::SUCCESS
        }
        Ok(None) => {
            println!("no server uses {}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("oxdaas: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The process that was stopped, if there was one.
fn run(path: &Path) -> Result<Option<u32>, StopError> {
    let Some(id) = proven(path)? else {
        return Ok(None);
    };
    let refused = |errno: Errno| StopError::Refused {
        id,
        source: errno.into(),
    };
    let raw = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = raw.ok_or_else(|| refused(Errno::SRCH))?;
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(Some(id)),
        other => other.map_err(refused)?,
    };
    // The descriptor may be of a successor that was given the same id.
    if proven(path)? != Some(id) {
        return Ok(Some(id));
    }
    match pidfd_send_signal(&process, Signal::TERM) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(refused(errno)),
    }
    if ended(&process) {
        Ok(Some(id))
    } else {
        Err(StopError::StillRunning { id })
    }
}

fn proven(path: &Path) -> Result<Option<u32>, StopError> {
    let shown = || path.display().to_string();
    match holder(path) {
        Ok(Holder::Nobody) => Ok(None),
        Ok(Holder::Process { id, .. }) => Ok(Some(id)),
        Ok(Holder::Unknown) => Err(StopError::Unknown { path: shown() }),
        Err(source) => Err(StopError::Lock {
            path: shown(),
            source,
        }),
    }
}

/// Waits for the end of a process, which need not be a child.
fn ended(process: &OwnedFd) -> bool {
    let millis = std::time::Duration::from_millis(STOP_TIMEOUT_MS);
    let timeout = Timespec::try_from(millis).expect("minutes are a timespec");
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    matches!(poll(&mut polled, Some(&timeout)), Ok(1..))
}
