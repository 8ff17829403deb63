//! The real binary as a child process: start, signal, await its end.

use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

pub use rustix::process::Signal;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal},
};

use super::client::Client;

/// How long the server may take to say that it is ready, or to end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own that is removed with its owner.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates an empty directory.
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("oxdaas-test-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory can be created");
        TempDir(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A failure here would hide the failure of the test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How to start the binary: `serve` on port 0 and on `data` unless said otherwise.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// What starts it, and must become it.
    wrapper: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// Nothing but defaults, and no other arguments than those added.
    pub fn bare(arguments: &[&str]) -> Launch {
        Launch {
            wrapper: Vec::new(),
            arguments: arguments.iter().map(OsString::from).collect(),
            environment: Vec::new(),
        }
    }

    /// `serve` on a free port of the loopback and on the directory `data`.
    pub fn serve(data: &Path) -> Launch {
        Launch::bare(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data)
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Launch {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: &[&str]) -> Launch {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    /// Adds `--cores N`.
    pub fn cores(self, cores: u32) -> Launch {
        self.args(&["--cores", &cores.to_string()])
    }

    /// Segments of 4 KiB, and documents that fit them, so that tests cross the boundary often.
    pub fn small_segments(self) -> Launch {
        self.args(&["--segment-bytes", "4096", "--body-bytes-max", "1024"])
    }

    /// Has it started by another program, which sets limits and then becomes it.
    pub fn under(self, wrapper: &[&str]) -> Launch {
        let wrapper = wrapper.iter().map(OsString::from).collect();
        Launch { wrapper, ..self }
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(exit) => panic!("the server did not start: {self:?}: {exit:?}"),
        }
    }

    /// Starts it and waits until it is ready, or has ended without being so.
    #[track_caller]
    pub fn try_start(&self) -> Result<Server, Exit> {
        let scratch = TempDir::new();
        let mut process = Process::spawn(self, &scratch);
        let stdout = process.child.stdout.take().expect("stdout is piped");
        let (lines, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Once nobody listens, the rest is read and dropped, so that
                // the server never blocks on a full pipe.
                let _ = lines.send(line);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(line) = ready.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if let Some(address) = address_in(&line) {
                return Ok(Server {
                    process,
                    scratch,
                    address,
                    ready_line: line,
                });
            }
            seen.push(line);
        }
        assert!(
            Instant::now() < deadline,
            "neither ready nor ended within {PATIENCE:?}; stdout {seen:?}; stderr {}",
            read_stderr(&scratch)
        );
        Err(process.await_end(&scratch, seen.join("\n")))
    }

    /// Runs it to its end, which must come without a signal.
    #[track_caller]
    pub fn run(&self) -> Exit {
        match self.try_start() {
            Ok(server) => panic!(
                "it serves instead of ending: {self:?}: {}",
                server.ready_line
            ),
            Err(exit) => exit,
        }
    }
}

/// The address in the ready line `listening on ADDR:PORT ...`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    let text = rest.split([' ', ',', ';']).next()?;
    let text = text.strip_prefix("http://").unwrap_or(text);
    text.trim_end_matches('/').parse().ok()
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Exit {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Everything it wrote to standard output before it was ready.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
}

/// A running server that is ready; dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    process: Process,
    scratch: TempDir,
    /// Where it listens.
    pub address: SocketAddr,
    /// The line that said so.
    pub ready_line: String,
}

impl Server {
    /// Opens a connection.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        read_stderr(&self.scratch)
    }

    /// Waits until it has written `text` to standard error so often.
    #[track_caller]
    pub fn await_stderr(&self, text: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.stderr().matches(text).count() < count {
            assert!(Instant::now() < deadline, "no {text:?}: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends `signal`.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn await_end(mut self) -> Exit {
        self.process.await_end(&self.scratch, String::new())
    }

    /// Ends it by SIGTERM; it must drain and report success.
    #[track_caller]
    pub fn stop(self) {
        self.signal(Signal::TERM);
        let exit = self.await_end();
        assert_eq!(exit.code, Some(0), "{exit:?}");
    }

    /// Ends it by SIGKILL.
    #[track_caller]
    pub fn kill(self) {
        self.signal(Signal::KILL);
        let exit = self.await_end();
        assert_eq!(exit.code, None, "it ended before the kill: {exit:?}");
    }
}

/// A child and its pid descriptor: signals go to this process and no other.
#[derive(Debug)]
struct Process {
    child: Child,
    pidfd: OwnedFd,
}

impl Process {
    fn spawn(launch: &Launch, scratch: &TempDir) -> Process {
        let stderr = File::create(stderr_path(scratch)).expect("a file for stderr");
        let binary = std::env::var_os("OXDAAS_BINARY");
        let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_oxdaas").into());
        let mut command = match launch.wrapper.split_first() {
            None => Command::new(binary),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().into_owned();
            if text.starts_with("OXDAAS_") || text == "PORT" {
                command.env_remove(name);
            }
        }
        let child = command
            .args(&launch.arguments)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        let pid = i32::try_from(child.id()).expect("a process id fits 31 bits");
        let pid = Pid::from_raw(pid).expect("a process id is not 0");
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("the child is not reaped yet");
        Process { child, pidfd }
    }

    fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).expect("the process can be signalled");
    }

    /// Waits until the process ended, with a deadline.
    #[track_caller]
    fn await_end(&mut self, scratch: &TempDir, stdout: String) -> Exit {
        let timeout = Timespec::try_from(PATIENCE).expect("a minute is a timespec");
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let count = poll(&mut ended, Some(&timeout)).expect("poll works on a pid descriptor");
        assert!(
            count > 0,
            "still running after {PATIENCE:?}; stderr {}",
            read_stderr(scratch)
        );
        let status = self.child.wait().expect("the child can be reaped");
        Exit {
            code: status.code(),
            stdout,
            stderr: read_stderr(scratch),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn stderr_path(scratch: &TempDir) -> PathBuf {
    scratch.path().join("stderr")
}

fn read_stderr(scratch: &TempDir) -> String {
    let bytes = std::fs::read(stderr_path(scratch)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The files below `directory` with their bytes, but for the lock.
pub fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in std::fs::read_dir(&path).expect("the directory can be read") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .to_lowercase();
            if path.is_dir() {
                pending.push(path);
            } else if !name.contains("lock") {
                let bytes = std::fs::read(&path).expect("the file can be read");
                files.push((path, bytes));
            }
        }
    }
    files.sort();
    files
}

/// The file below `directory` that holds `text`, and the offset of its last occurrence.
#[track_caller]
pub fn find_bytes(directory: &Path, text: &[u8]) -> (PathBuf, usize) {
    snapshot(directory)
        .into_iter()
        .rev()
        .find_map(|(path, bytes)| {
            let offset = bytes
                .windows(text.len())
                .rposition(|window| window == text)?;
            Some((path, offset))
        })
        .unwrap_or_else(|| panic!("{:?} is in no file", String::from_utf8_lossy(text)))
}
