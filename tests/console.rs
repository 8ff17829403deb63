//! `oxdaas console`: commands from a pipe with their exit codes, and a session at a terminal.

mod support;

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use support::server::{Launch, TempDir};

/// The console on the server at `url`, without settings of whoever runs the tests.
fn console(url: &str, home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxdaas"));
    command
        .args(["console", "--url", url])
        .env_remove("OXDAAS_TOKEN")
        .env_remove("OXDAAS_TOKEN_FILE")
        .env("XDG_STATE_HOME", home)
        .env("TERM", "xterm");
    command
}

/// What a console said to lines from a pipe.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn pipe(mut console: Command, lines: &str) -> Said {
    let mut child = console
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // It may end before it has read everything.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn commands_from_a_pipe_are_carried_out_in_order() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let url = format!("http://{}", server.address);
    let said = pipe(
        console(&url, data.path()),
        concat!(
            "# a comment, and an empty line\n\n",
            "put 1 {\"color\": \"blue\", \"n\": 1.50, \"list\": [{\"on\": true, \"k\": 1}, {\"on\": false}]}\n",
            "get 1\n",
            "put \"a name/with ?#% and ü\" \"by name\"\n",
            "get \"a name/with ?#% and ü\"\n",
            "post [1, 2]\n",
            "cmd 1 ONLY color none\n",
            "cmd 1 FILTER_BOOL list on\n",
            "delete 1\n",
            "put 3 null",
        ),
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.stderr, "");
    let document = r#"{"color":"blue","n":1.50,"list":[{"on":true,"k":1},{"on":false}]}"#;
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines.contains(&document), "{said:?}");
    assert!(lines.contains(&"\"by name\""), "{said:?}");
    assert!(lines.contains(&r#"{"values":["blue",null]}"#), "{said:?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains(r#"{"on":true,"k":1}"#) && !line.contains("false")),
        "{said:?}"
    );
    let mut client = server.connect();
    assert_eq!(client.get("/docs/1").status, 404);
    assert_eq!(client.get("/docs/3").text(), "null");
    let by_name = "/docs/a%20name%2Fwith%20%3F%23%25%20and%20%C3%BC";
    assert_eq!(client.get(by_name).text(), "\"by name\"");
}

#[test]
fn a_refused_command_is_named_with_its_line_and_the_rest_goes_on() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let url = format!("http://{}/", server.address);
    let said = pipe(
        console(&url, data.path()),
        "get 404\nput 1 {nope\nnope\nput 2 2\nget 2\n",
    );
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.ends_with("2\n"), "{said:?}");
    for expected in [
        "line 1: 404 {\"error\":\"not_found\"",
        "line 2: 400 {\"error\":\"bad_json\"",
        "line 3: there is no 'nope'",
    ] {
        assert!(said.stderr.contains(expected), "{expected}: {said:?}");
    }
    // What comes after quit is not carried out.
    let said = pipe(console(&url, data.path()), "quit\nget 404\n");
    assert_eq!(said.code, Some(0), "{said:?}");
    let mut timed = console(&url, data.path());
    timed.arg("--timing");
    let said = pipe(timed, "get 2\n");
    assert_eq!(said.stdout, "2\n");
    assert!(
        said.stderr.starts_with("line 1: 200, ") && said.stderr.ends_with(" ms\n"),
        "{said:?}"
    );
}

#[test]
fn a_server_that_does_not_answer_is_exit_code_2() {
    let home = TempDir::new();
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", free.local_addr().expect("it is bound"));
    drop(free);
    let said = pipe(console(&url, home.path()), "get 1\nget 2\n");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stderr.contains("line 1") && said.stderr.contains(&url),
        "{said:?}"
    );
    assert!(!said.stderr.contains("line 2"), "{said:?}");
    let said = pipe(console("not an address", home.path()), "get 1\n");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("http://127.0.0.1:4000"), "{said:?}");
}

/// A server of one answer, which shows what it was asked.
fn asked(token: impl FnOnce(&mut Command, &Path)) -> (String, Said) {
    let home = TempDir::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut command = console(&format!("http://{address}"), home.path());
    token(&mut command, home.path());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the console connects");
        stream
            .set_read_timeout(Some(support::client::TIMEOUT))
            .expect("a timeout");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a whole head");
            request.push(byte[0]);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
        String::from_utf8(request).expect("ASCII")
    });
    let said = pipe(command, "get 1\n");
    // If it never connected, the thread is still waiting for someone.
    let _ = TcpStream::connect(address).and_then(|mut stream| stream.write_all(b"\r\n\r\n"));
    (answering.join().expect("one request"), said)
}

#[test]
fn the_token_is_sent_and_never_shown() {
    let secret = "a-very-secret-token";
    let sent = format!("authorization: bearer {secret}\r\n");
    let (request, said) = asked(|command, _| {
        command.env("OXDAAS_TOKEN", secret);
    });
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(request.to_lowercase().contains(&sent), "{request}");
    let (request, _) = asked(|command, home| {
        let file = home.join("tokens");
        std::fs::write(&file, format!("{secret} rw\nother ro\n")).expect("the file is written");
        // The file wins.
        command
            .env("OXDAAS_TOKEN", "other")
            .arg("--token-file")
            .arg(file);
    });
    assert!(request.to_lowercase().contains(&sent), "{request}");
    let (request, _) = asked(|_, _| {});
    assert!(
        !request.to_lowercase().contains("authorization"),
        "{request}"
    );
    for broken in ["", "\n", "se\u{7f}cret ro\n"] {
        let (_, said) = asked(|command, home| {
            let file = home.join("tokens");
            std::fs::write(&file, broken).expect("the file is written");
            command.arg("--token-file").arg(file);
        });
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.stderr.contains("tokens") && !said.stderr.contains("cret ro"),
            "{said:?}"
        );
    }
}

/// A console at a terminal of its own.
struct Session {
    child: Child,
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    shown: String,
}

impl Session {
    fn new(mut console: Command) -> Session {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&terminal).expect("it can be used");
        unlockpt(&terminal).expect("it can be opened");
        let name = ptsname(&terminal, Vec::new()).expect("it has a name");
        let open = || {
            let path = name.to_str().expect("ASCII");
            File::options()
                .read(true)
                .write(true)
                .open(path)
                .expect("it can be opened")
        };
        let child = console
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("the binary starts");
        let keyboard = File::from(terminal);
        let mut reading = keyboard.try_clone().expect("a descriptor can be cloned");
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading fails once nobody has the terminal open.
            while let Ok(count @ 1..) = reading.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Session {
            child,
            keyboard,
            screen,
            shown: String::new(),
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    /// Waits until `text` is shown, and forgets what was shown up to it.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} is not shown: {:?}", self.shown),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_session_has_completion_history_help_and_timing() {
    let data = TempDir::new();
    let home = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let url = format!("http://{}", server.address);
    let mut session = Session::new(console(&url, home.path()));
    session.shows("oxdaas> ");
    session.types("help\r");
    session.shows("put ID JSON");
    session.shows("oxdaas> ");
    session.types("put user:7 {\"a\": 1}\r");
    session.shows("(201, ");
    session.shows(" ms)");
    session.shows("oxdaas> ");
    // Tab completes the verb and the id.
    session.types("ge\tus\t\r");
    session.shows("{\"a\":1}");
    session.shows("(200, ");
    session.shows("oxdaas> ");
    // A refusal does not end the session.
    session.types("get none\r");
    session.shows("not_found");
    session.shows("oxdaas> ");
    session.types("\x04");
    assert!(session.child.wait().expect("it ends").success());

    // The next session remembers the lines of this one, and nobody else can read them.
    let mut session = Session::new(console(&url, home.path()));
    session.shows("oxdaas> ");
    session.types("\x1b[A\x1b[A\r");
    session.shows("{\"a\":1}");
    session.types("quit\r");
    assert!(session.child.wait().expect("it ends").success());
    use std::os::unix::fs::MetadataExt;
    let history =
        std::fs::metadata(home.path().join("oxdaas/console-history")).expect("it is kept");
    assert_eq!(history.mode() & 0o077, 0);
}
