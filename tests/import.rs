//! `oxdaas import`: every line is stored once the command says so, or named as one that is not.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    json,
    server::{Launch, TempDir},
};

/// How long the tests wait for something to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// `import` with these arguments, without settings of whoever runs the tests.
fn import(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxdaas"));
    command
        .args(["import", "--url", &format!("http://{address}")])
        .args(arguments)
        .env_remove("OXDAAS_TOKEN")
        .env_remove("OXDAAS_TOKEN_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How it ended and what it said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn ended(child: Child) -> Said {
    let output = child.wait_with_output().expect("it ends");
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn run(address: SocketAddr, arguments: &[&str], input: &str) -> Said {
    let mut child = import(address, arguments).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // It may end before it has read everything.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    ended(child)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn lines_are_stored_byte_for_byte_whatever_their_ids() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let input = "\u{feff}{\"id\":1,\"data\":{\"b\": 1.0, \"a\":\"\\u00fc\\/\"}}\r\n\
                 \n\
                 {\"data\":1e400,\"id\":\"a\\\"b/\\u00fc\"}\n\
                 {\"id\":\"12\",\"data\":12345678901234567890123}";
    let said = run(server.address, &["-"], input);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stdout.contains("3 documents stored, 0 lines rejected"),
        "{said:?}"
    );
    let mut client = server.connect();
    assert_eq!(
        client.get("/docs/1").text(),
        "{\"b\":1.0,\"a\":\"\\u00fc\\/\"}"
    );
    assert_eq!(client.get("/docs/a%22b%2F%C3%BC").text(), "1e400");
    assert_eq!(client.get("/docs/12").text(), "12345678901234567890123");
    let input = "{\"data\":\"chosen\"}\n{\"id\":null,\"data\":\"chosen\"}\n";
    let said = run(server.address, &["-"], input);
    assert_eq!(said.code, Some(0), "{said:?}");
    let ids = json(&client.get("/docs").body)["ids"].clone();
    assert_eq!(ids.as_array().map(Vec::len), Some(5), "{ids}");
    server.stop();
}

#[test]
fn the_later_line_of_an_id_wins_over_any_number_of_connections() {
    for connections in ["1", "7"] {
        let data = TempDir::new();
        let server = Launch::serve(data.path()).cores(2).start();
        // More lines than a batch has, so that lines of an id are in many of them.
        let lines = (0..30_000).map(|n| format!("{{\"id\":{},\"data\":{n}}}\n", n % 97));
        let home = TempDir::new();
        let file = home.path().join("lines");
        fs::write(&file, lines.collect::<String>()).expect("written");
        let said = run(
            server.address,
            &[text(&file), "--connections", connections],
            "",
        );
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.contains("30000 documents stored"), "{said:?}");
        let mut client = server.connect();
        for id in 0..97 {
            let last = (0..30_000).rev().find(|n| n % 97 == id).expect("one");
            assert_eq!(client.get(&format!("/docs/{id}")).text(), last.to_string());
        }
        server.stop();
    }
}

#[test]
fn lines_that_are_wrong_are_listed_by_number_and_the_others_stored() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let home = TempDir::new();
    let rejects = home.path().join("rejects");
    let input = "{\"id\":1,\"data\":1}\n{\"id\":2,\n\n{\"id\":1.5,\"data\":1}\n{\"id\":3}\n{\"id\":4,\"data\":4}\n";
    let said = run(server.address, &["-", "--rejects", text(&rejects)], input);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stdout.contains("2 documents stored, 3 lines rejected"),
        "{said:?}"
    );
    let listed = fs::read_to_string(&rejects).expect("listed");
    let listed: Vec<_> = listed.lines().collect();
    assert_eq!(listed.len(), 3, "{listed:?}");
    for (entry, start) in listed.iter().zip([
        "line 2: bad_json: ",
        "line 4: bad_id: ",
        "line 5: missing_field: ",
    ]) {
        assert!(entry.starts_with(start), "{listed:?}");
    }
    let mut client = server.connect();
    assert_eq!(client.get("/docs/1").text(), "1");
    assert_eq!(client.get("/docs/4").text(), "4");
    // Without a file for them they are on standard error.
    let said = run(server.address, &["-"], "{\"id\":5,\"data\":5}\nx\n");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("line 2: bad_json: "), "{said:?}");
    server.stop();
}

#[test]
fn a_document_as_long_as_a_body_may_be_is_stored_and_a_longer_one_named() {
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(1)
        .args(&["--body-bytes-max", "3000"])
        .start();
    let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let mut input = String::new();
    for n in 1..=40 {
        let document = match n {
            7 => long(3000),
            8 => long(3001),
            n => n.to_string(),
        };
        input += &format!("{{\"id\":{n},\"data\":{document}}}\n");
    }
    let said = run(server.address, &["-", "--connections", "1"], &input);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stdout
            .contains("39 documents stored, 1 lines rejected"),
        "{said:?}"
    );
    assert!(said.stderr.contains("line 8: body_too_large: "), "{said:?}");
    let mut client = server.connect();
    assert_eq!(client.get("/docs/7").text(), long(3000));
    assert_eq!(client.get("/docs/40").text(), "40");
    server.stop();
}

#[test]
fn what_cannot_run_says_why() {
    let home = TempDir::new();
    let lines = home.path().join("lines");
    fs::write(&lines, "{\"id\":1,\"data\":1}\n").expect("written");
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = free.local_addr().expect("an address");
    drop(free);
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    for (address, arguments, part) in [
        (nobody, vec![text(&lines)], "is the server running there"),
        (server.address, vec!["/none"], "/none: "),
        (server.address, vec!["/"], "/: "),
        (server.address, vec!["-", "--resume"], "--skip"),
        (
            server.address,
            vec![text(&lines), "--rejects", "/none/rejects"],
            "/none/rejects: ",
        ),
    ] {
        let said = run(address, &arguments, "");
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(said.stderr.contains(part), "{arguments:?}: {said:?}");
    }
    server.stop();
}

/// A server that shows each batch to the test and answers as it is told.
struct Script {
    address: SocketAddr,
    /// The operations of each batch.
    asked: Receiver<Vec<String>>,
}

/// What the script answers to a batch of so many operations: a status and a body.
type Reply = Box<dyn FnMut(usize) -> (u16, String) + Send>;

fn script(mut reply: Reply) -> Script {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (seen, asked) = mpsc::channel();
    std::thread::spawn(move || {
        // The import has one connection, and one before it to see whether the server is there.
        while let Ok((mut stream, _)) = listener.accept() {
            while let Some((line, body)) = next_request(&mut stream) {
                let (status, answer) = if line.starts_with("POST /batch ") {
                    let batch = json(&body);
                    let ops = batch["ops"].as_array().expect("a batch").iter();
                    let ops: Vec<String> = ops.map(|op| op["put"].to_string()).collect();
                    let count = ops.len();
                    let _ = seen.send(ops);
                    reply(count)
                } else {
                    (200, "{}".to_owned())
                };
                let head = format!(
                    "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    answer.len()
                );
                if stream.write_all((head + &answer).as_bytes()).is_err() {
                    break;
                }
                if line.starts_with("GET ") {
                    break;
                }
            }
        }
    });
    Script { address, asked }
}

/// The request line and the body of the next request; `None` at the end of the connection.
fn next_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("ASCII").to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let line = head.lines().next().expect("a request line");
    Some((line.to_uppercase().replace("/BATCH", "/batch"), body))
}

fn results(statuses: impl IntoIterator<Item = u16>) -> (u16, String) {
    let results: Vec<_> = statuses
        .into_iter()
        .map(|status| match status {
            200..=299 => format!("{{\"status\":{status},\"id\":1,\"etag\":\"\\\"1\\\"\"}}"),
            _ => format!("{{\"status\":{status},\"error\":\"e{status}\",\"message\":\"m\"}}"),
        })
        .collect();
    (200, format!("{{\"results\":[{}]}}", results.join(",")))
}

fn busy() -> (u16, String) {
    let body = "{\"error\":\"overloaded\",\"message\":\"try again later\"}";
    (503, body.to_owned())
}

#[test]
fn what_is_refused_for_now_is_sent_again_from_the_first_such_line_on() {
    let mut answers = vec![
        busy(),
        results([201, 503, 200, 201, 400]),
        results([201, 201]),
    ]
    .into_iter();
    let script = script(Box::new(move |_| answers.next().expect("no further batch")));
    let line = |id: &str, n: u32| format!("{{\"id\":{id},\"data\":{n}}}\n");
    let input = line("1", 1) + &line("2", 2) + &line("1", 3) + &line("null", 4) + &line("5", 5);
    let said = run(script.address, &["-", "--connections", "1"], &input);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stdout.contains("4 documents stored, 1 lines rejected"),
        "{said:?}"
    );
    assert!(said.stderr.contains("line 5: e400: m"), "{said:?}");
    let asked: Vec<Vec<String>> = script.asked.try_iter().collect();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0], asked[1]);
    // The one without an id is stored already; the later line of id 1 stays behind.
    assert_eq!(asked[2], [r#"{"data":2,"id":2}"#, r#"{"data":3,"id":1}"#]);
}

#[test]
fn a_full_disk_ends_it_and_says_how_to_go_on() {
    let script = script(Box::new(|count| {
        results((0..count).map(|n| if n < 2 { 201 } else { 507 }))
    }));
    let input = "{\"id\":1,\"data\":1}\n".repeat(4);
    let said = run(script.address, &["-", "--connections", "1"], &input);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stderr.contains("e507: m; every line up to 0 is done"),
        "{said:?}"
    );
    assert!(said.stderr.contains("--skip 0"), "{said:?}");
}

#[test]
fn an_import_that_was_interrupted_goes_on_where_every_line_before_is_done() {
    let home = TempDir::new();
    let file = home.path().join("lines");
    let rejects = home.path().join("rejects");
    let lines = (1..=7000).map(|n| match n {
        5 | 2500 | 6999 => "wrong\n".to_owned(),
        n => format!("{{\"id\":{n},\"data\":{n}}}\n"),
    });
    fs::write(&file, lines.collect::<String>()).expect("written");
    let arguments = [
        text(&file),
        "--connections",
        "1",
        "--resume",
        "--rejects",
        text(&rejects),
    ];
    let mut batches = 0;
    let script = script(Box::new(move |count| {
        batches += 1;
        match batches {
            1 => results((0..count).map(|_| 201)),
            _ => busy(),
        }
    }));
    let child = import(script.address, &arguments).spawn().expect("starts");
    // The second batch is refused, and again: the first one is done, then.
    for _ in 0..3 {
        script.asked.recv_timeout(PATIENCE).expect("a batch");
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process id"), Signal::INT).expect("it runs");
    let said = ended(child);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("it was interrupted"), "{said:?}");
    assert!(
        said.stderr.contains("every line up to 2001 is done"),
        "{said:?}"
    );
    let state = home.path().join("lines.progress");
    assert!(state.exists());

    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let said = run(server.address, &arguments, "");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stdout
            .contains("4997 documents stored, 3 lines rejected"),
        "{said:?}"
    );
    assert!(!state.exists(), "it is done");
    let mut client = server.connect();
    for (id, status) in [(1, 404), (2001, 404), (2002, 200), (6999, 404), (7000, 200)] {
        assert_eq!(client.get(&format!("/docs/{id}")).status, status, "{id}");
    }
    let listed = fs::read_to_string(&rejects).expect("listed");
    let numbers: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(numbers, ["line 5", "line 2500", "line 6999"]);
    // The same by hand.
    let said = run(server.address, &[text(&file), "--skip", "6999"], "");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("1 documents stored"), "{said:?}");
    server.stop();
}

#[test]
fn an_import_outlives_a_crash_of_the_server() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let address = server.address;
    let mut child = import(address, &["-"]).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let send = |stdin: &mut dyn Write, ids: std::ops::Range<u32>| {
        let lines = ids.map(|n| format!("{{\"id\":{n},\"data\":\"{n}\"}}\n"));
        let sent = stdin.write_all(lines.collect::<String>().as_bytes());
        sent.expect("it reads");
    };
    send(&mut stdin, 0..40_000);
    let deadline = Instant::now() + PATIENCE;
    let mut client = server.connect();
    while client.get("/docs/0").status != 200 {
        assert!(Instant::now() < deadline, "nothing is stored");
    }
    server.kill();
    let again = Launch::bare(&["serve", "--cores", "2", "--listen"])
        .arg(address.to_string())
        .arg("--data-dir")
        .arg(data.path())
        .start();
    send(&mut stdin, 40_000..60_000);
    drop(stdin);
    let said = ended(child);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("60000 documents stored"), "{said:?}");
    let mut client = again.connect();
    let mut after = String::new();
    let mut count = 0;
    loop {
        let page = json(&client.get(&format!("/docs?limit=1000{after}")).body);
        count += page["ids"].as_array().map_or(0, Vec::len);
        match page["after"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => break,
        }
    }
    assert_eq!(count, 60_000);
    again.stop();
}
