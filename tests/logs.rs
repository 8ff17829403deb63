//! What the server says of itself and of its requests: on time, in the form asked for, without
//! secrets, and never so that a client waits for it.

mod support;

use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use support::{
    client::{Client, Expected, request},
    json,
    server::{Launch, PATIENCE, Server, Signal, TempDir},
};

/// Waits until `text` has what is looked for, and returns that.
#[track_caller]
fn await_in<T>(text: impl Fn() -> String, find: impl Fn(&str) -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = text();
        if let Some(found) = find(&text) {
            return found;
        }
        assert!(
            Instant::now() < until,
            "not there after {PATIENCE:?}: {text}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// The lines of the file, once there are `count`.
#[track_caller]
fn await_lines(path: &Path, count: usize) -> Vec<String> {
    let text = || fs::read_to_string(path).unwrap_or_default();
    let lines = await_in(text, |text| {
        let whole = text.ends_with('\n') && text.lines().count() >= count;
        whole.then(|| text.lines().map(str::to_owned).collect::<Vec<_>>())
    });
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn serve(data: &TempDir) -> Launch {
    Launch::serve(&data.path().join("data"))
}

fn noted(data: &TempDir, arguments: &[&str]) -> (Server, std::path::PathBuf) {
    let file = data.path().join("access.log");
    let launch = serve(data).cores(2).args(arguments);
    (launch.arg("--access-log").arg(&file).start(), file)
}

#[test]
fn events_are_lines_of_json_when_asked_for_and_only_from_the_level_on() {
    for (level, expected) in [
        ("info", &["ready", "draining", "stopped"][..]),
        ("warn", &[]),
        ("off", &[]),
    ] {
        let data = TempDir::new();
        let launch = serve(&data).cores(1).args(&["--log-format", "json"]);
        let server = launch.env("OXDAAS_LOG", level).start();
        let address = server.address.to_string();
        // What was said before the ready line is there with it.
        assert_eq!(server.stderr().contains("ready"), level == "info");
        server.signal(Signal::TERM);
        let exit = server.await_end();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        let events: Vec<Value> = exit.stderr.lines().map(|l| json(l.as_bytes())).collect();
        let said = events.iter().map(|event| {
            assert_eq!(event["level"], "INFO");
            let timestamp = event["timestamp"].as_str().expect("a text");
            assert!(timestamp.starts_with("20") && timestamp.ends_with('Z'));
            event["message"].as_str().expect("a text")
        });
        assert_eq!(said.collect::<Vec<_>>(), expected, "{events:?}");
        if let Some(ready) = events.first() {
            assert_eq!(
                (&ready["address"], &ready["cores"]),
                (&address.into(), &1.into())
            );
        }
    }
    let data = TempDir::new();
    for wrong in [["--log-level", "loud"], ["--log-format", "xml"]] {
        let exit = serve(&data).args(&wrong).run();
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.contains("possible values"), "{exit:?}");
    }
}

#[test]
fn every_request_is_noted_once_with_its_answer_and_without_secrets() {
    let data = TempDir::new();
    let (server, file) = noted(&data, &["--log-format", "json"]);
    let mut client = server.connect();
    let secret = [("Authorization", "Bearer s3cret")];
    let long = "x".repeat(255);
    let requests = [
        ("PUT", "/docs/a%22b", "{\"a\": 1}", 201),
        ("GET", "/docs/a%22b?fields=s3cret", "", 200),
        ("HEAD", "/docs/a%22b", "", 200),
        ("GET", "/api?id=12&token=s3cret", "", 200),
        ("GET", "/docs?ids=1,2,3", "", 200),
        ("DELETE", "/docs/a%22b", "", 204),
        ("BREW", "/docs/s", "", 405),
        ("GET", &format!("/docs/{long}"), "", 404),
        ("GET", "http://u:s3cret@h/docs/9?s3cret", "", 400),
    ];
    let mut expected = Vec::new();
    for (method, target, body, status) in requests {
        let response = client.request(method, target, &secret, body);
        assert_eq!(response.status, status, "{method} {target}: {response:?}");
        let path = target.split('?').next().expect("a first part");
        let mut path = path.to_owned();
        if path.len() > 256 {
            path.truncate(256);
            path.push_str("...");
        }
        let method = if method == "BREW" { "other" } else { method };
        expected.push((Some((method, path)), status, response.body.len()));
        if response.closes() {
            // It could not be read, so nothing of it is noted.
            expected.last_mut().expect("pushed").0 = None;
            client = server.connect();
        }
    }
    client.send("s3cret\r\n\r\n");
    let broken = client.read(Expected::Body);
    expected.push((None, 400, broken.body.len()));
    let lines = await_lines(&file, expected.len());
    for line in &lines {
        let noted = json(line.as_bytes());
        let status = noted["status"].as_u64().expect("a status");
        let peer = noted["peer"].as_str().expect("a text");
        assert!(peer.starts_with("127.0.0.1:"), "{line}");
        assert!(noted["us"].as_u64() < Some(60_000_000), "{line}");
        assert!(noted["core"].as_u64() < Some(2), "{line}");
        assert!(
            noted["timestamp"]
                .as_str()
                .is_some_and(|t| t.ends_with('Z'))
        );
        let request = noted["method"].as_str().map(|method| {
            assert_eq!(noted["version"], "HTTP/1.1", "{line}");
            (method, noted["path"].as_str().expect("a path").to_owned())
        });
        let bytes = noted["bytes"].as_u64().expect("a number");
        let is_this = |one: &(Option<(&str, String)>, u16, usize)| {
            let (wanted, code, length) = one;
            (wanted, u64::from(*code), *length as u64) == (&request, status, bytes)
        };
        let found = expected.iter().position(is_this);
        expected.remove(found.unwrap_or_else(|| panic!("{line} is none of {expected:#?}")));
    }
    let said = server.stderr();
    server.stop();
    assert!(expected.is_empty(), "not noted: {expected:#?}");
    for text in [lines.concat(), said] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn pipelined_and_forwarded_requests_are_noted_in_the_common_log_format() {
    let data = TempDir::new();
    let (server, file) = noted(&data, &[]);
    let mut client = server.connect();
    let mut bytes = Vec::new();
    for id in 0..100 {
        bytes.extend(request("GET", &format!("/docs/{id}?x=1"), &[], b""));
    }
    client.send(&bytes);
    let body = client.read(Expected::Body).body.len();
    (1..100).for_each(|_| drop(client.read(Expected::Body)));
    let lines = await_lines(&file, 100);
    for (id, line) in lines.iter().enumerate() {
        let (peer, rest) = line.split_once(" - - [").expect(line);
        assert_eq!(peer, "127.0.0.1");
        let (date, rest) = rest.split_once("] \"").expect(line);
        assert_eq!((date.len(), &date[20..]), (26, " +0000"), "{line}");
        let (asked, rest) = rest.split_once("\" ").expect(line);
        assert_eq!(
            asked,
            format!("GET /docs/{id} HTTP/1.1"),
            "in order: {line}"
        );
        let numbers: Vec<usize> = rest.split(' ').map(|n| n.parse().expect(line)).collect();
        assert_eq!(numbers.len(), 4, "{line}");
        // The message names the id.
        let digits = id.to_string().len();
        assert_eq!(numbers[..2], [404, body - 1 + digits], "{line}");
        assert!(numbers[3] < 2, "{line}");
    }
    server.stop();
}

#[test]
fn after_a_hangup_signal_the_access_log_goes_on_in_a_new_file() {
    let data = TempDir::new();
    let (server, file) = noted(&data, &[]);
    let mut client = server.connect();
    client.get("/docs/1");
    await_lines(&file, 1);
    let renamed = file.with_extension("1");
    fs::rename(&file, &renamed).expect("renamed");
    server.signal(Signal::HUP);
    await_in(
        || file.exists().to_string(),
        |is_there| (is_there == "true").then_some(()),
    );
    client.get("/docs/2");
    assert!(await_lines(&file, 1)[0].contains("/docs/2"));
    assert!(await_lines(&renamed, 1)[0].contains("/docs/1"));
    // The last lines of a server that ends are there as well.
    client.get("/docs/3");
    server.stop();
    let text = fs::read_to_string(&file).expect("readable");
    assert!(
        text.lines().count() == 2 && text.contains("/docs/3"),
        "{text}"
    );
}

#[test]
fn the_access_log_can_be_standard_output_of_a_server_in_the_foreground_alone() {
    let data = TempDir::new();
    let out = data.path().join("stdout");
    let command = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oxdaas"));
        command
            .args([name, "--listen", "127.0.0.1:0", "--cores", "1"])
            .args(["--access-log", "-"])
            .env("OXDAAS_DATA_DIR", data.path().join("data"));
        command
    };
    let said = command("start").output().expect("it starts");
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("name a file"), "{said}");

    let mut server = command("serve")
        .stdout(File::create(&out).expect("created"))
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let text = || fs::read_to_string(&out).unwrap_or_default();
    let address = await_in(text, |text| {
        let (_, rest) = text.split_once("listening on ")?;
        Some(rest.split_once(',')?.0.to_owned())
    });
    Client::connect(address.parse().expect("an address")).get("/docs/1?s3cret");
    await_in(text, |text| {
        text.contains("\"GET /docs/1 HTTP/1.1\" 404").then_some(())
    });
    server.kill().expect("it is ours");
    server.wait().expect("it ends");

    let missing = data.path().join("none/access.log");
    let exit = serve(&data).arg("--access-log").arg(&missing).run();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let path = missing.to_str().expect("UTF-8");
    assert!(
        exit.stderr.contains(path) && exit.stderr.contains("name a file"),
        "{exit:?}"
    );
}

/// The fields of the events "slow request" and how many further ones there were.
fn slow_requests(stderr: &str) -> (Vec<Value>, u64) {
    let events = stderr.lines().map(|line| json(line.as_bytes()));
    let (mut told, mut more) = (Vec::new(), 0);
    for event in events {
        match event["message"].as_str() {
            Some("slow request") => told.push(event),
            Some("further slow requests") => more += event["more"].as_u64().expect("a number"),
            _ => {}
        }
    }
    (told, more)
}

#[test]
fn slow_requests_are_told_with_route_and_time_and_a_flood_of_them_is_counted() {
    let data = TempDir::new();
    let options = ["--log-format", "json", "--slow-ms", "1"];
    let server = serve(&data).cores(1).args(&options).start();
    let mut client = server.connect();
    // A document that takes longer than a millisecond to read, under an id that nobody tells.
    let large = format!("[{}1]", "[],".repeat(1_000_000));
    assert_eq!(client.put("/docs/s3cret-id", &large).status, 201);
    let (told, _) = await_in(
        || server.stderr(),
        |text| Some(slow_requests(text)).filter(|(told, _)| !told.is_empty()),
    );
    let slow = &told[0];
    let facts = ["level", "method", "path", "status", "core"].map(|name| slow[name].clone());
    let expected: [Value; 5] = [
        "WARN".into(),
        "PUT".into(),
        "/docs/{id}".into(),
        201.into(),
        0.into(),
    ];
    assert_eq!(facts, expected, "{slow}");
    assert!(slow["ms"].as_u64() >= Some(1), "{slow}");

    // Many in one turn, each as long as the turn: the value is behind all others.
    let document = format!("{{\"a\":[{}1],\"b\":1}}", "[],".repeat(100_000));
    assert_eq!(client.put("/docs/flood", &document).status, 201);
    let began = Instant::now();
    let flood = 150;
    let burst = request("GET", "/docs/flood?pointer=/b", &[], b"").repeat(flood);
    client.send(burst);
    (0..flood).for_each(|_| assert_eq!(client.read(Expected::Body).status, 200));
    let is_all = |(told, more): &(Vec<Value>, u64)| told.len() as u64 + more >= flood as u64;
    let (told, more) = await_in(
        || server.stderr(),
        |text| Some(slow_requests(text)).filter(is_all),
    );
    let seconds = began.elapsed().as_secs() + 2;
    let told = told.len() as u64;
    assert!(
        told <= 8 * seconds && more > 0,
        "{told} in {seconds} s, {more} more"
    );
    // The two that stored documents were slow, too, unless the machine is quick.
    assert!(told + more <= flood as u64 + 2, "{told} and {more}");
    assert!(!server.stderr().contains("s3cret"));
    server.stop();

    for (name, value) in [("OXDAAS_SLOW_MS", "0"), ("OXDAAS_SLOW_MS", "600000")] {
        let server = serve(&data).cores(1).env(name, value).start();
        assert_eq!(server.connect().get("/docs/flood?pointer=/b").status, 200);
        server.signal(Signal::TERM);
        let said = server.await_end().stderr;
        assert!(!said.contains("slow"), "{said}");
    }
}

#[test]
fn a_log_that_nobody_reads_stops_no_request_and_what_it_loses_is_counted_and_said() {
    let data = TempDir::new();
    let fifo = data.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let mut reader = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("it opens");
    let server = serve(&data).cores(2).arg("--access-log").arg(&fifo).start();
    let mut client = server.connect();
    let stats = |client: &mut Client| json(&client.get("/stats").body);
    let until = Instant::now() + 3 * PATIENCE;
    let target = format!("/{}", "x".repeat(255));
    let burst = request("HEAD", &target, &[], b"").repeat(120);
    let mut noted = 0;
    let lost = loop {
        for _ in 0..20 {
            client.send(&burst);
            (0..120).for_each(|_| assert_eq!(client.read(Expected::NoBody).status, 404));
        }
        noted += 20 * 120 + 1;
        let lost = stats(&mut client)["journals"]["access_lost"].as_u64();
        if lost > Some(0) {
            break lost;
        }
        assert!(
            Instant::now() < until,
            "nothing is lost after {noted} requests"
        );
    };
    assert!(lost < Some(noted), "{lost:?} of {noted}");
    let metrics = client.get("/metrics");
    let line = "oxdaas_journal_lines_lost_total{journal=\"access\"} ";
    let counted = metrics.text().lines().find_map(|l| l.strip_prefix(line));
    assert!(counted.is_some_and(|count| count != "0"), "{counted:?}");
    assert_eq!(stats(&mut client)["journals"]["events_lost"], 0);

    // Once somebody reads, the lines that fitted come, and the log says how many did not.
    let reading = thread::spawn(move || {
        let (mut lines, mut is_last, mut ends) = (0, false, false);
        let mut buffer = [0; 64 * 1024];
        while !(is_last && ends) {
            let count = reader.read(&mut buffer).expect("readable");
            let read = &buffer[..count];
            lines += read.iter().filter(|byte| **byte == b'\n').count();
            is_last |= read.contains(&b'$');
            ends = read.ends_with(b"\n");
        }
        lines as u64
    });
    let said = await_in(
        || server.stderr(),
        |text| {
            let line = text
                .lines()
                .find(|line| line.contains("lines of the access log were lost"))?;
            Some(
                line.split_once("lines=")?
                    .1
                    .trim()
                    .parse::<u64>()
                    .expect("a number"),
            )
        },
    );
    assert!(Some(said) >= lost, "{said} {lost:?}");
    client.get("/docs/$");
    let read: u64 = reading.join().expect("no panic");
    let lost = stats(&mut client)["journals"]["access_lost"]
        .as_u64()
        .expect("a number");
    // The scrapes before the last line, and that line, are noted or lost as well.
    assert_eq!(read + lost, noted + 3);
    server.stop();
}
