//! Acknowledged is durable, and nothing else is: SIGKILL and SIGTERM under
//! load from many connections, torn tails, other core counts, chosen ids.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use support::{
    client::{Client, Expected, NoResponse, request},
    json,
    random::{Random, seed},
    server::{Launch, PATIENCE, Server, Signal, TempDir, find_bytes},
};

const WRITERS: usize = 6;
const IDS_PER_WRITER: usize = 12;

/// What one writer knows of one of its ids: its document (`None`: absent) and,
/// if a request got no answer, the document that it may have now.
#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: Option<String>,
    unanswered: Option<Option<String>>,
}

/// One writer: its ids and what it knows of them, across crashes.
struct Writer {
    number: usize,
    random: Random,
    written: u64,
    known: BTreeMap<String, Known>,
}

/// How a writer's run ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The server closed or reset the connection between two responses.
    Closed,
    /// The connection ended inside a response.
    Torn,
}

impl Writer {
    fn new(number: usize, seed: u64) -> Writer {
        let ids = (0..IDS_PER_WRITER).map(|n| {
            if n % 2 == 0 {
                (number * 1000 + n).to_string()
            } else {
                format!("writer-{number}-{n}")
            }
        });
        Writer {
            number,
            random: Random::new(seed.wrapping_add(number as u64)),
            written: 0,
            known: ids.map(|id| (id, Known::default())).collect(),
        }
    }

    /// Overwrites and deletes its own ids until the connection ends, and tells
    /// of each acknowledged write.
    fn run(&mut self, mut client: Client, acknowledged: &mpsc::Sender<()>) -> End {
        let ids: Vec<String> = self.known.keys().cloned().collect();
        loop {
            let id = self.random.pick(&ids);
            let target = format!("/docs/{id}");
            let known = self.known.get_mut(id).expect("it is one of the ids");
            assert!(known.unanswered.is_none(), "one request at a time");
            let (bytes, next) = if self.random.chance(25) {
                (request("DELETE", &target, &[], b""), None)
            } else {
                self.written += 1;
                let padding = "x".repeat(self.random.below(200));
                let document = format!(
                    r#"{{"writer":{},"n":{},"padding":"{padding}"}}"#,
                    self.number, self.written
                );
                (
                    request("PUT", &target, &[], document.as_bytes()),
                    Some(document),
                )
            };
            if client.try_send(&bytes).is_err() {
                // Part of it may have arrived; only a whole request takes effect.
                known.unanswered = Some(next);
                return End::Closed;
            }
            match client.try_read(Expected::Body) {
                Ok(response) => {
                    let existed = known.acknowledged.is_some();
                    let expected = match (&next, existed) {
                        (Some(_), false) => 201,
                        (Some(_), true) => 200,
                        (None, true) => 204,
                        (None, false) => 404,
                    };
                    assert_eq!(response.status, expected, "{id}: {response:?}");
                    known.acknowledged = next;
                    let closes = response.closes();
                    // Nobody counts any more once the signal was sent.
                    let _ = acknowledged.send(());
                    if closes {
                        return End::Closed;
                    }
                }
                Err(error) => {
                    known.unanswered = Some(next);
                    return match error {
                        NoResponse::Closed | NoResponse::Reset => End::Closed,
                        NoResponse::Torn(_) => End::Torn,
                    };
                }
            }
        }
    }

    /// Compares the server with what it must hold, and takes over what it decided.
    fn check(&mut self, client: &mut Client, context: &str) {
        for (id, known) in &mut self.known {
            let response = client.get(&format!("/docs/{id}"));
            let found = match response.status {
                200 => Some(response.text().to_owned()),
                404 => None,
                _ => panic!("{context}: {id}: {response:?}"),
            };
            let unanswered = known.unanswered.take();
            assert!(
                found == known.acknowledged || unanswered.as_ref() == Some(&found),
                "{context}: {id} is {found:?}; acknowledged {:?}, unanswered {unanswered:?}",
                known.acknowledged
            );
            known.acknowledged = found;
        }
    }
}

/// Runs all writers, sends `signal` after `writes` acknowledged writes, and waits for all.
fn interrupt(
    server: Server,
    writers: &mut [Writer],
    writes: usize,
    signal: Signal,
) -> (Server, Vec<End>) {
    let (acknowledged, count) = mpsc::channel();
    let ends = std::thread::scope(|scope| {
        let running: Vec<_> = writers
            .iter_mut()
            .map(|writer| {
                let client = server.connect();
                let acknowledged = acknowledged.clone();
                scope.spawn(move || writer.run(client, &acknowledged))
            })
            .collect();
        for _ in 0..writes {
            count
                .recv_timeout(PATIENCE)
                .expect("writes are acknowledged in time");
        }
        server.signal(signal);
        running
            .into_iter()
            .map(|writer| writer.join().expect("the writer did not fail"))
            .collect()
    });
    (server, ends)
}

/// Rounds of every repeated test: a few, or as many as `OXDAAS_TEST_ROUNDS` says.
fn rounds(few: usize) -> usize {
    std::env::var("OXDAAS_TEST_ROUNDS").map_or(few, |text| {
        text.parse().expect("OXDAAS_TEST_ROUNDS is a number")
    })
}

#[test]
fn acknowledged_writes_survive_kill_9_under_load() {
    let seed = seed();
    println!("OXDAAS_TEST_SEED={seed}");
    let data = TempDir::new();
    let mut random = Random::new(seed);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|n| Writer::new(n, seed)).collect();
    let launch = |cores| Launch::serve(data.path()).small_segments().cores(cores);
    let mut server = launch(2).start();
    for round in 0..rounds(8) {
        let writes = 50 + random.below(600);
        let (killed, _) = interrupt(server, &mut writers, writes, Signal::KILL);
        assert_eq!(killed.await_end().code, None);
        let cores = *random.pick(&[1, 2, 2, 4]);
        server = launch(cores).start();
        let mut client = server.connect();
        let context = format!("seed {seed}, round {round}, {cores} cores");
        for writer in &mut writers {
            writer.check(&mut client, &context);
        }
        // What recovery decided stays decided.
        if random.chance(30) {
            server.kill();
            server = launch(2).start();
            let mut client = server.connect();
            for writer in &mut writers {
                writer.check(&mut client, &format!("{context}, opened twice"));
            }
        }
    }
    server.stop();
}

#[test]
fn sigterm_under_load_answers_what_was_sent_and_keeps_it() {
    let seed = seed();
    println!("OXDAAS_TEST_SEED={seed}");
    let data = TempDir::new();
    let mut writers: Vec<Writer> = (0..WRITERS).map(|n| Writer::new(n, seed)).collect();
    for (round, policy) in ["always", "everysec", "never", "always"].iter().enumerate() {
        let launch = Launch::serve(data.path())
            .cores(2)
            .args(&["--fsync", policy]);
        let server = launch.start();
        let (server, ends) = interrupt(server, &mut writers, 300, Signal::TERM);
        let exit = server.await_end();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        assert!(
            ends.iter().all(|end| *end == End::Closed),
            "a response was cut: {ends:?}"
        );
        let server = launch.start();
        let mut client = server.connect();
        for writer in &mut writers {
            writer.check(
                &mut client,
                &format!("seed {seed}, round {round}, {policy}"),
            );
        }
        server.stop();
    }
}

/// Requests that were pipelined before the signal are answered in full, or the
/// connection ends between two responses.
#[test]
fn sigterm_never_cuts_a_pipelined_response() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    let mut bytes = Vec::new();
    for n in 0..100 {
        bytes.extend(request("PUT", &format!("/docs/{n}"), &[], b"1"));
    }
    client.send(&bytes);
    assert_eq!(client.read(Expected::Body).status, 201);
    server.signal(Signal::TERM);
    let mut acknowledged = 1;
    loop {
        match client.try_read(Expected::Body) {
            Ok(response) => {
                assert_eq!(response.status, 201, "{response:?}");
                acknowledged += 1;
            }
            Err(NoResponse::Torn(bytes)) => panic!("a response was cut: {bytes:?}"),
            Err(NoResponse::Closed | NoResponse::Reset) => break,
        }
    }
    assert_eq!(server.await_end().code, Some(0));
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    for n in 0..acknowledged {
        assert_eq!(
            client.get(&format!("/docs/{n}")).text(),
            "1",
            "of {acknowledged}"
        );
    }
}

/// Under load from readers, no answer shows state that the crash takes back.
#[test]
fn what_a_reader_saw_survives_kill_9() {
    const IDS: usize = 8;
    let data = TempDir::new();
    let mut floor = [0_u64; IDS];
    for round in 0..rounds(4) {
        let server = Launch::serve(data.path()).cores(2).start();
        let mut client = server.connect();
        for (id, floor) in floor.iter().enumerate() {
            let response = client.get(&format!("/docs/{id}"));
            let found = if response.status == 404 {
                0
            } else {
                number(response.text())
            };
            assert!(
                found >= *floor,
                "round {round}: {id} went back from {floor} to {found}"
            );
        }
        let start = floor.iter().max().copied().unwrap_or_default() + 1_000_000;
        let next = AtomicU64::new(start);
        let seen: [AtomicU64; IDS] = std::array::from_fn(|_| AtomicU64::new(0));
        let (reads, count) = mpsc::channel();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let mut client = server.connect();
                let next = &next;
                scope.spawn(move || {
                    // Each writer has ids of its own, so that numbers only grow.
                    for turn in 0_usize.. {
                        let id = writer * 2 + turn % 2;
                        let n = next.fetch_add(1, Ordering::Relaxed).to_string();
                        let bytes = request("PUT", &format!("/docs/{id}"), &[], n.as_bytes());
                        if client.try_send(bytes).is_err()
                            || client.try_read(Expected::Body).is_err()
                        {
                            return;
                        }
                    }
                });
            }
            for reader in 0..4_usize {
                let mut client = server.connect();
                let (seen, reads) = (&seen, reads.clone());
                scope.spawn(move || {
                    for turn in reader.. {
                        let id = turn % IDS;
                        let bytes = request("GET", &format!("/docs/{id}"), &[], b"");
                        if client.try_send(bytes).is_err() {
                            return;
                        }
                        let Ok(response) = client.try_read(Expected::Body) else {
                            return;
                        };
                        if response.status == 200 {
                            seen[id].fetch_max(number(response.text()), Ordering::Relaxed);
                        }
                        // Nobody counts any more once the server was killed.
                        let _ = reads.send(());
                    }
                });
            }
            for _ in 0..400 {
                count
                    .recv_timeout(PATIENCE)
                    .expect("reads are answered in time");
            }
            server.signal(Signal::KILL);
        });
        assert_eq!(server.await_end().code, None);
        for (floor, seen) in floor.iter_mut().zip(&seen) {
            *floor = seen.load(Ordering::Relaxed).max(*floor);
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("not a number: {text}"))
}

#[test]
fn a_directory_written_with_some_cores_opens_with_others() {
    let data = TempDir::new();
    let mut tags = BTreeMap::new();
    for (turn, cores) in [2, 1, 4, 2, 3, 1].into_iter().enumerate() {
        let server = Launch::serve(data.path())
            .small_segments()
            .cores(cores)
            .start();
        let mut client = server.connect();
        for (n, tag) in &tags {
            let response = client.get(&format!("/docs/{n}"));
            assert_eq!(response.text(), format!("[{n}]"));
            assert_eq!(&response.etag(), tag, "{n} after turn {turn}");
        }
        for n in turn * 50..turn * 50 + 50 {
            assert_eq!(
                client.put(&format!("/docs/{n}"), format!("[{n}]")).status,
                201
            );
            tags.insert(n, client.get(&format!("/docs/{n}")).etag());
        }
        if turn % 2 == 0 {
            server.stop();
        } else {
            server.kill();
        }
    }
}

/// More cores than CPUs run unpinned; their documents are where they belong.
#[test]
fn many_unpinned_cores_serve_one_store() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(4).start();
    let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for n in 0..200 {
        assert_eq!(
            clients[n % 8]
                .put(&format!("/docs/{n}"), n.to_string())
                .status,
            201
        );
    }
    for n in 0..200 {
        for client in clients.iter_mut().take(2) {
            assert_eq!(client.get(&format!("/docs/{n}")).text(), n.to_string());
        }
    }
    server.stop();
}

/// Stores documents one after the other, kills the server and damages the end
/// of the last record with `damage`, which gets the file and where the text of
/// the last document starts and ends.
fn with_torn_tail(damage: impl Fn(&mut Vec<u8>, usize, usize)) {
    let data = TempDir::new();
    let launch = Launch::serve(data.path()).cores(2).small_segments();
    let server = launch.start();
    let mut client = server.connect();
    let document = |n: usize| format!("\"torn-{n:04}-{}\"", "y".repeat(100));
    for n in 0..30 {
        assert_eq!(client.put(&format!("/docs/{n}"), document(n)).status, 201);
    }
    server.kill();
    let last = document(29);
    let (file, start) = find_bytes(data.path(), last.as_bytes());
    let mut bytes = fs::read(&file).expect("the segment can be read");
    damage(&mut bytes, start, start + last.len());
    fs::write(&file, &bytes).expect("the segment can be written");

    let server = launch.start();
    let mut client = server.connect();
    for n in 0..29 {
        assert_eq!(client.get(&format!("/docs/{n}")).text(), document(n));
    }
    assert_eq!(
        client.get("/docs/29").status,
        404,
        "half a record was taken for whole"
    );
    let said = server.stderr().to_lowercase() + &server.ready_line.to_lowercase();
    assert!(
        said.contains("torn") || said.contains("cut") || said.contains("tail"),
        "not reported: {said}"
    );
    // The log goes on behind the cut, and stays whole.
    assert_eq!(client.put("/docs/29", "\"again\"").status, 201);
    server.kill();
    let server = launch.start();
    let mut client = server.connect();
    assert_eq!(client.get("/docs/28").text(), document(28));
    assert_eq!(client.get("/docs/29").text(), "\"again\"");
}

#[test]
fn a_tail_torn_by_zeros_is_cut_and_reported() {
    with_torn_tail(|bytes, _, end| bytes[end - 10..].fill(0));
    with_torn_tail(|bytes, start, _| bytes[start..].fill(0));
    with_torn_tail(|bytes, start, _| bytes[start + 50..].fill(0));
}

/// A crash cannot shorten a segment, which has its full length before it is used.
#[test]
fn a_segment_that_lost_its_end_is_refused() {
    let data = TempDir::new();
    let launch = Launch::serve(data.path()).cores(2).small_segments();
    let server = launch.start();
    assert_eq!(server.connect().put("/docs/1", "\"findme\"").status, 201);
    server.kill();
    let (file, start) = find_bytes(data.path(), b"findme");
    let mut bytes = fs::read(&file).expect("the segment can be read");
    bytes.truncate(start);
    fs::write(&file, &bytes).expect("the segment can be written");
    let exit = launch.run();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let file = file.to_string_lossy().into_owned();
    assert!(
        exit.stderr.contains(&file) && exit.stderr.contains("4096"),
        "{exit:?}"
    );
}

#[test]
fn a_tail_that_never_reached_the_disk_in_the_middle_is_cut_and_reported() {
    with_torn_tail(|bytes, start, _| bytes[start + 20..start + 60].fill(0));
}

/// Stored or refused, never half: whichever it is holds across a restart.
#[test]
fn a_document_larger_than_a_segment_is_stored_or_refused() {
    let data = TempDir::new();
    let launch = Launch::serve(data.path())
        .cores(2)
        .args(&["--segment-bytes", "4096"]);
    // A server that refuses such a pair of bounds has said so.
    let server = match launch.try_start() {
        Ok(server) => server,
        Err(exit) => {
            assert!(
                exit.code != Some(0) && exit.stderr.contains("segment"),
                "{exit:?}"
            );
            return;
        }
    };
    let mut client = server.connect();
    let large = format!("\"{}\"", "z".repeat(100_000));
    assert_eq!(client.put("/docs/before", "1").status, 201);
    let response = client.put("/docs/large", &large);
    assert!([201, 413].contains(&response.status), "{response:?}");
    assert_eq!(server.connect().put("/docs/after", "2").status, 201);
    server.kill();
    let server = launch.start();
    let mut client = server.connect();
    assert_eq!(client.get("/docs/before").text(), "1");
    assert_eq!(client.get("/docs/after").text(), "2");
    let found = client.get("/docs/large");
    if response.status == 201 {
        assert_eq!(found.text(), large);
    } else {
        assert_eq!(found.status, 404);
    }
}

/// Asks for `count` chosen ids over `connections` connections at once.
fn chosen_ids(server: &Server, connections: usize, count: usize) -> Vec<i64> {
    let ids = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for connection in 0..connections {
            let ids = &ids;
            let mut client = server.connect();
            scope.spawn(move || {
                for n in 0..count / connections {
                    let (target, body, status) = if n % 4 == 3 {
                        ("/docs", format!("[{connection},{n}]"), 201)
                    } else {
                        (
                            "/api",
                            format!(r#"{{"id":null,"data":[{connection},{n}]}}"#),
                            200,
                        )
                    };
                    let response = client.post(target, body);
                    assert_eq!(response.status, status, "{response:?}");
                    let id = json(&response.body)["id"].as_i64().expect("an integer id");
                    let stored = client.get(&format!("/docs/{id}"));
                    assert_eq!(stored.text(), format!("[{connection},{n}]"), "{id}");
                    ids.lock().expect("no writer failed").push(id);
                }
            });
        }
    });
    ids.into_inner().expect("no writer failed")
}

#[test]
fn concurrent_chosen_ids_have_no_gap_and_no_double() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut ids = chosen_ids(&server, 8, 4000);
    ids.sort_unstable();
    let expected: Vec<i64> = (1..=4000).collect();
    assert!(
        ids == expected,
        "{} ids, first {:?}, last {:?}",
        ids.len(),
        ids.first(),
        ids.last()
    );
    server.stop();
}

#[test]
fn a_chosen_id_never_comes_back() {
    let data = TempDir::new();
    let mut handed_out = BTreeSet::new();
    let launch = |cores| Launch::serve(data.path()).small_segments().cores(cores);
    let mut server = launch(2).start();
    for (turn, cores) in [1, 2, 4, 2].into_iter().enumerate() {
        for id in chosen_ids(&server, 4, 80) {
            assert!(handed_out.insert(id), "{id} came back in turn {turn}");
        }
        // The highest go, so that nothing stored tells of them.
        let mut client = server.connect();
        for id in handed_out.iter().rev().take(30) {
            assert!([204, 404].contains(&client.delete(&format!("/docs/{id}")).status));
        }
        if turn % 2 == 0 {
            server.kill();
        } else {
            server.stop();
        }
        server = launch(cores).start();
    }
    for id in chosen_ids(&server, 4, 80) {
        assert!(handed_out.insert(id), "{id} came back at last");
    }
    // Also when everything is gone.
    let mut client = server.connect();
    for id in &handed_out {
        assert!([204, 404].contains(&client.delete(&format!("/docs/{id}")).status));
    }
    server.kill();
    let server = launch(2).start();
    for id in chosen_ids(&server, 1, 4) {
        assert!(handed_out.insert(id), "{id} came back to an empty store");
    }
}

#[test]
fn a_chosen_id_is_never_one_in_use() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let created = Mutex::new(BTreeSet::new());
    let chosen = std::thread::scope(|scope| {
        for writer in 0..4_i64 {
            let (server, created) = (&server, &created);
            scope.spawn(move || {
                let mut client = server.connect();
                for n in (0..200).rev() {
                    let id = n * 4 + writer + 1;
                    let absent = [("If-None-Match", "*")];
                    let response =
                        client.request("PUT", &format!("/docs/{id}"), &absent, "\"explicit\"");
                    match response.status {
                        201 => assert!(created.lock().expect("no writer failed").insert(id)),
                        412 => {}
                        _ => panic!("{id}: {response:?}"),
                    }
                }
            });
        }
        chosen_ids(&server, 4, 400)
    });
    let created = created.into_inner().expect("no writer failed");
    for id in &chosen {
        assert!(
            !created.contains(id),
            "{id} was created explicitly and handed out"
        );
    }
    let mut client = server.connect();
    for id in created {
        assert_eq!(client.get(&format!("/docs/{id}")).text(), "\"explicit\"");
    }
    assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 400);
}

/// ExDaas answered null for existing documents while it was still loading.
#[test]
fn a_server_that_loads_answers_nothing_or_the_truth() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    let document = format!("\"{}\"", "d".repeat(2000));
    let mut bytes = Vec::new();
    for n in 0..2000 {
        bytes.extend(request(
            "PUT",
            &format!("/docs/{n}"),
            &[],
            document.as_bytes(),
        ));
        if n % 50 == 49 {
            client.send(&bytes);
            bytes.clear();
            for _ in 0..50 {
                assert_eq!(client.read(Expected::Body).status, 201);
            }
        }
    }
    let address = server.address;
    server.kill();
    // Asks from before the start until the first answer, on the same port.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut answers = 0;
            while answers < 100 && !stop.load(Ordering::Relaxed) {
                let Ok(mut client) = Client::try_connect(address) else {
                    continue;
                };
                if client
                    .try_send(request("GET", &format!("/docs/{}", answers * 19), &[], b""))
                    .is_err()
                {
                    continue;
                }
                if let Ok(response) = client.try_read(Expected::Body) {
                    if response.status == 503 {
                        continue;
                    }
                    assert_eq!(response.status, 200, "{response:?}");
                    answers += 1;
                }
            }
            answers
        });
        let launch = Launch::bare(&[
            "serve",
            "--cores",
            "2",
            "--listen",
            &address.to_string(),
            "--data-dir",
        ])
        .arg(data.path());
        let server = launch.try_start();
        if server.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        let answers = asking.join().expect("every answer was true");
        server.expect("the port is free again");
        assert_eq!(answers, 100);
    });
}

/// The first second of writes is as durable as any other (ExDaas lost it).
#[test]
fn a_single_first_write_survives_kill_9_at_once() {
    for cores in [1, 2] {
        let data = TempDir::new();
        let server = Launch::serve(data.path()).cores(cores).start();
        let started = Instant::now();
        assert_eq!(server.connect().put("/docs/first", "1").status, 201);
        server.kill();
        assert!(started.elapsed() < Duration::from_secs(10));
        let server = Launch::serve(data.path()).cores(cores).start();
        assert_eq!(server.connect().get("/docs/first").text(), "1");
    }
}
