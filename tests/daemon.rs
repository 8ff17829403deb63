//! `start`, `stop`, `status` and `healthcheck`: the life of a daemon, and what a service manager is told.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal},
};
use support::{
    client::{Client, TIMEOUT},
    server::{Launch, Signal, TempDir},
};

/// How long a killed process may take to be gone.
const PATIENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// A data directory whose daemon, if there is one, ends with the test.
struct Home(TempDir);

/// How a command ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Home {
    fn new() -> Home {
        Home(TempDir::new())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command on this directory, with an environment of its own.
    fn run(&self, words: &[&str], environment: &[(&str, &str)]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oxdaas"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("OXDAAS_") || text == "PORT" {
                command.env_remove(&name);
            }
        }
        // Its end is awaited until nobody has its output open: a daemon must not.
        let output = command
            .args(words)
            .env("OXDAAS_DATA_DIR", self.path())
            .envs(environment.iter().copied())
            .output()
            .expect("the binary starts");
        Said {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Starts a daemon and returns where it listens.
    #[track_caller]
    fn start(&self) -> SocketAddr {
        let said = self.run(&["start", "--cores", "1", "--listen", "127.0.0.1:0"], &[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        address(&said.stdout)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("oxdaas.log")).unwrap_or_default()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.run(&["stop"], &[]);
    }
}

#[track_caller]
fn address(text: &str) -> SocketAddr {
    let (_, rest) = text
        .split_once("listening on ")
        .or_else(|| text.split_once("listens on "))
        .unwrap_or_else(|| panic!("no address: {text}"));
    let word = rest.split([' ', ',']).next().expect("a first word");
    word.parse()
        .unwrap_or_else(|_| panic!("no address: {text}"))
}

#[test]
fn a_daemon_starts_is_seen_stops_and_keeps_its_documents() {
    let home = Home::new();
    let said = home.run(&["status"], &[]);
    assert_eq!(said.code, Some(3), "{said:?}");
    for round in 0..2 {
        let address = home.start();
        let mut client = Client::connect(address);
        assert_eq!(client.put(&format!("/docs/{round}"), "1").status, 201);
        let said = home.run(&["status"], &[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.starts_with("running: process "), "{said:?}");
        assert_eq!(self::address(&said.stdout), address);
        let said = home.run(&["stop"], &[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        client.expect_closed();
        assert_eq!(home.run(&["status"], &[]).code, Some(3));
    }
    let address = home.start();
    assert_eq!(Client::connect(address).get("/docs/0").text(), "1");
    assert_eq!(Client::connect(address).get("/docs/1").text(), "1");
    // The log tells the story, without colours.
    let log = home.log();
    assert_eq!(log.matches("listening on").count(), 3, "{log}");
    assert!(log.contains("draining") && !log.contains('\x1b'), "{log}");
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("it is bound").to_string();
    let said = home.run(&["start", "--cores", "1", "--listen", &listen], &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains(&listen) && said.stderr.contains("in use"),
        "{said:?}"
    );
    assert!(home.log().contains("in use"), "{}", home.log());
    let said = home.run(&["start", "--cores", "0"], &[]);
    assert_eq!(said.code, Some(2), "{said:?}");

    home.start();
    // Only what this start has to say, not what the log says of earlier ones.
    let said = home.run(&["start", "--cores", "1", "--listen", "127.0.0.1:0"], &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("locked") && !said.stderr.contains("in use;"),
        "{said:?}"
    );
    assert!(!said.stderr.contains(&listen), "{said:?}");
}

#[test]
fn port_in_the_environment_is_honoured() {
    let home = Home::new();
    let said = home.run(&["start", "--cores", "1"], &[("PORT", "0")]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let address = address(&said.stdout);
    assert!(address.ip().is_unspecified(), "{said:?}");
    for command in ["status", "stop"] {
        let said = home.run(&[command], &[("PORT", &address.port().to_string())]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let said = home.run(&["start", "--cores", "1"], &[("PORT", "x")]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn a_server_in_the_foreground_is_seen_and_stopped_as_well() {
    let home = Home::new();
    let server = Launch::serve(home.path()).cores(1).start();
    let said = home.run(&["status"], &[]);
    assert!(
        said.stdout.contains(&format!("process {} ", server.pid())),
        "{said:?}"
    );
    assert_eq!(home.run(&["stop"], &[]).code, Some(0));
    assert_eq!(server.await_end().code, Some(0));
    assert_eq!(home.run(&["stop"], &[]).code, Some(0), "there is none");
}

#[test]
fn a_healthcheck_asks_the_server_where_it_listens() {
    let home = Home::new();
    let said = home.run(&["healthcheck"], &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("no server uses"), "{said:?}");
    // At all addresses, which is none to connect to.
    let server = Launch::bare(&["serve", "--cores", "1", "--data-dir"])
        .arg(home.path())
        .env("PORT", "0")
        .start();
    let said = home.run(&["healthcheck"], &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let asked = format!("http://127.0.0.1:{} answers", server.address.port());
    assert_eq!(said.stdout.trim(), asked);
    server.kill();
    assert_eq!(home.run(&["healthcheck"], &[]).code, Some(1));
}

#[test]
fn a_healthcheck_is_not_content_with_a_process_or_an_open_port() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    // This process holds the lock, as a server that is ill would.
    let lock = home.path().join("LOCK");
    fs::write(&lock, format!("{}\n", std::process::id())).expect("writable");
    let held = fs::File::open(&lock).expect("readable");
    held.try_lock().expect("nobody has it");
    let said = home.run(&["healthcheck"], &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("does not answer yet"), "{said:?}");
    fs::write(&lock, format!("{}\n{address}\n", std::process::id())).expect("writable");
    let answer = |response: &'static str| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("the command connects");
                let mut request = [0; 1024];
                let count = stream.read(&mut request).expect("it asks");
                assert!(request[..count].starts_with(b"GET /healthz "));
                stream.write_all(response.as_bytes()).expect("it listens");
            });
            home.run(&["healthcheck"], &[])
        })
    };
    let said = answer("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("answered 503"), "{said:?}");
    // As one that speaks TLS answers, but for another reason.
    let said = answer("HTTP/1.1 400 Bad\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("answered 400"), "{said:?}");
    let said = answer("");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("no answer from"), "{said:?}");
}

/// A process that has nothing to do with any server.
struct Bystander(Child);

impl Bystander {
    fn new() -> Bystander {
        let mut command = Command::new("sleep");
        Bystander(command.arg("600").spawn().expect("sleep is essential"))
    }

    #[track_caller]
    fn expect_alive(&mut self) {
        let ended = self.0.try_wait().expect("a child can be asked for");
        assert!(ended.is_none(), "a foreign process was ended: {ended:?}");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn stop_never_ends_a_process_that_does_not_hold_the_lock() {
    let home = Home::new();
    let mut bystander = Bystander::new();
    let lock = home.path().join("LOCK");
    // The id of a server that is gone was given to another process.
    let address = home.start();
    let said = home.run(&["status"], &[]);
    let id = said.stdout.split(' ').nth(2).expect("the process id");
    let id = Pid::from_raw(id.parse().expect("a number")).expect("not 0");
    let process = pidfd_open(id, PidfdFlags::empty()).expect("it runs");
    pidfd_send_signal(&process, Signal::KILL).expect("it is ours");
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    poll(&mut ended, Some(&PATIENCE)).expect("poll works on a pid descriptor");
    fs::write(&lock, format!("{}\n{address}\n", bystander.0.id())).expect("writable");
    let said = home.run(&["stop"], &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("no server"), "{said:?}");
    assert_eq!(home.run(&["status"], &[]).code, Some(3));
    bystander.expect_alive();
    // The directory is in use, but not by the process that the file names.
    let held = fs::File::open(&lock).expect("readable");
    held.try_lock().expect("nobody has it");
    let said = home.run(&["stop"], &[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(home.run(&["status"], &[]).code, Some(4));
    bystander.expect_alive();
}

#[test]
fn a_service_manager_is_told_when_the_server_is_ready_and_when_it_stops() {
    let data = TempDir::new();
    let socket = data.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let told = || {
        let mut buffer = [0; 1024];
        let count = manager.recv(&mut buffer).expect("the manager is told");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let server = Launch::serve(&data.path().join("data"))
        .cores(1)
        .env("NOTIFY_SOCKET", socket.to_str().expect("UTF-8"))
        .start();
    let ready = told();
    assert!(ready.lines().any(|line| line == "READY=1"), "{ready}");
    let status = format!("STATUS=listening on {}", server.address);
    assert!(ready.lines().any(|line| line == status), "{ready}");
    server.stop();
    assert_eq!(told().trim(), "STOPPING=1");
}
