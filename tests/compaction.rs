//! Space comes back while the server runs: the files of the log stay under twice
//! the live bytes plus four segments, and nothing is lost on the way.

mod support;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use support::{
    client::{Client, Expected, request},
    random::{Random, seed},
    server::{Launch, PATIENCE, Server, Signal, TempDir},
};

const SEGMENT_BYTES: u64 = 16 * 1024;
const WRITERS: usize = 4;
/// Bytes that a record has beside its document: its header, its id, its padding.
const RECORD_OVERHEAD_BYTES: u64 = 64;

fn start(data: &Path, fsync: &str) -> Server {
    Launch::serve(data)
        .args(&["--segment-bytes", &SEGMENT_BYTES.to_string()])
        .args(&["--body-bytes-max", "4096", "--fsync", fsync])
        .cores(2)
        .start()
}

/// What the files of the log hold.
fn disk_bytes(data: &Path) -> u64 {
    let entries = std::fs::read_dir(data).expect("the directory can be read");
    entries
        // A file may be renamed or removed while the directory is read.
        .filter_map(|entry| entry.expect("an entry").metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// One writer's ids and their documents.
struct Writer {
    number: usize,
    random: Random,
    documents: BTreeMap<usize, String>,
    made: usize,
}

impl Writer {
    fn new(number: usize, seed: u64) -> Writer {
        Writer {
            number,
            random: Random::new(seed.wrapping_add(number as u64)),
            documents: BTreeMap::new(),
            made: 0,
        }
    }

    fn target(&self, id: usize) -> String {
        format!("/docs/{}", self.number * 100_000 + id)
    }

    fn put(&mut self, client: &mut Client, id: usize) {
        self.made += 1;
        let filler = "x".repeat(self.random.below(800));
        let document = format!("\"{} {} {filler}\"", self.number, self.made);
        let response = client.put(&self.target(id), &document);
        let expected = if self.documents.contains_key(&id) {
            200
        } else {
            201
        };
        assert_eq!(response.status, expected, "{response:?}");
        self.documents.insert(id, document);
    }

    fn delete(&mut self, client: &mut Client, id: usize) {
        let response = client.delete(&self.target(id));
        let expected = if self.documents.remove(&id).is_some() {
            204
        } else {
            404
        };
        assert_eq!(response.status, expected, "{response:?}");
    }

    fn read(&self, client: &mut Client, id: usize) {
        let response = client.get(&self.target(id));
        match self.documents.get(&id) {
            Some(document) => assert_eq!(response.text(), document),
            None => assert_eq!(response.status, 404, "{response:?}"),
        }
    }

    fn read_all(&self, client: &mut Client, ids: usize) {
        (0..ids).for_each(|id| self.read(client, id));
    }

    fn live_bytes(&self) -> u64 {
        let bytes = |document: &String| document.len() as u64 + RECORD_OVERHEAD_BYTES;
        self.documents.values().map(bytes).sum()
    }
}

/// Runs `step` of each writer on a connection of its own; checks the bound all the while
/// against the most that was ever live.
fn under_the_bound(
    data: &Path,
    server: &Server,
    writers: &mut [Writer],
    step: impl Fn(&mut Writer, &mut Client) + Sync,
) {
    let live: Vec<AtomicU64> = writers
        .iter()
        .map(|w| AtomicU64::new(w.live_bytes()))
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running: Vec<_> = writers
            .iter_mut()
            .zip(&live)
            .map(|(writer, live)| {
                let step = &step;
                scope.spawn(move || {
                    let mut client = server.connect();
                    for _ in 0..250 {
                        step(writer, &mut client);
                        live.fetch_max(writer.live_bytes(), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let live: u64 = live.iter().map(|live| live.load(Ordering::Relaxed)).sum();
                let bytes = disk_bytes(data);
                assert!(
                    bytes <= 2 * live + 4 * SEGMENT_BYTES,
                    "{bytes} bytes of files for {live} live bytes"
                );
                std::thread::yield_now();
            }
        });
        let results: Vec<_> = running.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Relaxed);
        for result in results {
            result.expect("no writer fails");
        }
    });
}

/// Waits until the files hold no more than four segments beside twice the live bytes.
fn await_bound(data: &Path, live_bytes: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let bytes = disk_bytes(data);
        if bytes <= 2 * live_bytes + 4 * SEGMENT_BYTES {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{bytes} bytes of files for {live_bytes} live bytes"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_files_stay_within_their_bound_whatever_is_written() {
    let seed = seed();
    println!("OXDAAS_TEST_SEED={seed}");
    for fsync in ["always", "never"] {
        let data = TempDir::new();
        let server = start(data.path(), fsync);
        let mut writers: Vec<Writer> = (0..WRITERS).map(|n| Writer::new(n, seed)).collect();
        // Few ids, over and over.
        under_the_bound(data.path(), &server, &mut writers, |writer, client| {
            let id = writer.random.below(5);
            writer.put(client, id);
        });
        // A mix that leaves documents of all ages behind.
        under_the_bound(data.path(), &server, &mut writers, |writer, client| {
            let id = writer.random.below(200);
            match writer.random.below(10) {
                0..6 => writer.put(client, id),
                6..8 => writer.delete(client, id),
                _ => writer.read(client, id),
            }
        });
        // Everything goes.
        under_the_bound(data.path(), &server, &mut writers, |writer, client| {
            if let Some(&id) = writer.documents.keys().next() {
                writer.delete(client, id);
            }
        });
        let live = writers.iter().map(Writer::live_bytes).sum();
        await_bound(data.path(), live);
        server.stop();
        let server = start(data.path(), fsync);
        let mut client = server.connect();
        for writer in &writers {
            writer.read_all(&mut client, 200);
        }
        server.stop();
    }
}

#[test]
fn a_kill_in_the_middle_of_it_loses_nothing() {
    let rounds =
        std::env::var("OXDAAS_TEST_ROUNDS").map_or(3, |text| text.parse().expect("a number"));
    let seed = seed();
    println!("OXDAAS_TEST_SEED={seed}");
    let data = TempDir::new();
    let mut writer = Writer::new(0, seed);
    for _ in 0..rounds {
        let server = start(data.path(), "always");
        let mut client = server.connect();
        writer.read_all(&mut client, 40);
        let answers = 200 + writer.random.below(300);
        for _ in 0..answers {
            let id = writer.random.below(40);
            match writer.random.below(4) {
                0 => writer.delete(&mut client, id),
                _ => writer.put(&mut client, id),
            }
        }
        // The last one may take effect or not.
        let id = writer.random.below(40);
        let target = writer.target(id);
        client.send(request("PUT", &target, &[], b"\"last\""));
        server.signal(Signal::KILL);
        let exit = server.await_end();
        assert_eq!(exit.code, None, "{exit:?}");
        let server = start(data.path(), "always");
        let mut client = server.connect();
        client.send(request("GET", &target, &[], b""));
        let response = client.read(Expected::Body);
        if response.status == 200 && response.text() == "\"last\"" {
            writer.documents.insert(id, "\"last\"".to_owned());
        }
        writer.read_all(&mut client, 40);
        server.stop();
    }
}
