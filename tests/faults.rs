//! A disk that loses power, is full, or fails: on file systems of our own in
//! loop-mounted images. Root only.

mod support;

use std::{
    collections::BTreeMap,
    io::{Read, Write as _},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use support::{
    assert_error,
    client::{Client, Expected, Response, request},
    image::{Image, can_mount},
    json,
    server::{Exit, Launch, Server, TempDir},
};

const EXT4: &[&str] = &["mkfs.ext4", "-q", "-F"];
const XFS: &[&str] = &["mkfs.xfs", "-q", "-f"];

/// Connections that write at the same time.
const WRITERS: usize = 4;
/// Documents of each writer, overwritten again and again.
const IDS: usize = 40;

/// What one document may be after the fall: at least `known`, at most `tried`.
#[derive(Clone, Copy, Default)]
struct Bounds {
    /// The last value that was acknowledged or read.
    known: u64,
    /// The last value that was sent.
    tried: u64,
}

#[test]
fn what_was_acknowledged_or_read_survives_power_loss() {
    if !can_mount() {
        return;
    }
    for (mkfs, mebibytes) in [(EXT4, 64), (XFS, 320), (EXT4, 64)] {
        let image = Image::new(mkfs, mebibytes);
        let launch = Launch::serve(&image.data())
            .cores(2)
            .args(&["--segment-bytes", "262144"]);
        let mut documents = vec![[Bounds::default(); IDS]; WRITERS];
        for round in 0..2 {
            let server = launch.start();
            check_all(&server, &mut documents, mkfs[0], round);
            overwrite_until_the_power_goes(&server, &image, &mut documents);
            server.kill();
            image.remount();
        }
        let server = launch.start();
        check_all(&server, &mut documents, mkfs[0], 2);
        server.stop();
    }
}

/// Each writer overwrites its documents with growing numbers and reads some back.
///
/// What comes after the cut has begun proves nothing: without power no process would say it, and
/// ext4 calls some syncs done whose journal it aborts at that moment. A loop of 300 cuts over
/// plain `pwrite` and `fdatasync` had 236 syncs succeed after the ioctl was called; 13 of these
/// were not on disk, and none of those before it was missing (Linux 6.18).
fn overwrite_until_the_power_goes(server: &Server, image: &Image, documents: &mut [[Bounds; IDS]]) {
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        for (writer, bounds) in documents.iter_mut().enumerate() {
            let (writing, mut client) = (&writing, server.connect());
            scope.spawn(move || {
                for turn in 0.. {
                    let id = turn * 7 % IDS;
                    let target = format!("/docs/{}", writer * IDS + id);
                    let bounds = &mut bounds[id];
                    bounds.tried += 1;
                    let value = bounds.tried;
                    let put = exchange(&mut client, "PUT", &target, value.to_string().as_bytes());
                    let has_power = || writing.load(Ordering::SeqCst);
                    match put {
                        _ if !has_power() => return,
                        Some((200 | 201, _)) => bounds.known = value,
                        _ => panic!("{target}: {put:?}"),
                    }
                    if turn % 5 == 0
                        && let Some((200, body)) = exchange(&mut client, "GET", &target, b"")
                        && has_power()
                    {
                        bounds.known = body.parse().expect("a number");
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(700));
        writing.store(false, Ordering::SeqCst);
        image.cut_power();
        // The connections end when the caller kills the server, or with an error answer.
        thread::sleep(Duration::from_millis(50));
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(server.pid()).expect("a pid"))
                .expect("a pid"),
            rustix::process::Signal::KILL,
        );
    });
}

fn check_all(server: &Server, documents: &mut [[Bounds; IDS]], mkfs: &str, round: usize) {
    let mut client = server.connect();
    for (writer, bounds) in documents.iter_mut().enumerate() {
        for (id, bounds) in bounds.iter_mut().enumerate() {
            let target = format!("/docs/{}", writer * IDS + id);
            let (status, body) = exchange(&mut client, "GET", &target, b"").expect("it answers");
            let found = if status == 404 {
                0
            } else {
                body.parse().expect("a number")
            };
            assert!(
                (bounds.known..=bounds.tried).contains(&found),
                "{mkfs}, round {round}, {target}: found {found}, known {}, tried {}",
                bounds.known,
                bounds.tried
            );
            *bounds = Bounds {
                known: found,
                tried: found,
            };
        }
    }
}

#[test]
fn a_write_that_asks_to_be_synced_is_on_disk_whatever_the_policy() {
    if !can_mount() {
        return;
    }
    for policy in ["never", "everysec"] {
        let image = Image::new(EXT4, 64);
        let launch = Launch::serve(&image.data())
            .cores(2)
            .args(&["--fsync", policy]);
        let server = launch.start();
        let mut client = server.connect();
        let put = |client: &mut Client, id: u32, durability: &[(&str, &str)]| {
            let path = format!("/docs/{id}");
            let put = client.request("PUT", &path, durability, b"[1]");
            put.header("log-position")
                .expect("a position")
                .parse::<u64>()
                .expect("a number")
        };
        for round in 0..20 {
            put(&mut client, 2 * round, &[]);
            put(&mut client, 2 * round + 1, &[("Durability", "synced")]);
        }
        // Equal to what was stored without a sync.
        put(&mut client, 100, &[]);
        put(&mut client, 100, &[("Durability", "synced")]);
        image.cut_power();
        server.kill();
        image.remount();
        let server = launch.start();
        let mut client = server.connect();
        for id in (0..40).chain([100]) {
            let get = client.get(&format!("/docs/{id}"));
            assert_eq!(get.status, 200, "{policy}: {id} is lost");
        }
        server.stop();
    }
}

/// A write under `everysec`: when it was sent, when it was acknowledged.
struct Write {
    id: u64,
    sent: Instant,
    acknowledged: Instant,
}

#[test]
fn everysec_loses_at_most_the_last_two_seconds_and_leaves_no_hole() {
    if !can_mount() {
        return;
    }
    let image = Image::new(EXT4, 128);
    let launch = Launch::serve(&image.data()).cores(2).args(&[
        "--fsync",
        "everysec",
        "--segment-bytes",
        "1048576",
    ]);
    let server = launch.start();
    let writes = Mutex::new(Vec::new());
    let writing = AtomicBool::new(true);
    let mut cut = Instant::now();
    thread::scope(|scope| {
        for writer in 0..4_u64 {
            let (writes, writing, mut client) = (&writes, &writing, server.connect());
            scope.spawn(move || {
                let mut own = Vec::new();
                for n in 0.. {
                    let (id, sent) = (writer * 1_000_000 + n, Instant::now());
                    let put = exchange(&mut client, "PUT", &format!("/docs/{id}"), b"1");
                    // What is acknowledged after the cut is not counted: the power was off.
                    if !writing.load(Ordering::SeqCst)
                        || put.is_none_or(|(status, _)| status != 201)
                    {
                        break;
                    }
                    own.push(Write {
                        id,
                        sent,
                        acknowledged: Instant::now(),
                    });
                }
                writes.lock().expect("no panic").extend(own);
            });
        }
        thread::sleep(Duration::from_millis(3500));
        writing.store(false, Ordering::SeqCst);
        cut = Instant::now();
        image.cut_power();
    });
    server.kill();
    image.remount();
    let server = launch.start();
    let mut client = server.connect();
    let writes = writes.into_inner().expect("no panic");
    let (mut missing, mut present) = (Vec::new(), Vec::new());
    for write in &writes {
        match exchange(&mut client, "GET", &format!("/docs/{}", write.id), b"") {
            Some((200, _)) => present.push(write),
            Some((404, _)) => missing.push(write),
            other => panic!("{other:?}"),
        }
    }
    println!("{} present, {} missing", present.len(), missing.len());
    assert!(present.len() > 100, "something was written");
    let last_sent = present
        .iter()
        .map(|write| write.sent)
        .max()
        .expect("not empty");
    for write in missing {
        assert!(
            cut - write.acknowledged < Duration::from_secs(2),
            "{} is too old to miss",
            write.id
        );
        assert!(
            write.acknowledged >= last_sent,
            "{} is missing though later writes are there",
            write.id
        );
    }
}

/// The timer that this rests on must not stand still on a core that is never idle.
#[test]
fn everysec_syncs_while_readers_keep_its_core_busy() {
    if !can_mount() {
        return;
    }
    let image = Image::new(EXT4, 64);
    let launch = Launch::serve(&image.data())
        .cores(1)
        .args(&["--fsync", "everysec"]);
    let server = launch.start();
    let mut client = server.connect();
    assert_eq!(client.put("/docs/0", "0").status, 201);
    let reading = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..3 {
            let (reading, reader) = (&reading, server.connect());
            let (mut requests, mut responses) = (reader.sender(), reader.sender());
            scope.spawn(move || {
                let request = request("GET", "/docs/0", &[], b"").repeat(256);
                while reading.load(Ordering::SeqCst) && requests.write_all(&request).is_ok() {}
                reader.finish_sending();
            });
            scope.spawn(move || {
                let mut bytes = vec![0; 64 * 1024];
                while matches!(responses.read(&mut bytes), Ok(1..)) {}
            });
        }
        thread::sleep(Duration::from_millis(500));
        assert_eq!(client.put("/docs/1", "1").status, 201);
        thread::sleep(Duration::from_millis(2500));
        image.cut_power();
        reading.store(false, Ordering::SeqCst);
    });
    server.kill();
    image.remount();
    let server = launch.start();
    assert_eq!(server.connect().get("/docs/1").status, 200);
}

#[test]
fn a_full_disk_refuses_writes_and_takes_them_again_once_there_is_room() {
    if !can_mount() {
        return;
    }
    for segment_bytes in ["67108864", "1048576"] {
        let image = Image::new(EXT4, 32);
        let ballast = image.root().join("ballast");
        std::fs::write(&ballast, vec![1; 8 << 20]).expect("there is room for the ballast");
        let launch = Launch::serve(&image.data())
            .cores(2)
            .args(&["--segment-bytes", segment_bytes]);
        let server = launch.start();
        let mut client = server.connect();
        let document = |n: usize| format!("\"{n}-{}\"", "x".repeat(100_000));
        let stored = fill(&mut client, 0, &document);
        assert!(stored > 20, "only {stored} documents fit");
        // Reads and removals go on, and so do writes that fit.
        assert_eq!(client.get("/docs/0").text(), document(0));
        assert_eq!(client.delete("/docs/1").status, 204);
        assert_eq!(client.get("/docs/1").status, 404);
        assert_eq!(client.put("/docs/small", "1").status, 201);
        // More than what compaction can have given back of the removed one.
        let refused = client.put("/docs/2", format!("\"{}\"", "x".repeat(4_000_000)));
        assert_refused(&refused, 507, "disk_full");
        assert_eq!(
            client.get("/docs/2").text(),
            document(2),
            "a refused write changes nothing"
        );

        std::fs::remove_file(&ballast).expect("the ballast is there");
        rustix::fs::sync();
        let more = fill(&mut client, 10_000, &document);
        assert!(more > 20, "only {more} documents fit after room was made");

        server.stop();
        let server = launch.start();
        let mut client = server.connect();
        for n in (0..stored).filter(|&n| n != 1).chain(10_000..10_000 + more) {
            assert_eq!(client.get(&format!("/docs/{n}")).text(), document(n), "{n}");
        }
        assert_eq!(client.get("/docs/1").status, 404);
    }
}

#[test]
fn an_atomic_batch_that_the_disk_refuses_leaves_nothing_and_reads_go_on() {
    if !can_mount() {
        return;
    }
    let image = Image::new(EXT4, 32);
    let launch = Launch::serve(&image.data())
        .cores(2)
        .args(&["--segment-bytes", "1048576"]);
    let server = launch.start();
    let mut client = server.connect();
    let document = |n: usize| format!("\"{n}-{}\"", "x".repeat(100_000));
    let stored = fill(&mut client, 0, &document);
    let batch = |client: &mut Client, ops: &str| {
        client.post("/batch", format!(r#"{{"atomic":true,"ops":[{ops}]}}"#))
    };
    let reads: Vec<String> = (0..20)
        .map(|n| format!(r#"{{"get":{{"id":{n}}}}}"#))
        .collect();
    let reads = reads.join(",");
    let before = batch(&mut client, &reads);
    assert_eq!(before.status, 200);
    let large = "x".repeat(400_000);
    let writes: Vec<String> = (0..10)
        .map(|n| {
            format!(
                r#"{{"put":{{"id":"new-{n}","data":1}}}},{{"put":{{"id":{n},"data":"{large}"}}}}"#
            )
        })
        .collect();
    let writes = writes.join(",");
    assert_refused(&batch(&mut client, &writes), 507, "disk_full");
    for n in 0..10 {
        assert_eq!(client.get(&format!("/docs/new-{n}")).status, 404);
    }
    assert_eq!(batch(&mut client, &reads).text(), before.text());
    let removals = r#"{"delete":{"id":15}},{"delete":{"id":16}},{"delete":{"id":17}}"#;
    assert_eq!(batch(&mut client, removals).status, 200, "this makes room");
    let last = stored - 1;
    let small = r#"{"put":{"id":"a","data":1}},{"put":{"id":"b","data":1}}"#;
    assert_eq!(batch(&mut client, small).status, 200);
    server.kill();
    let server = launch.start();
    let mut client = server.connect();
    assert_eq!(client.get("/docs/16").status, 404);
    let reads = reads.replace(
        r#"{"get":{"id":15}}"#,
        &format!(r#"{{"get":{{"id":{last}}}}}"#),
    );
    let before = batch(&mut client, &reads);

    image.cut_power();
    for _ in 0..3 {
        assert_refused(
            &batch(&mut client, small.replace('1', "2").as_str()),
            503,
            "log_failed",
        );
        assert_eq!(batch(&mut client, &reads).text(), before.text());
    }
    server.kill();
    image.remount();
    let server = launch.start();
    let mut client = server.connect();
    assert_eq!(batch(&mut client, &reads).text(), before.text());
    let [a, b] = ["a", "b"].map(|id| client.get(&format!("/docs/{id}")).text().to_owned());
    assert_eq!(a, b, "half of a batch");
    server.stop();
}

/// Compaction has room of its own: what is overwritten or removed gives room to what comes.
#[test]
fn a_full_disk_has_room_again_once_its_documents_are_overwritten_or_removed() {
    if !can_mount() {
        return;
    }
    for (segment_bytes, document_bytes) in [("1048576", 100_000), ("8388608", 20_000)] {
        let image = Image::new(EXT4, 32);
        let launch = Launch::serve(&image.data())
            .cores(2)
            .args(&["--segment-bytes", segment_bytes]);
        let server = launch.start();
        let mut client = server.connect();
        let document = |n: usize| format!("\"{n}-{}\"", "x".repeat(document_bytes));
        let stored = fill(&mut client, 0, &document);
        // Small ones in what is left, until a removal has no room but the reserve.
        let tiny = fill(&mut client, 1_000_000, &|n| n.to_string());
        assert!(stored * document_bytes > 10 << 20, "{stored} documents fit");
        let removed = 1 + stored / 3;
        for n in 0..removed {
            let response = client.delete(&format!("/docs/{n}"));
            assert_eq!(response.status, 204, "document {n}: {response:?}");
        }
        // As often as would fill the disk three times.
        let kept = stored - removed;
        for n in 0..3 * stored {
            let id = removed + n % kept;
            let response = client.put(&format!("/docs/{id}"), document(n));
            assert_eq!(response.status, 200, "overwriting {n}: {response:?}");
        }
        let last = |id: usize| (0..3 * stored).rfind(|n| removed + n % kept == id);

        server.kill();
        let server = launch.start();
        let mut client = server.connect();
        for id in 0..removed {
            assert_eq!(client.get(&format!("/docs/{id}")).status, 404, "{id}");
        }
        for id in removed..stored {
            let expected = document(last(id).expect("overwritten"));
            assert_eq!(client.get(&format!("/docs/{id}")).text(), expected, "{id}");
        }
        for id in 1_000_000..1_000_000 + tiny {
            let found = client.get(&format!("/docs/{id}"));
            assert_eq!(found.text(), id.to_string());
        }
    }
}

/// Stores documents from number `from` on until the disk is full; how many fit.
fn fill(client: &mut Client, from: usize, document: &impl Fn(usize) -> String) -> usize {
    for n in from.. {
        let response = client.put(&format!("/docs/{n}"), document(n));
        if response.status != 201 {
            assert_refused(&response, 507, "disk_full");
            return n - from;
        }
        assert!(n - from < 100_000, "a disk of 32 MiB ends some time");
    }
    unreachable!("the loop has no end of its own")
}

#[test]
fn a_failed_sync_is_final_and_reads_go_on() {
    if !can_mount() {
        return;
    }
    for (mkfs, mebibytes) in [(EXT4, 64), (XFS, 320)] {
        fail_a_sync_on(&Image::new(mkfs, mebibytes));
    }
}

fn fail_a_sync_on(image: &Image) {
    let launch = Launch::serve(&image.data()).cores(2);
    let server = launch.start();
    let mut client = server.connect();
    for n in 0..50 {
        assert_eq!(client.put(&format!("/docs/{n}"), n.to_string()).status, 201);
    }
    assert_eq!(client.get("/readyz").status, 200);
    image.cut_power();
    // A document on pages that were never written: touching them would raise SIGBUS.
    let refused = client.put("/docs/large", format!("\"{}\"", "x".repeat(200_000)));
    assert_refused(&refused, 503, "log_failed");
    for n in 0..50 {
        let refused = client.put(&format!("/docs/{n}"), "\"new\"");
        assert_refused(&refused, 503, "log_failed");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        let read = client.get(&format!("/docs/{n}"));
        assert_eq!(
            (read.status, read.text()),
            (200, &*n.to_string()),
            "durable state is shown"
        );
    }
    // A balancer passes the server by; nobody kills it, because it still reads.
    assert_refused(&client.get("/readyz"), 503, "log_failed");
    assert_eq!(client.get("/healthz").status, 200);
    server.signal(support::server::Signal::TERM);
    let exit = server.await_end();
    assert_eq!(
        exit.code,
        Some(1),
        "an end that could not sync is no success: {exit:?}"
    );
    let said = exit.stderr.matches("refused until a restart").count();
    assert_eq!(said, 1, "it is said once: {exit:?}");
    image.remount();
    let server = launch.start();
    let mut client = server.connect();
    for n in 0..50 {
        assert_eq!(client.get(&format!("/docs/{n}")).text(), n.to_string());
    }
    assert_eq!(client.put("/docs/0", "\"new\"").status, 200);
    server.stop();
}

/// Stores these documents and overwrites some; what they are then.
fn some_documents(client: &mut Client) -> BTreeMap<String, String> {
    let mut documents = BTreeMap::new();
    for n in 0..60 {
        let id = (n % 45).to_string();
        let document = format!("\"{n}-{}\"", "x".repeat(3000));
        let put = client.put(&format!("/docs/{id}"), &document);
        assert!(matches!(put.status, 200 | 201), "{put:?}");
        documents.insert(id, document);
    }
    documents
}

fn backup(server: &Server, copy: &Path) -> Exit {
    let url = format!("http://{}", server.address);
    Launch::bare(&["backup", "--url", &url]).arg(copy).run()
}

/// Checks that the copy is whole and has these documents, and is one to start on.
#[track_caller]
fn assert_backup_of(copy: &Path, documents: &BTreeMap<String, String>) {
    let check = Launch::bare(&["check"]).arg(copy).run();
    assert_eq!(check.code, Some(0), "{check:?}");
    let server = Launch::serve(copy).cores(1).start();
    let mut client = server.connect();
    let ids = json(&client.get("/docs?limit=1000").body)["ids"].clone();
    assert_eq!(ids.as_array().map(Vec::len), Some(documents.len()), "{ids}");
    for (id, document) in documents {
        assert_eq!(client.get(&format!("/docs/{id}")).text(), document, "{id}");
    }
    server.stop();
}

#[test]
fn a_backup_while_the_log_takes_no_writes_is_what_is_on_disk_or_says_that_there_is_none() {
    if !can_mount() {
        return;
    }
    let copies = TempDir::new();
    let large = format!("\"{}\"", "z".repeat(200_000));
    let small_segments = ["--segment-bytes", "65536"];

    // No space: the log goes on once there is some, and what it has is backed up until then.
    let image = Image::new(EXT4, 32);
    let server = Launch::serve(&image.data())
        .cores(2)
        .args(&["--segment-bytes", "1048576"])
        .start();
    let mut client = server.connect();
    let mut documents = some_documents(&mut client);
    let document = |n: usize| format!("\"{n}-{}\"", "x".repeat(100_000));
    let stored = fill(&mut client, 1000, &document);
    documents.extend((1000..1000 + stored).map(|n| (n.to_string(), document(n))));
    let copy = copies.path().join("full");
    let exit = backup(&server, &copy);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_backup_of(&copy, &documents);
    server.stop();

    // A failed sync on a disk that is still read: what was on disk before, and none of what
    // was refused.
    for cores in [1, 2] {
        let image = Image::thin(EXT4, 96, 24);
        let server = Launch::serve(&image.data())
            .cores(cores)
            .args(&small_segments)
            .start();
        let mut client = server.connect();
        let documents = some_documents(&mut client);
        image.take_the_room();
        let is_refused = |n| client.put(&format!("/docs/{n}"), &large).status == 503;
        assert!(
            (0..45).any(is_refused),
            "the disk is full and nobody says it"
        );
        assert_refused(&client.put("/docs/0", "\"new\""), 503, "log_failed");
        assert_refused(&client.put("/docs/new", "1"), 503, "log_failed");
        let response = client.get("/backup");
        assert_eq!(
            response.status,
            200,
            "{:?}",
            response.header("log-position")
        );
        let copy = copies.path().join(format!("failed-{cores}"));
        let exit = backup(&server, &copy);
        assert_eq!(exit.code, Some(0), "{exit:?}");
        let position = response.header("log-position").expect("a position");
        let as_of = format!("as of log position {position},");
        assert!(exit.stdout.contains(&as_of), "{exit:?} and not {position}");
        assert_backup_of(&copy, &documents);
        server.kill();
    }

    // A disk that is gone: there is nothing to read.
    for (mkfs, mebibytes) in [(EXT4, 64), (XFS, 320)] {
        let image = Image::new(mkfs, mebibytes);
        let server = Launch::serve(&image.data())
            .cores(2)
            .args(&small_segments)
            .start();
        let mut client = server.connect();
        some_documents(&mut client);
        image.cut_power();
        assert_refused(&client.put("/docs/0", &large), 503, "log_failed");
        let refused = client.get("/backup");
        assert_refused(&refused, 503, "log_unreadable");
        let copy = copies.path().join(mkfs[0]);
        let exit = backup(&server, &copy);
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains("log_unreadable"), "{exit:?}");
        assert!(!copy.exists(), "{exit:?}");
        server.kill();
    }
}

/// Backups follow one another while the disk fails under writers: each has all that was
/// acknowledged before it began, or is known not to be whole.
#[test]
fn a_backup_under_way_when_a_sync_fails_is_whole_or_known_not_to_be() {
    if !can_mount() {
        return;
    }
    let copies = TempDir::new();
    let image = Image::thin(EXT4, 96, 24);
    let server = Launch::serve(&image.data())
        .cores(2)
        .args(&["--segment-bytes", "262144"])
        .start();
    let acknowledged = [const { AtomicU64::new(0) }; WRITERS];
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for (writer, acknowledged) in acknowledged.iter().enumerate() {
            let (mut client, failed) = (server.connect(), &failed);
            scope.spawn(move || {
                for n in 1.. {
                    let document = format!("[{n},\"{}\"]", "x".repeat(500));
                    match client.put(&format!("/docs/{writer}"), document).status {
                        200 | 201 => acknowledged.store(n, Ordering::SeqCst),
                        503 => return failed.store(true, Ordering::SeqCst),
                        status => panic!("{status}"),
                    }
                }
            });
        }
        let mut turn = 0;
        let mut left = 2;
        while left > 0 {
            if turn == 3 {
                image.take_the_room();
            }
            if failed.load(Ordering::SeqCst) {
                left -= 1;
            }
            let before = acknowledged.each_ref().map(|n| n.load(Ordering::SeqCst));
            let copy = copies.path().join(turn.to_string());
            let exit = backup(&server, &copy);
            turn += 1;
            if exit.code == Some(0) {
                let check = Launch::bare(&["check"]).arg(&copy).run();
                assert_eq!(check.code, Some(0), "{check:?}");
                let server = Launch::serve(&copy).cores(1).start();
                for (writer, before) in before.into_iter().enumerate() {
                    let read = server.connect().get(&format!("/docs/{writer}"));
                    let found = json(&read.body)[0].as_u64().unwrap_or(0);
                    assert!(found >= before, "backup {turn} has {found} after {before}");
                }
                server.stop();
            } else {
                assert_eq!(exit.code, Some(1), "{exit:?}");
                if copy.exists() {
                    let check = Launch::bare(&["check"]).arg(&copy).run();
                    assert_eq!(check.code, Some(1), "{check:?}");
                }
            }
        }
    });
    server.kill();
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, code: &str) {
    assert_error(response, status);
    assert_eq!(json(&response.body)["error"], code);
}

/// Status and body; `None` when the connection is gone.
fn exchange(client: &mut Client, method: &str, target: &str, body: &[u8]) -> Option<(u16, String)> {
    client.try_send(request(method, target, &[], body)).ok()?;
    let response = client.try_read(Expected::Body).ok()?;
    Some((response.status, response.text().to_owned()))
}
