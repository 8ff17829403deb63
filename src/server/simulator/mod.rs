//! A deterministic simulator: the shards, the log task's decisions, the writer
//! and recovery as they ship, over a disk that loses power.
//!
//! A run is a sequence of steps chosen by a seed: a client asks something of a
//! shard or has several shards do things together, a batch or its settlement crosses between cores, the log appends,
//! rolls, begins or ends a sync, a sector reaches the disk early, the disk fills
//! up or fails, the server is killed or loses power at any of these points,
//! recovers (perhaps with another number of cores) and goes on. Time passes, documents
//! expire, and between two lives the clock may be set back. What answers
//! may say, and what a restart must find, is held against [`model`].
//!
//! A failing run prints its seed; `OXDAAS_TEST_SEED` repeats it and
//! `OXDAAS_TEST_ROUNDS` runs as many thousands.

mod atomics;
mod compaction;
mod model;
mod world;

use std::cell::Cell;

use world::World;

use crate::config::Fsync;

/// Steps of one life of the server, at most.
const STEPS: u32 = 120;
/// Lives of one run.
const LIVES: u32 = 3;

fn run(seed: u64) {
    let fsync = match seed % 4 {
        0 => Fsync::Everysec,
        1 => Fsync::Never,
        _ => Fsync::Always,
    };
    let mut world = World::new(seed, fsync);
    // A compaction needs many steps: one run in eight lives long enough for several.
    let steps = match seed / 4 % 8 {
        0 => STEPS * 8,
        _ => STEPS,
    };
    for _ in 0..LIVES {
        world.live(steps);
        world.end_and_recover();
    }
}

thread_local! {
    static UNIX_MS: Cell<u64> = const { Cell::new(0) };
}

/// The clock of the run: its steps move it.
fn unix_ms() -> u64 {
    UNIX_MS.get()
}

fn set_unix_ms(unix_ms: u64) {
    UNIX_MS.set(unix_ms);
}

/// Says which seed failed.
struct Report(u64);

impl Drop for Report {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with OXDAAS_TEST_SEED={}", self.0);
        }
    }
}

#[test]
fn no_run_breaks_a_promise() {
    if let Ok(seed) = std::env::var("OXDAAS_TEST_SEED") {
        let seed = seed.parse().expect("OXDAAS_TEST_SEED is a 64-bit number");
        let _report = Report(seed);
        return run(seed);
    }
    let thousands: u64 =
        std::env::var("OXDAAS_TEST_ROUNDS").map_or(2, |text| text.parse().expect("a number"));
    let began = std::time::Instant::now();
    let first = began_at();
    for seed in first..first + thousands * 1000 {
        let _report = Report(seed);
        run(seed);
    }
    println!("{} runs in {:?}", thousands * 1000, began.elapsed());
}

/// Other seeds in each process, so that all processes together see more.
fn began_at() -> u64 {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970");
    since_epoch.as_secs() << 20
}
