//! `GET /changes`: every change that is on disk, once, in the order of the log; to be gone
//! on with after anything.

mod support;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    assert_error, assert_error_naming,
    client::{Client, Expected, Response, request},
    image::{Image, can_mount},
    json,
    server::{Launch, Server, TempDir},
};

/// How long something may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// A live answer of `/changes`, line by line.
struct Feed {
    client: Client,
    received: Vec<u8>,
}

impl Feed {
    #[track_caller]
    fn open(address: SocketAddr, query: &str, fields: &[(&str, &str)]) -> (Feed, Response) {
        let mut client = Client::connect(address);
        client.send(request("GET", &format!("/changes{query}"), fields, b""));
        let head = client.read_head();
        assert_eq!(head.status, 200, "{head:?}");
        let received = Vec::new();
        (Feed { client, received }, head)
    }

    /// The next line, without its end; `None`: the answer is whole.
    #[track_caller]
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(String::from_utf8(line[..end].to_vec()).expect("UTF-8"));
            }
            match self.client.try_read_chunk().expect("the answer goes on") {
                Some(chunk) => self.received.extend_from_slice(&chunk),
                None => return None,
            }
        }
    }

    /// The next change; heartbeats are left out.
    #[track_caller]
    fn change(&mut self) -> Value {
        loop {
            let line = self.line().expect("the answer goes on");
            if !line.is_empty() {
                return json(line.as_bytes());
            }
        }
    }
}

fn position(response: &Response) -> u64 {
    let position = response.header("log-position");
    let position = position.unwrap_or_else(|| panic!("no Log-Position: {response:?}"));
    position.parse().expect("a number")
}

fn lines(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{response:?}");
    let lines = response.text().lines();
    lines.map(|line| json(line.as_bytes())).collect()
}

fn poll(server: &Server, query: &str) -> Response {
    server.connect().get(&format!("/changes?wait=0&{query}"))
}

#[test]
fn changes_are_lines_in_log_order_and_the_connection_goes_on() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    client.put("/docs/1", "{ \"n\": 1.0 }");
    client.put("/docs/user%3A7", "\"a\\n\"");
    client.put("/docs/1", "{\"n\":1.0}");
    client.put("/docs/1", "2");
    let last = position(&client.delete("/docs/1"));
    let response = client.get("/changes?since=0&wait=0");
    assert_eq!(
        response.header("content-type"),
        Some("application/x-ndjson")
    );
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(position(&response), last);
    assert_eq!(
        response.text(),
        "{\"lsn\":1,\"id\":1,\"data\":{\"n\":1.0}}\n\
         {\"lsn\":2,\"id\":\"user:7\",\"data\":\"a\\n\"}\n\
         {\"lsn\":3,\"id\":1,\"data\":2}\n\
         {\"lsn\":4,\"id\":1,\"deleted\":true}\n"
    );
    let response = client.get("/changes?since=2&wait=0");
    assert_eq!(lines(&response).len(), 2);
    let nothing = client.get("/changes?since=4&wait=0");
    assert_eq!((nothing.text(), position(&nothing)), ("", 4));
    // Without since it begins now.
    assert_eq!(client.get("/changes?wait=0").text(), "");
    let head = client.plain("HEAD", "/changes?since=0&wait=0", "");
    assert_eq!(head.status, 200);
    assert_eq!(client.get("/docs/user%3A7").status, 200);
    server.stop();
}

#[test]
fn a_query_that_is_wrong_is_told() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let mut client = server.connect();
    client.put("/docs/1", "1");
    for (query, word) in [
        ("since=x", "since"),
        ("since=-1", "since"),
        ("since=", "since"),
        ("since=18446744073709551616", "since"),
        ("since=18446744073709551615", "beyond"),
        ("since=2", "beyond"),
        ("since=0&since=1", "since"),
        ("wait=1.5", "wait"),
        ("wait=301", "300"),
        ("ids=1,,2", "ids[1]"),
    ] {
        let response = client.get(&format!("/changes?{query}"));
        assert_error_naming(&response, 400, &[word]);
    }
    let fields = [("Last-Event-ID", "a")];
    let response = client.request("GET", "/changes?since=0&wait=0", &fields, "");
    assert_error_naming(&response, 400, &["Last-Event-ID"]);
    assert_error(&client.post("/changes", ""), 405);
    server.stop();
}

#[test]
fn a_live_feed_has_every_acknowledged_write_once_in_log_order() {
    const WRITERS: u64 = 6;
    const WRITES: u64 = 150;
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).small_segments().start();
    let address = server.address;
    let feeds: Vec<_> = (0..3)
        .map(|_| {
            let (mut feed, head) = Feed::open(address, "", &[]);
            assert_eq!(position(&head), 0);
            thread::spawn(move || {
                let changes = (0..WRITERS * WRITES).map(|_| feed.change());
                changes.collect::<Vec<Value>>()
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut written = Vec::new();
                for n in 0..WRITES {
                    let id = writer * 1000 + n;
                    let response = client.put(&format!("/docs/{id}"), format!("{n}"));
                    assert_eq!(response.status, 201, "{response:?}");
                    written.push((position(&response), (id, n)));
                }
                written
            })
        })
        .collect();
    let written: BTreeMap<u64, (u64, u64)> = writers
        .into_iter()
        .flat_map(|writer| writer.join().expect("a writer"))
        .collect();
    let expected: Vec<Value> = written
        .iter()
        .map(|(lsn, (id, n))| serde_json::json!({"lsn": lsn, "id": id, "data": n}))
        .collect();
    for feed in feeds {
        assert_eq!(feed.join().expect("a feed"), expected);
    }
    assert_eq!(lines(&poll(&server, "since=0")), expected);
    // From anywhere in the middle, over several segments.
    for since in [1, 77, 500, 899] {
        let response = poll(&server, &format!("since={since}"));
        assert_eq!(lines(&response), expected[since..]);
    }
    server.stop();
}

#[test]
fn a_feed_goes_on_after_the_server_was_killed() {
    let data = TempDir::new();
    let launch = Launch::serve(data.path()).cores(2).small_segments();
    let mut seen = Vec::new();
    let mut acknowledged = 0;
    for round in 0..3 {
        let server = launch.start();
        let since = seen.last().map_or(0, |change: &Value| {
            change["lsn"].as_u64().expect("a number")
        });
        let (mut feed, _) = Feed::open(server.address, &format!("?since={since}"), &[]);
        let mut client = server.connect();
        for n in 0..40 {
            let response = client.put(&format!("/docs/{}", round * 100 + n), "\"x\"");
            acknowledged = position(&response);
        }
        // The consumer is behind when the server dies.
        seen.extend((0..10).map(|_| feed.change()));
        server.kill();
    }
    let server = launch.start();
    let since = seen.last().expect("some")["lsn"]
        .as_u64()
        .expect("a number");
    seen.extend(lines(&poll(&server, &format!("since={since}"))));
    let numbers: Vec<u64> = seen
        .iter()
        .map(|change| change["lsn"].as_u64().expect("a number"))
        .collect();
    assert_eq!(numbers, (1..=acknowledged).collect::<Vec<_>>());
    server.stop();
}

#[test]
fn events_carry_their_position_and_go_on_from_the_last_one() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    client.put("/docs/1", "1");
    client.put("/docs/2", "2");
    let accept = ("Accept", "text/html, Text/Event-Stream;q=0.9");
    let (mut feed, head) = Feed::open(server.address, "?since=0", &[accept]);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    let expect = |feed: &mut Feed, lines: [&str; 3]| {
        for line in lines {
            assert_eq!(feed.line().as_deref(), Some(line));
        }
    };
    expect(
        &mut feed,
        ["id: 1", "data: {\"lsn\":1,\"id\":1,\"data\":1}", ""],
    );
    expect(
        &mut feed,
        ["id: 2", "data: {\"lsn\":2,\"id\":2,\"data\":2}", ""],
    );
    client.delete("/docs/2");
    expect(
        &mut feed,
        ["id: 3", "data: {\"lsn\":3,\"id\":2,\"deleted\":true}", ""],
    );
    drop(feed);
    // As EventSource connects anew: the same query, and how far it came.
    let fields = [accept, ("Last-Event-ID", "2")];
    let (mut feed, _) = Feed::open(server.address, "?since=0", &fields);
    expect(
        &mut feed,
        ["id: 3", "data: {\"lsn\":3,\"id\":2,\"deleted\":true}", ""],
    );
    drop(feed);
    server.stop();
}

#[test]
fn a_filter_shows_the_documents_that_it_names_alone() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    for id in ["1", "2", "12", "user:7", "user:8", "u"] {
        client.put(&format!("/docs/{id}"), "0");
    }
    client.delete("/docs/u");
    let ids = |query: &str| -> Vec<String> {
        let response = poll(&server, &format!("since=0&{query}"));
        assert_eq!(position(&response), 7, "also behind what it shows");
        let lines = lines(&response).into_iter();
        lines.map(|line| line["id"].to_string()).collect()
    };
    assert_eq!(ids("ids=12,user:8,9"), ["12", "\"user:8\""]);
    assert_eq!(ids("prefix=user:"), ["\"user:7\"", "\"user:8\""]);
    assert_eq!(ids("ids=2&prefix=user%3A8"), ["2", "\"user:8\""]);
    assert_eq!(ids("prefix=none"), [""; 0]);
    // A live one passes over what it does not show.
    let (mut feed, _) = Feed::open(server.address, "?ids=2", &[]);
    client.put("/docs/1", "1");
    client.put("/docs/2", "1");
    assert_eq!(feed.change()["lsn"], 9);
    drop(feed);
    server.stop();
}

#[test]
fn an_orderly_end_of_the_server_is_no_change() {
    let data = TempDir::new();
    for id in 1..=3 {
        let server = Launch::serve(data.path()).cores(2).start();
        server.connect().put(&format!("/docs/{id}"), "0");
        let lines = lines(&poll(&server, "since=0"));
        let ids: Vec<_> = lines.iter().map(|line| line["id"].as_u64()).collect();
        assert_eq!(ids, (1..=id).map(Some).collect::<Vec<_>>(), "{lines:?}");
        server.stop();
    }
}

#[test]
fn a_poll_waits_for_the_first_change_and_no_longer_than_it_says() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let began = Instant::now();
    let nothing = server.connect().get("/changes?since=0&wait=1");
    assert_eq!((nothing.text(), position(&nothing)), ("", 0));
    assert!(began.elapsed() >= Duration::from_secs(1));
    let mut since = 0;
    for filter in ["", "&ids=2"] {
        let target = &format!("/changes?since={since}&wait=60{filter}");
        let mut waiting = server.connect();
        // What is behind it on the connection waits as well.
        waiting.send(request("GET", target, &[], b""));
        waiting.send(request("GET", "/docs/2", &[], b""));
        let mut client = server.connect();
        client.delete("/docs/2");
        if !filter.is_empty() {
            client.put("/docs/3", "3");
        }
        since = position(&client.put("/docs/2", "2"));
        let response = waiting.read(Expected::Body);
        let changes = lines(&response);
        assert!(
            changes.iter().all(|change| change["id"] == 2),
            "{response:?}"
        );
        assert!(!changes.is_empty() && position(&response) <= since);
        let behind = waiting.read(Expected::Body);
        assert!(behind.status == 404 || behind.text() == "2", "{behind:?}");
    }
    server.stop();
}

#[test]
fn a_position_that_compaction_has_passed_is_gone_and_it_is_told_where_to_start() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).small_segments().start();
    let mut client = server.connect();
    client.put("/docs/kept", "\"kept\"");
    let deadline = Instant::now() + PATIENCE;
    let gone = loop {
        for n in 0..100 {
            let text = format!("\"{n} {}\"", "x".repeat(500));
            assert!(client.put("/docs/1", text).status < 300);
        }
        let response = client.get("/changes?since=0&wait=0");
        if response.status != 200 {
            break response;
        }
        assert!(Instant::now() < deadline, "compaction never passes");
    };
    let message = assert_error(&gone, 410);
    assert_eq!(json(&gone.body)["error"], "changes_compacted");
    let (_, rest) = message.split_once("since=").expect("the oldest");
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let oldest: u64 = rest[..digits].parse().expect("a number");
    assert!(oldest > 0 && oldest <= position(&gone), "{message}");
    assert_error(&poll(&server, &format!("since={}", oldest - 1)), 410);
    // It may move on meanwhile, but not beyond what is written.
    let now = position(&gone);
    let rest = lines(&poll(&server, &format!("since={now}")));
    let numbers = rest
        .iter()
        .map(|line| line["lsn"].as_u64().expect("a number"));
    let count = u64::try_from(rest.len()).expect("small");
    assert!(numbers.eq(now + 1..=now + count));
    // So does a live feed that begins there, through whatever compaction does.
    let (mut feed, _) = Feed::open(server.address, &format!("?since={now}"), &[]);
    for n in now + 1..now + 300 {
        let text = format!("\"{n} {}\"", "y".repeat(500));
        assert!(client.put("/docs/1", text).status < 300);
        assert_eq!(feed.change()["lsn"], n);
    }
    drop(feed);
    server.stop();
}

#[test]
fn a_consumer_that_does_not_read_is_disconnected_and_keeps_nobody_waiting() {
    const BYTES: usize = 1 << 20;
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .cores(1)
        .args(&["--write-timeout-ms", "1000"])
        .start();
    let mut client = server.connect();
    for n in 0..64 {
        let text = format!("\"{}\"", "x".repeat(BYTES));
        assert_eq!(client.put(&format!("/docs/{n}"), text).status, 201);
    }
    let before = resident_kib(&server);
    let mut slow: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = server.connect();
            client.send(request("GET", "/changes?since=0", &[], b""));
            client
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(3);
    let mut most = 0;
    while Instant::now() < until {
        let began = Instant::now();
        assert_eq!(client.get("/docs/unknown").status, 404);
        assert!(began.elapsed() < Duration::from_secs(2), "others wait");
        most = most.max(resident_kib(&server));
    }
    // Each holds a few documents at most, of the 64 MiB that are waiting for it.
    assert!(
        most < before + 20 * 8 * 1024,
        "{before} KiB, then {most} KiB"
    );
    for client in &mut slow {
        let mut bytes = 0;
        let _ = client.read_head();
        let end = loop {
            match client.try_read_chunk() {
                Ok(chunk) => bytes += chunk.expect("no end of the body").len(),
                Err(error) => break error,
            }
        };
        assert!(bytes < 60 * BYTES, "cut off: {end:?}");
    }
    server.stop();
}

#[test]
fn readers_of_a_long_feed_take_turns_beside_light_requests() {
    const READERS: usize = 3;
    const DOCUMENTS: usize = 6;
    let data = TempDir::new();
    let launch = Launch::serve(data.path()).cores(1);
    let server = launch.args(&["--fsync", "never"]).start();
    let document = format!("\"{}\"", "0".repeat(1 << 20));
    for id in 0..DOCUMENTS {
        server.connect().put(&format!("/docs/{id}"), &document);
    }
    let enough = AtomicBool::new(false);
    let times: Vec<Vec<Instant>> = thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.connect();
            while !enough.load(Ordering::Relaxed) {
                client.get("/docs/none");
            }
        });
        let read = || {
            let (mut feed, _) = Feed::open(server.address, "?since=0&wait=0", &[]);
            let lines = std::iter::from_fn(|| feed.line().map(|_| Instant::now()));
            lines.collect()
        };
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        let times: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        enough.store(true, Ordering::Relaxed);
        let times = times.into_iter();
        times
            .map(|times| times.expect("it reads to the end"))
            .collect()
    });
    assert!(times.iter().all(|times| times.len() >= DOCUMENTS));
    let first_end = times.iter().filter_map(|times| times.last()).min();
    let begun = times.iter().filter_map(|times| times.get(1)).max();
    assert!(
        begun < first_end,
        "one is at its end before another has begun"
    );
    server.stop();
}

#[test]
fn streams_are_bounded_and_the_place_of_one_that_left_is_free() {
    const STREAMS_MAX: usize = 128;
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let open = || Feed::open(server.address, "", &[]).0;
    let mut feeds: Vec<Feed> = (0..STREAMS_MAX).map(|_| open()).collect();
    let refused = server.connect().get("/changes");
    assert_error_naming(&refused, 503, &["128"]);
    assert!(refused.header("retry-after").is_some());
    feeds.pop();
    let deadline = Instant::now() + PATIENCE;
    while server.connect().get("/changes?wait=0").status != 200 {
        assert!(Instant::now() < deadline, "the place stays taken");
    }
    let mut client = server.connect();
    client.put("/docs/1", "1");
    for feed in &mut feeds {
        assert_eq!(feed.change()["lsn"], 1);
    }
    drop(feeds);
    server.stop();
}

#[test]
fn a_shutdown_ends_live_feeds_and_polls_at_once() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    client.put("/docs/1", "1");
    let mut feeds: Vec<Feed> = (0..4)
        .map(|_| Feed::open(server.address, "?since=0", &[]).0)
        .collect();
    for feed in &mut feeds {
        assert_eq!(feed.change()["lsn"], 1);
    }
    let mut waiting = server.connect();
    waiting.send(request("GET", "/changes?wait=300", &[], b""));
    // So that it has begun.
    waiting.send(request("GET", "/healthz", &[], b""));
    thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    server.stop();
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "cut when time was up"
    );
    for feed in &mut feeds {
        assert_eq!(feed.line(), None, "the body has its end");
    }
    assert_eq!(lines(&waiting.read(Expected::Body)), [Value::Null; 0]);
}

#[test]
fn a_client_of_http_1_0_reads_until_the_connection_ends() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let mut client = server.connect();
    client.put("/docs/1", "1");
    let mut old = server.connect();
    old.send("GET /changes?since=0&wait=0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = old.read_head();
    assert_eq!(head.header("transfer-encoding"), None);
    assert_eq!(head.header("content-length"), None);
    assert!(head.closes(), "{head:?}");
    assert_eq!(old.read_rest(), b"{\"lsn\":1,\"id\":1,\"data\":1}\n");
    server.stop();
}

#[test]
fn no_change_that_was_shown_is_taken_back_by_a_power_cut() {
    if !can_mount() {
        return;
    }
    for policy in ["always", "everysec"] {
        let image = Image::new(&["mkfs.ext4", "-q", "-F"], 128);
        let launch = Launch::serve(&image.data()).cores(2).args(&[
            "--segment-bytes",
            "1048576",
            "--fsync",
            policy,
        ]);
        let server = launch.start();
        let (mut feed, _) = Feed::open(server.address, "?since=0", &[]);
        let consumer = thread::spawn(move || {
            let mut seen = Vec::new();
            while let Ok(Some(chunk)) = feed.client.try_read_chunk() {
                seen.extend_from_slice(&chunk);
            }
            String::from_utf8(seen).expect("UTF-8")
        });
        let mut client = server.connect();
        let until = Instant::now() + Duration::from_millis(2500);
        let mut n = 0;
        while Instant::now() < until {
            // Also what its writer hears of before it is on disk.
            let fields = [("Durability", ["logged", "synced"][usize::from(n % 50 == 0)])];
            let put = client.request("PUT", &format!("/docs/{n}"), &fields, "0");
            assert_eq!(put.status, 201, "{put:?}");
            n += 1;
        }
        image.cut_power();
        // On its way to a disk that is gone.
        client.send(request(
            "PUT",
            "/docs/last",
            &[("Durability", "logged")],
            b"0",
        ));
        thread::sleep(Duration::from_millis(1500));
        server.kill();
        let seen = consumer.join().expect("a consumer");
        image.remount();
        let server = launch.start();
        let survived = poll(&server, "since=0");
        assert!(
            survived.text().starts_with(&seen),
            "{policy}: shown and gone"
        );
        assert!(seen.lines().count() > 50, "{policy}: something was shown");
        server.stop();
    }
}

#[test]
fn a_feed_shows_changes_under_every_policy() {
    for policy in ["always", "everysec", "never"] {
        let data = TempDir::new();
        let launch = Launch::serve(data.path())
            .cores(2)
            .args(&["--fsync", policy]);
        let server = launch.start();
        let (mut feed, _) = Feed::open(server.address, "", &[]);
        let mut client = server.connect();
        for n in 1..=3 {
            let fields = [("Durability", "logged")];
            let response = client.request("PUT", &format!("/docs/{n}"), &fields, "0");
            assert_eq!(position(&response), n);
            // A position that was answered is no mistake, though it may not be on disk.
            let since = server.connect().get(&format!("/changes?since={n}&wait=0"));
            assert_eq!(since.status, 200, "{policy}: {since:?}");
        }
        let seen: Vec<Value> = (1..=3).map(|_| feed.change()["lsn"].clone()).collect();
        assert_eq!(seen, [1, 2, 3], "{policy}");
        drop(feed);
        server.stop();
    }
}

/// Memory of the server, in KiB.
fn resident_kib(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("the process is there");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}
