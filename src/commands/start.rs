//! `oxdaas start`: the server as a daemon, and the word that it is ready or why it is not.
//!
//! The daemon is this binary's `serve` with the same options, in a session of its
//! own. It writes to `oxdaas.log` in the data directory; its standard output is a
//! pipe to `start` until the ready line has come.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc,
    time::Duration,
};

use super::serve::ServeArgs;
use crate::{journal::append_to, limits::START_TIMEOUT_MS, log::create_directory};

/// What the daemon says, in the data directory.
const LOG_FILE: &str = "oxdaas.log";

/// How it went.
enum Began {
    /// It answers; the line that says where.
    Ready(String),
    /// It ended.
    Ended,
    /// It is still reading its log.
    Starting,
}

/// Starts the daemon; 0: it answers, 1: it does not, and why.
pub fn start(args: &ServeArgs) -> ExitCode {
    // Wrong options are told here, not in the log.
    if let Err(error) = args.to_config() {
        return fail(&error);
    }
    let directory = args.data_dir();
    if let Err(error) = create_directory(directory) {
        return fail(&error);
    }
    if args.logs_access_to_stdout() {
        return fail(
            &"--access-log - needs a standard output, which a daemon has not; name a file",
        );
    }
    let path = directory.join(LOG_FILE);
    let mut log = match append_to(&path) {
        Ok(log) => log,
        Err(error) => return fail(&format!("{}: {error}", path.display())),
    };
    let began_at = log.metadata().map_or(0, |metadata| metadata.len());
    let mut child = match spawn(&log) {
        Ok(child) => child,
        Err(error) => return fail(&format!("the server cannot be started: {error}")),
    };
    match await_ready(&mut child) {
        Began::Ready(line) => {
            // Best effort: the server runs, whether or not its log has room.
            let _ = writeln!(log, "{line}");
            println!("{line}");
            println!("process {}, log in {}", child.id(), path.display());
            ExitCode::SUCCESS
        }
        Began::Ended => {
            // Reaped, so that its exit is complete: the lock and the port are free.
            let _ = child.wait();
            match read_from(&path, began_at) {
                Ok(said) if !said.is_empty() => eprint!("{said}"),
                Ok(_) => eprintln!("oxdaas: the server ended without a word"),
                Err(error) => eprintln!("oxdaas: {}: {error}", path.display()),
            }
            ExitCode::FAILURE
        }
        Began::Starting => fail(&format!(
            "process {} is not ready after {} s and goes on starting; see 'oxdaas status' and {}",
            child.id(),
            START_TIMEOUT_MS / 1000,
            path.display()
        )),
    }
}

/// `serve` with the options of `start`, which are the same.
fn spawn(log: &File) -> io::Result<Child> {
    let options: Vec<OsString> = std::env::args_os().skip(2).collect();
    Command::new(std::env::current_exe()?)
        .arg("serve")
        .args(options)
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?)
        .spawn()
}

fn await_ready(child: &mut Child) -> Began {
    let stdout = child.stdout.take().expect("it is piped");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if let Ok(1..) = BufReader::new(stdout).read_line(&mut line) {
            // Nobody waits any more when the time is over.
            let _ = sender.send(line);
        }
    });
    match lines.recv_timeout(Duration::from_millis(START_TIMEOUT_MS)) {
        Ok(line) => Began::Ready(line.trim_end().to_owned()),
        Err(mpsc::RecvTimeoutError::Disconnected) => Began::Ended,
        Err(mpsc::RecvTimeoutError::Timeout) => Began::Starting,
    }
}

/// What the log says from `offset` on.
fn read_from(path: &Path, offset: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut said = Vec::new();
    file.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("oxdaas: {error}");
    ExitCode::FAILURE
}
