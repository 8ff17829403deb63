//! What does a record cost in the log, and how much of that is the sync that many share?

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use oxdaas::log::{AppendError, Directory, Disk, Room, Writer, recover};

use crate::{log_codec::record, meter::Meter};

const SEGMENT_BYTES: u64 = 64 << 20;

pub fn run(meter: &Meter) {
    append(meter, "log append: 32 bytes, no sync", 4096, Sync::Never);
    append(meter, "log append: 32 bytes, sync of 64", 64, Sync::Always);
    append(meter, "log append: 32 bytes, sync of 1", 1, Sync::Always);
}

enum Sync {
    Always,
    Never,
}

fn append(meter: &Meter, name: &str, count: u32, sync: Sync) {
    if !meter.wants(name) {
        return;
    }
    let directory = Scratch::new();
    let disk = Arc::new(Directory::open(directory.path()).expect("a new directory"));
    let verdict = recover(&*disk, &mut |_, _| {}).expect("an empty log");
    let mut writer =
        Writer::open(Arc::clone(&disk), &verdict, SEGMENT_BYTES).expect("the disk has room");
    let draft = record(&[b'7'; 32]);
    meter.sample(name, count, || {
        let bytes = u32::try_from(draft.len()).expect("short") * count;
        roll_if_full(&mut writer, bytes);
        let began = Instant::now();
        writer.prepare(bytes).expect("a healthy disk");
        for _ in 0..count {
            writer.append(&draft).expect("there is room");
        }
        if let Sync::Always = sync {
            let target = writer.begin_sync().expect("a healthy disk");
            disk.sync(&target.file).expect("a healthy disk");
            writer.finish_sync();
        }
        began.elapsed()
    });
}

fn roll_if_full(writer: &mut Writer<Directory>, bytes: u32) {
    if writer.needs_roll(bytes) {
        let rolled: Result<_, AppendError> = writer.begin_roll(bytes, Room::Free);
        let result = rolled.expect("a healthy disk").run();
        writer.finish_roll(result).expect("the disk has room");
    }
}

/// A directory below the build's own, so on a real disk, removed at the end.
pub struct Scratch(std::path::PathBuf);

impl Scratch {
    /// A new one.
    pub fn new() -> Scratch {
        let nanos = std::time::UNIX_EPOCH
            .elapsed()
            .map_or(Duration::ZERO, |since| since);
        let name = format!("bench-{}-{}", std::process::id(), nanos.as_nanos());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("the build directory is writable");
        Scratch(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
