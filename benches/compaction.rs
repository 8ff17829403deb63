//! Do readers and durable writers notice that the log is compacted?
//!
//! `cargo bench --bench compaction [-- SECONDS]` (60 unless said otherwise)
//!
//! Documents of 1,000 bytes are overwritten and read at a fixed rate, as much as keeps
//! a third of two cores busy, so that the log must be compacted again and again. Each
//! request has its time; its latency counts from then, so that no stall is left out
//! because nobody asked meanwhile. What was due while segments were rewritten is then
//! compared with what was due in the same run while none were.

use std::{
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{
    random::Random,
    server::{Launch, Server, TempDir},
};

const SEGMENT_BYTES: &str = "8388608";
const IDS: usize = 60_000;
const DOCUMENT_BYTES: usize = 1_000;
const READERS: u32 = 6;
const WRITERS: u32 = 8;
/// Requests of one connection each second.
const READS_PER_SECOND: u32 = 250;
const WRITES_PER_SECOND: u32 = 250;
/// How often the data directory is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// For so long a new segment has a second unnamed file beside it, without a compaction.
const ROLL_MAX: Duration = Duration::from_millis(5);

/// When a request was due, since the start, and how long after that it was answered.
type Sample = (Duration, Duration);

fn main() -> ExitCode {
    let seconds = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let length = Duration::from_secs(seconds.unwrap_or(60));
    let data = TempDir::new();
    let server = Launch::serve(data.path())
        .args(&["--segment-bytes", SEGMENT_BYTES, "--fsync", "always"])
        .cores(2)
        .start();
    store_all(&server);
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let (reads, writes, windows) = std::thread::scope(|scope| {
        let windows = scope.spawn(|| windows(data.path(), start, &done));
        let load = |count, rate, write| -> Vec<_> {
            let spawn = |n| {
                let server = &server;
                scope.spawn(move || requests(server, start, length, rate, write, n))
            };
            (0..count).map(spawn).collect()
        };
        let writers = load(WRITERS, WRITES_PER_SECOND, true);
        let readers = load(READERS, READS_PER_SECOND, false);
        let all = |threads: Vec<std::thread::ScopedJoinHandle<'_, Vec<Sample>>>| {
            let samples = threads
                .into_iter()
                .map(|t| t.join().expect("no client fails"));
            samples.flatten().collect::<Vec<Sample>>()
        };
        let (reads, writes) = (all(readers), all(writers));
        done.store(true, Ordering::Relaxed);
        (
            reads,
            writes,
            windows.join().expect("the directory can be read"),
        )
    });
    server.stop();
    let compacted: Duration = windows.iter().map(|(from, to)| *to - *from).sum();
    println!(
        "{} compactions took {:.1} of {} s",
        windows.len(),
        compacted.as_secs_f64(),
        length.as_secs()
    );
    if windows.is_empty() {
        eprintln!("no compaction was seen; run it for longer");
        return ExitCode::FAILURE;
    }
    println!("| | | requests | p50 us | p99 us | p99.9 us |\n|---|---|---|---|---|---|");
    report("GET", &reads, &windows);
    report("PUT, --fsync always", &writes, &windows);
    ExitCode::SUCCESS
}

fn document(random: &mut Random) -> String {
    format!(
        "\"{:0>width$}\"",
        random.below(1 << 30),
        width = DOCUMENT_BYTES - 2
    )
}

fn store_all(server: &Server) {
    let mut client = server.connect();
    let mut random = Random::new(1);
    for first in (0..IDS).step_by(500) {
        let put = |id| {
            format!(
                r#"{{"put":{{"id":{id},"data":{}}}}}"#,
                document(&mut random)
            )
        };
        let ops: Vec<String> = (first..(first + 500).min(IDS)).map(put).collect();
        let body = format!(r#"{{"ops":[{}]}}"#, ops.join(","));
        let response = client.post("/batch", body);
        assert_eq!(response.status, 200, "{response:?}");
    }
}

/// Sends requests on one connection, each when it is due.
fn requests(
    server: &Server,
    start: Instant,
    length: Duration,
    rate: u32,
    write: bool,
    number: u32,
) -> Vec<Sample> {
    let mut random = Random::new(u64::from(number) + 2);
    let mut client = server.connect();
    let interval = Duration::from_secs(1) / rate;
    // Not all at once.
    let mut due = interval * number / WRITERS.max(READERS);
    let mut samples = Vec::new();
    while due < length {
        std::thread::sleep((start + due).saturating_duration_since(Instant::now()));
        let target = format!("/docs/{}", random.below(IDS));
        let response = match write {
            true => client.put(&target, document(&mut random)),
            false => client.get(&target),
        };
        assert_eq!(response.status, 200, "{response:?}");
        samples.push((due, start.elapsed() - due));
        due += interval;
    }
    samples
}

/// When a compaction was at work: what it writes has no name yet, like the spare beside it.
fn windows(data: &Path, start: Instant, done: &AtomicBool) -> Vec<(Duration, Duration)> {
    let mut windows = Vec::new();
    let mut since = None;
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        let entries = std::fs::read_dir(data).expect("the directory can be read");
        let is_unnamed =
            |name: &std::ffi::OsStr| Path::new(name).extension().is_some_and(|e| e == "tmp");
        let unnamed = entries
            .filter(|entry| is_unnamed(&entry.as_ref().expect("an entry").file_name()))
            .count();
        match (unnamed > 1, since) {
            (true, None) => since = Some(start.elapsed()),
            (false, Some(from)) => {
                since = None;
                let to = start.elapsed();
                if to - from > ROLL_MAX {
                    // Until its shards know where the records lie now, as long again at most.
                    windows.push((from, to + (to - from)));
                }
            }
            _ => {}
        }
    }
    windows
}

fn report(name: &str, samples: &[Sample], windows: &[(Duration, Duration)]) {
    let is_within = |due: Duration| windows.iter().any(|&(from, to)| from <= due && due < to);
    let mut parts: [Vec<Duration>; 2] = Default::default();
    for &(due, latency) in samples {
        parts[usize::from(is_within(due))].push(latency);
    }
    for (part, label) in parts.iter_mut().zip(["quiet", "compacting"]) {
        part.sort_unstable();
        println!(
            "| {name} | {label} | {} | {} | {} | {} |",
            part.len(),
            quantile(part, 500),
            quantile(part, 990),
            quantile(part, 999)
        );
    }
    let ratio =
        |per_mille| quantile(&parts[1], per_mille) as f64 / quantile(&parts[0], per_mille) as f64;
    println!(
        "| {name} | ratio | | {:.2} | {:.2} | {:.2} |",
        ratio(500),
        ratio(990),
        ratio(999)
    );
}

/// The latency in microseconds that so many of a thousand do not exceed.
fn quantile(sorted: &[Duration], per_mille: usize) -> u128 {
    let rank = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(rank).map_or(0, Duration::as_micros)
}
