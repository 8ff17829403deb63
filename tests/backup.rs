//! `oxdaas backup` and `GET /backup`: a copy of a running server, exactly as of one log
//! position, that is whole or says that it is not.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use support::{
    assert_error, assert_error_naming,
    client::{Client, Response, request},
    json,
    random::Random,
    script::{run, script, succeed, text},
    server::{Exit, Launch, Server, TempDir, snapshot},
};

/// How long something may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

fn backup(address: SocketAddr, new_dir: &Path) -> Exit {
    Launch::bare(&["backup", "--url", &format!("http://{address}")])
        .arg(new_dir)
        .run()
}

fn check(dir: &Path) -> Exit {
    Launch::bare(&["check"]).arg(dir).run()
}

/// Checks that nobody takes the directory for a whole one, and that nothing in it changes.
#[track_caller]
fn assert_refused(dir: &Path) {
    let before = snapshot(dir);
    let checked = check(dir);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stderr.contains("interrupted"), "{checked:?}");
    let served = Launch::serve(dir).run();
    assert_eq!(served.code, Some(1), "{served:?}");
    for words in ["is a backup that was interrupted", "oxdaas backup"] {
        assert!(served.stderr.contains(words), "{served:?}");
    }
    assert_eq!(snapshot(dir), before);
}

/// The position that the command says at its end.
#[track_caller]
fn position_of(exit: &Exit) -> u64 {
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let (_, rest) = exit.stdout.split_once("log position ").expect("a position");
    let digits = rest.split(',').next().unwrap_or_default();
    digits.parse().expect("a number")
}

fn header(response: &Response, name: &str) -> u64 {
    let value = response.header(name);
    let value = value.unwrap_or_else(|| panic!("no {name}: {response:?}"));
    value.trim_matches('"').parse().expect("a number")
}

/// What a write left: the document with its tag, or nothing.
type State = Option<(String, String)>;

/// Every record that was acknowledged: its position, its document, what that was then.
type Journal = BTreeMap<u64, (String, State)>;

/// The documents as of a position.
fn as_of(journal: &Journal, position: u64) -> BTreeMap<String, (String, String)> {
    let mut documents = BTreeMap::new();
    for (id, state) in journal.range(..=position).map(|(_, change)| change) {
        match state {
            Some(state) => documents.insert(id.clone(), state.clone()),
            None => documents.remove(id),
        };
    }
    documents
}

/// Writes until it is told to stop.
fn write_on(
    server: &Server,
    seed: u64,
    stop: &AtomicBool,
    journal: &Mutex<Journal>,
    last: &AtomicU64,
) {
    let mut random = Random::new(seed);
    let mut client = server.connect();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let id = format!("k{}", random.below(40));
        let text = format!("\"{seed}-{count}-{}\"", "x".repeat(random.below(300)));
        let target = format!("/docs/{id}");
        let (id, response, state) = match random.below(10) {
            0 | 1 => (id, client.delete(&target), None),
            2 => {
                let response = client.post("/docs", &text);
                let id = json(&response.body)["id"].to_string();
                let state = Some((text, response.etag()));
                (id, response, state)
            }
            n => {
                let ttl = if n == 3 { "?ttl=10000" } else { "" };
                let response = client.put(&format!("{target}{ttl}"), &text);
                let state = Some((text, response.etag()));
                (id, response, state)
            }
        };
        if response.status == 404 {
            continue;
        }
        assert!((200..300).contains(&response.status), "{response:?}");
        let position = header(&response, "log-position");
        journal
            .lock()
            .expect("nobody panics")
            .insert(position, (id, state));
        last.fetch_max(position, Ordering::SeqCst);
    }
}

/// Every document of a server, with its tag.
fn documents(server: &Server) -> BTreeMap<String, (String, String)> {
    let mut client = server.connect();
    let mut ids: Vec<String> = Vec::new();
    let mut after = String::new();
    loop {
        let page = json(&client.get(&format!("/docs?limit=1000{after}")).body);
        for id in page["ids"].as_array().expect("ids") {
            ids.push(id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        }
        match page["after"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => break,
        }
    }
    let read = |id: String| {
        let response = client.get(&format!("/docs/{id}"));
        assert_eq!(response.status, 200, "{response:?}");
        let state = (response.text().to_owned(), response.etag());
        (id, state)
    };
    ids.into_iter().map(read).collect()
}

fn compactions(server: &Server) -> u64 {
    let stats = json(&server.connect().get("/stats").body);
    let installed = stats["log"]["compaction"]["installed"].as_u64();
    installed.unwrap_or_else(|| panic!("no count of compactions: {stats}"))
}

#[test]
fn a_backup_under_writes_is_the_state_of_its_position_and_goes_on_from_there() {
    let data = TempDir::new();
    let copies = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).small_segments().start();
    let (journal, last) = (Mutex::new(Journal::new()), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let mut taken = Vec::new();
    thread::scope(|scope| {
        let (server, stop, journal, last) = (&server, &stop, &journal, &last);
        for seed in 1..=4 {
            scope.spawn(move || write_on(server, seed, stop, journal, last));
        }
        let deadline = Instant::now() + PATIENCE;
        let wait = |what: &str, is_reached: &dyn Fn() -> bool| {
            while !is_reached() {
                assert!(Instant::now() < deadline, "{what}");
                thread::yield_now();
            }
        };
        for n in 0..4 {
            // Rolls and compactions lie between two of them, and go on while they are taken.
            let before = compactions(server);
            wait("compaction goes on", &|| compactions(server) > before);
            let acknowledged = last.load(Ordering::SeqCst);
            let copy = copies.path().join(n.to_string());
            let position = position_of(&backup(server.address, &copy));
            assert!(position >= acknowledged, "{position} < {acknowledged}");
            taken.push((copy, position));
        }
        stop.store(true, Ordering::Relaxed);
    });
    server.stop();
    let journal = journal.into_inner().expect("nobody panicked");
    for (copy, position) in taken {
        let clean = check(&copy);
        assert_eq!(clean.code, Some(0), "{clean:?}");
        let whole = format!("a whole backup, as of log position {position}");
        assert!(clean.stdout.contains(&whole), "{clean:?}");
        let server = Launch::serve(&copy).cores(2).small_segments().start();
        let expected = as_of(&journal, position);
        assert_eq!(documents(&server), expected, "as of {position}");
        // It goes on behind everything that was handed out by then.
        let before = || journal.range(..=position).map(|(_, change)| change);
        let chosen: BTreeSet<u64> = before().filter_map(|(id, _)| id.parse().ok()).collect();
        let tags = before().filter_map(|(_, state)| state.as_ref());
        let tags = tags.filter_map(|(_, tag)| tag.trim_matches('"').parse::<u64>().ok());
        let mut client = server.connect();
        let created = client.post("/docs", "\"after\"");
        let id = json(&created.body)["id"].as_u64().expect("a number");
        assert!(Some(&id) > chosen.last(), "{id} was handed out before");
        let tag: u64 = created.etag().trim_matches('"').parse().expect("a number");
        assert!(Some(tag) > tags.max(), "version {tag} came back");
        assert!(header(&created, "log-position") > position);
        server.stop();
        // From the first start on it is a data directory like any other.
        assert!(!copy.join("BACKUP").exists());
        assert_eq!(check(&copy).code, Some(0));
        let server = Launch::serve(&copy).cores(1).small_segments().start();
        assert_eq!(
            server.connect().get(&format!("/docs/{id}")).text(),
            "\"after\""
        );
        server.stop();
    }
}

#[test]
fn what_was_acknowledged_before_is_in_it_under_every_policy_and_expiry_is_kept() {
    for fsync in ["always", "everysec", "never"] {
        let (data, copies) = (TempDir::new(), TempDir::new());
        let copy = copies.path().join("new/copy");
        let server = Launch::serve(data.path())
            .cores(2)
            .args(&["--fsync", fsync])
            .start();
        let mut client = server.connect();
        client.put("/docs/a", "1");
        client.put("/docs/b?ttl=5000", "2");
        let put = client.put("/docs/c?ttl=0.05", "3");
        let last = header(&put, "log-position");
        assert!(
            position_of(&backup(server.address, &copy)) >= last,
            "{fsync}"
        );
        server.stop();
        let server = Launch::serve(&copy).cores(2).start();
        let mut client = server.connect();
        assert_eq!(client.get("/docs/a").text(), "1");
        let b = client.get("/docs/b");
        let left: f64 = b
            .header("expires-in")
            .expect("it ends")
            .parse()
            .expect("a number");
        assert!(left > 4000.0 && left < 5000.0, "{left}");
        // Its time has passed by then, on whatever server.
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(client.get("/docs/c").status, 404);
        server.stop();
    }
}

/// A server with documents of 100 KB, more than the sockets between two processes hold.
fn large(data: &Path) -> Server {
    let server = Launch::serve(data)
        .cores(2)
        .args(&["--segment-bytes", "1048576", "--body-bytes-max", "200000"])
        .start();
    let mut client = server.connect();
    for n in 0..LARGE_COUNT {
        assert_eq!(
            client.put(&format!("/docs/{n}"), large_text(n, "a")).status,
            201
        );
    }
    server
}

const LARGE_COUNT: usize = 300;

fn large_text(n: usize, letter: &str) -> String {
    format!("\"{n}{}\"", letter.repeat(100_000))
}

#[test]
fn compaction_takes_nothing_away_from_a_backup_under_way() {
    let (data, copy) = (TempDir::new(), TempDir::new());
    let server = large(data.path());
    let names = |dir: &Path| -> BTreeSet<_> {
        let entries = fs::read_dir(dir).expect("readable");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let is_segment = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".seg");
        names.filter(is_segment).collect()
    };
    let before = names(data.path());
    let mut slow = server.connect();
    slow.send(request("GET", "/backup", &[], b""));
    let head = slow.read_head();
    assert_eq!(head.status, 200, "{head:?}");
    let mut archive = Vec::new();
    let mut read_at = Instant::now();
    // Slow, but not so slow that it is cut off.
    let mut read_a_little = |slow: &mut Client| {
        if read_at.elapsed() > Duration::from_millis(500) {
            read_at = Instant::now();
            archive.extend(chunk(slow).expect("the backup is under way"));
        }
    };
    let mut client = server.connect();
    for n in 0..LARGE_COUNT {
        let text = large_text(n, "b");
        assert_eq!(client.put(&format!("/docs/{n}"), text).status, 200);
        read_a_little(&mut slow);
    }
    let deadline = Instant::now() + PATIENCE;
    while names(data.path()).intersection(&before).count() * 2 > before.len() {
        assert!(Instant::now() < deadline, "compaction removes what is dead");
        read_a_little(&mut slow);
    }
    while let Some(chunk) = chunk(&mut slow) {
        archive.extend(chunk);
    }
    // The connection goes on behind it.
    assert_eq!(slow.get("/docs/1").text(), large_text(1, "b"));
    server.stop();
    unpack(&archive, copy.path());
    let restored = Launch::serve(copy.path()).cores(2).start();
    let mut client = restored.connect();
    for n in 0..LARGE_COUNT {
        assert_eq!(client.get(&format!("/docs/{n}")).text(), large_text(n, "a"));
    }
    restored.stop();
}

/// The next chunk of a body; `None`: that was the end.
#[track_caller]
fn chunk(client: &mut Client) -> Option<Vec<u8>> {
    // The bytes of what was torn are of no use in a message.
    let read = client.try_read_chunk();
    read.unwrap_or_else(|_| panic!("the body is cut off"))
}

fn unpack(archive: &[u8], to: &Path) {
    let mut tar = Command::new("tar")
        .args(["-x", "-C"])
        .arg(to)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("tar is there");
    // A cut archive may be enough for it before it has read all of it.
    let _ = tar.stdin.take().expect("piped").write_all(archive);
    tar.wait().expect("tar ends");
}

#[test]
fn a_consumer_that_does_not_read_is_cut_off_and_costs_little() {
    let (data, copies) = (TempDir::new(), TempDir::new());
    let server = large(data.path());
    let before = resident_kib(&server);
    let mut slow = server.connect();
    slow.send(request("GET", "/backup", &[], b""));
    assert_eq!(slow.read_head().status, 200);
    // One at a time: until the first is gone, others are told to wait.
    let refused = server.connect().get("/backup");
    assert_error_naming(&refused, 503, &["under way"]);
    assert!(refused.header("retry-after").is_some());
    let exit = backup(server.address, &copies.path().join("a"));
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(
        exit.stderr.contains("503") && exit.stderr.contains("under way"),
        "{exit:?}"
    );
    assert!(!copies.path().join("a").exists());
    let mut client = server.connect();
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut most = 0;
    loop {
        most = most.max(resident_kib(&server));
        let head = client.plain("HEAD", "/backup", "");
        if head.status == 200 {
            break;
        }
        assert!(Instant::now() < deadline, "the place stays taken");
    }
    assert!(most < before + 8 * 1024, "{before} KiB, then {most} KiB");
    let end = loop {
        match slow.try_read_chunk() {
            Ok(chunk) => assert!(chunk.is_some(), "it does not end well"),
            Err(error) => break error,
        }
    };
    println!("cut off: {end:?}");
    assert_eq!(
        backup(server.address, &copies.path().join("b")).code,
        Some(0)
    );
    server.stop();
}

/// Memory of the server that is not of files, in KiB.
fn resident_kib(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("the process is there");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let number = number.and_then(|number| number.parse().ok());
    number.expect("a number")
}

#[test]
fn the_endpoint_keeps_to_http() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    let put = client.put("/docs/1", "1");
    let last = header(&put, "log-position");
    let head = client.plain("HEAD", "/backup", "");
    assert_eq!(head.status, 200);
    assert_eq!(header(&head, "log-position"), last);
    let whole = client.get("/backup");
    assert_eq!(whole.header("content-type"), Some("application/x-tar"));
    assert_eq!(whole.header("transfer-encoding"), Some("chunked"));
    assert_eq!(whole.header("cache-control"), Some("no-store"));
    assert_eq!(header(&whole, "log-position"), last);
    assert_eq!(
        client.plain("OPTIONS", "/backup", "").header("allow"),
        Some("GET, HEAD, OPTIONS")
    );
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let response = client.plain(method, "/backup", "");
        assert_error(&response, 405);
        assert_eq!(response.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    // Pipelined: what is behind it waits for it.
    client.send(b"GET /backup HTTP/1.1\r\nHost: x\r\n\r\nGET /docs/1 HTTP/1.1\r\nHost: x\r\n\r\n");
    let read = |client: &mut Client| client.read(support::client::Expected::Body);
    assert_eq!(read(&mut client).body.len(), whole.body.len());
    assert_eq!(read(&mut client).text(), "1");
    let mut old = server.connect();
    old.send(b"GET /backup HTTP/1.0\r\n\r\n");
    assert_eq!(old.read_head().status, 200);
    assert_eq!(old.read_rest().len(), whole.body.len());
    server.stop();
}

#[test]
fn curl_and_tar_make_a_directory_to_start_on() {
    let (data, copy) = (TempDir::new(), TempDir::new());
    let server = Launch::serve(data.path()).cores(2).small_segments().start();
    let mut client = server.connect();
    for n in 0..50 {
        client.put(&format!("/docs/{n}"), format!("\"{n}\""));
    }
    let pipe = "set -o pipefail; curl -sSf \"$1/backup\" | tar -x -C \"$2\"";
    let url = format!("http://{}", server.address);
    let piped = Command::new("bash")
        .args(["-c", pipe, "-", &url])
        .arg(copy.path())
        .output()
        .expect("bash is there");
    assert!(
        piped.status.success() && piped.stderr.is_empty(),
        "{piped:?}"
    );
    server.stop();
    let restored = Launch::serve(copy.path()).cores(2).start();
    assert_eq!(documents(&restored).len(), 50);
    restored.stop();
}

#[test]
fn archive_sh_makes_a_dated_tarball_that_restores() {
    let (data, home) = (TempDir::new(), TempDir::new());
    let server = filled(data.path());
    let url = format!("http://{}", server.address);
    let archive = script("archive.sh");
    let said = succeed(&archive, &[text(home.path()), "--", "--url", &url]);
    server.stop();
    let tarball = Path::new(said.stdout.trim_end());
    let name = tarball.file_name().expect("a name").to_string_lossy();
    let name = name.strip_suffix(".tar.gz").expect("a tarball");
    assert!(
        name.starts_with("oxdaas-20") && name.ends_with('Z'),
        "{said:?}"
    );
    // Nothing else is left there.
    assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 1);
    succeed("tar", &["-xzf", text(tarball), "-C", text(home.path())]);
    let restored = Launch::serve(&home.path().join(name)).cores(2).start();
    assert_eq!(documents(&restored).len(), 30);
    restored.stop();
    let home = TempDir::new();
    let said = run(&archive, &[text(home.path()), "--", "--url", &url]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("no answer from"), "{said:?}");
    assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 0);
    let said = run(&archive, &["/no/such/place"]);
    assert!(said.stderr.contains("is no directory"), "{said:?}");
}

#[test]
fn what_is_wrong_is_said() {
    let (data, copies) = (TempDir::new(), TempDir::new());
    let server = Launch::serve(data.path()).cores(1).start();
    let address = server.address;
    let expect = |dir: &Path, words: &[&str]| {
        let before = snapshot(copies.path());
        let exit = backup(address, dir);
        assert_eq!(exit.code, Some(1), "{exit:?}");
        for word in words {
            assert!(exit.stderr.contains(word), "{word}: {exit:?}");
        }
        assert_eq!(snapshot(copies.path()), before);
    };
    fs::write(copies.path().join("file"), "x").expect("writes");
    expect(copies.path(), &["is not empty"]);
    expect(&copies.path().join("file"), &["file: "]);
    expect(&copies.path().join("file/below"), &["file/below: "]);
    server.stop();
    let tokens = copies.path().join("tokens");
    fs::write(&tokens, "writes rw\nreads ro\n").expect("writes");
    let server = Launch::serve(data.path())
        .args(&["--cores", "1", "--token-file", text(&tokens)])
        .start();
    let ask = |token: &str, dir: &str| {
        Launch::bare(&["backup", "--url", &format!("http://{}", server.address)])
            .arg(copies.path().join(dir))
            .env("OXDAAS_TOKEN", token)
            .run()
    };
    let refused = ask("other", "refused");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("answered 401"), "{refused:?}");
    assert!(!copies.path().join("refused").exists());
    // Whoever may read everything may have a copy of it.
    position_of(&ask("reads", "copy"));
    server.stop();
    expect(
        &copies.path().join("new"),
        &["no answer from", "is the server running"],
    );
}

/// The whole response of `GET /backup`, as bytes of the connection.
fn response_of(server: &Server) -> Vec<u8> {
    let mut client = server.connect();
    client.send(b"GET /backup HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.read_rest()
}

/// Answers one request with these bytes, and then does what `end` says.
fn answer_once(bytes: &[u8], end: impl FnOnce(TcpStream) + Send, client: impl FnOnce(SocketAddr)) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("bound");
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut socket, _) = listener.accept().expect("a connection");
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).expect("a request");
                seen.extend(byte);
            }
            // The client may have seen enough.
            let _ = socket.write_all(bytes);
            end(socket);
        });
        client(address);
    });
}

fn filled(data: &Path) -> Server {
    let server = Launch::serve(data).cores(2).small_segments().start();
    let mut client = server.connect();
    for n in 0..30 {
        client.put(
            &format!("/docs/{n}"),
            format!("\"{n} {}\"", "y".repeat(400)),
        );
    }
    server
}

#[test]
fn a_stream_that_ends_early_is_noticed_and_what_came_of_it_is_refused() {
    let (data, copies) = (TempDir::new(), TempDir::new());
    let server = filled(data.path());
    let whole = response_of(&server);
    server.stop();
    let head = whole
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head")
        + 4;
    let body = unchunked(&whole[head..]);
    let mut cuts: Vec<(Vec<u8>, bool)> = Vec::new();
    let last_chunk = b"0\r\n\r\n".len();
    for cut in (1..12).map(|n| head + (whole.len() - head) * n / 12) {
        cuts.push((whole[..cut].to_vec(), false));
    }
    // Everything is there but what says that it is.
    cuts.push((whole[..whole.len() - last_chunk].to_vec(), true));
    cuts.push((whole[..head].to_vec(), false));
    // Well framed, and too short all the same: at the ends of files, and elsewhere.
    for cut in [
        0,
        512,
        1024,
        1024 + 512 + 4096,
        body.len() - 1024 - 512,
        3000,
        9000,
    ] {
        let mut response = whole[..head].to_vec();
        response.extend(format!("{cut:x}\r\n").bytes());
        response.extend(&body[..cut]);
        response.extend(if cut == 0 {
            b"\r\n".as_slice()
        } else {
            b"\r\n0\r\n\r\n"
        });
        cuts.push((response, false));
    }
    for (n, (response, has_all_files)) in cuts.iter().enumerate() {
        let copy = copies.path().join(n.to_string());
        answer_once(response, drop, |address| {
            let exit = backup(address, &copy);
            assert_eq!(exit.code, Some(1), "cut {n}: {exit:?}");
            assert!(exit.stderr.contains("not whole"), "cut {n}: {exit:?}");
        });
        if copy.exists() && !has_all_files {
            assert_refused(&copy);
        }
        // What tar makes of it.
        let copy = copies.path().join(format!("tar-{n}"));
        let body = unchunked(&response[head.min(response.len())..]);
        fs::create_dir(&copy).expect("creates");
        unpack(&body, &copy);
        if copy.join("BACKUP").exists() && !has_all_files {
            assert_refused(&copy);
        }
    }
    let copy = copies.path().join("whole");
    answer_once(&whole, drop, |address| {
        assert_eq!(backup(address, &copy).code, Some(0));
    });
}

/// The bytes of the chunks, as far as there are any.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let length = str::from_utf8(&bytes[..end]).expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length");
        let rest = &bytes[end + 2..];
        body.extend(&rest[..length.min(rest.len())]);
        bytes = rest.get(length + 2..).unwrap_or_default();
    }
    body
}

#[test]
fn a_byte_that_changed_on_the_way_is_noticed() {
    let (data, copies) = (TempDir::new(), TempDir::new());
    let server = filled(data.path());
    let whole = response_of(&server);
    server.stop();
    let places = |text: &str| {
        let text = text.as_bytes();
        let found = whole.windows(text.len()).enumerate();
        let found = found.filter(move |(_, window)| *window == text);
        found.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let documents = places("yyyyyyyyyyyyyyyy\"");
    let headers = places("OxDaaS\r\n");
    assert!(documents.len() == 30 && headers.len() > 2);
    let manifest = places("position ")[0];
    let last = *headers.last().expect("some");
    let mut changed = vec![manifest + 9, documents[0], documents[17], documents[29]];
    // The length in a header, its checksum, the name of a file.
    changed.extend([
        headers[0] + 40,
        headers[1] + 62,
        headers[1] - 510,
        last + 16,
    ]);
    for (n, at) in changed.into_iter().enumerate() {
        let copy = copies.path().join(n.to_string());
        let mut response = whole.clone();
        response[at] ^= 1;
        answer_once(&response, drop, |address| {
            let exit = backup(address, &copy);
            assert_eq!(exit.code, Some(1), "byte {at}: {exit:?}");
            assert!(exit.stderr.contains("not whole"), "byte {at}: {exit:?}");
        });
        if copy.exists() {
            assert_eq!(check(&copy).code, Some(1), "byte {at}");
            assert_eq!(Launch::serve(&copy).run().code, Some(1), "byte {at}");
        }
    }
}

#[test]
fn a_backup_whose_client_is_killed_is_refused() {
    let (data, copies) = (TempDir::new(), TempDir::new());
    let server = filled(data.path());
    let whole = response_of(&server);
    server.stop();
    let copy = copies.path().join("copy");
    // Held back: the end. So the client waits for more in the middle of a file.
    let (sent, held) = whole.split_at(whole.len() - 3000);
    assert!(!held.is_empty());
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let hold = move |socket: TcpStream| {
        let _ = is_done.recv();
        drop(socket);
    };
    answer_once(sent, hold, |address| {
        let mut client = Command::new(env!("CARGO_BIN_EXE_oxdaas"))
            .args(["backup", "--url", &format!("http://{address}")])
            .arg(&copy)
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let deadline = Instant::now() + PATIENCE;
        let last = || fs::read_dir(&copy).map_or(0, Iterator::count);
        while last() < 5 {
            assert!(Instant::now() < deadline, "files arrive");
            thread::yield_now();
        }
        client.kill().expect("it runs");
        client.wait().expect("it is a child");
        drop(done);
    });
    assert_refused(&copy);
    // What is there can be salvaged.
    let salvaged = copies.path().join("salvaged");
    let exit = Launch::bare(&["repair"]).arg(&copy).arg(&salvaged).run();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(check(&salvaged).code, Some(0));
}

#[test]
fn a_backup_whose_server_is_killed_is_noticed() {
    let (data, copies) = (TempDir::new(), TempDir::new());
    let server = large(data.path());
    let copy = copies.path().join("copy");
    let mut upstream = TcpStream::connect(server.address).expect("connects");
    upstream
        .write_all(b"GET /backup HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sends");
    let mut sent = vec![0; 5 << 20];
    upstream.read_exact(&mut sent).expect("a part of it");
    let rest = move |mut socket: TcpStream| {
        server.kill();
        // What the kernel still has, and then the end, whatever it looks like.
        let _ = std::io::copy(&mut upstream, &mut socket);
    };
    answer_once(&sent, rest, |address| {
        let exit = backup(address, &copy);
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains("not whole"), "{exit:?}");
    });
    assert_refused(&copy);
}

#[test]
fn a_backup_of_a_server_that_is_told_to_end_is_whole_or_cut_off() {
    let (data, copies) = (TempDir::new(), TempDir::new());
    let server = large(data.path());
    let mut slow = server.connect();
    slow.send(request("GET", "/backup", &[], b""));
    assert_eq!(slow.read_head().status, 200);
    server.signal(support::server::Signal::TERM);
    let mut archive = Vec::new();
    // There is a bound on the time that draining takes.
    let is_whole = loop {
        match slow.try_read_chunk() {
            Ok(Some(chunk)) => archive.extend(chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert_eq!(server.await_end().code, Some(0));
    let copy = copies.path().join("copy");
    fs::create_dir(&copy).expect("creates");
    unpack(&archive, &copy);
    if !is_whole {
        return assert_refused(&copy);
    }
    let restored = Launch::serve(&copy).cores(2).start();
    let last = restored.connect().get("/docs/299");
    assert_eq!(last.text(), large_text(299, "a"));
    restored.stop();
}
