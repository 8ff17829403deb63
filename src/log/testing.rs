//! The small vocabulary that the tests of the log share.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    codec::{encode, group},
    disk::Disk,
    memory::MemoryDisk,
    position::SegmentNumber,
    record::{Draft, Flags, Kind},
    recovery::{RecoveryError, Verdict, recover},
    roll::Room,
    writer::{AppendError, Writer},
};
use crate::{id::Id, op::Version};

pub(crate) const SEGMENT_BYTES: u64 = 4096;

/// A put of `document` under the integer id `n`, chosen by the server.
pub(crate) fn put(n: u32, document: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let draft = Draft {
        kind: Kind::Put,
        flags: Flags::CHOSEN_BY_SERVER,
        version: Version(n.into()),
        expires_at_ms: 0,
        id: &Id::Integer(n.into()),
        document: document.as_bytes(),
    };
    encode(&mut out, &draft);
    out
}

/// A document of this length that names `n`.
pub(crate) fn document(n: u32, bytes: usize) -> String {
    let digits = n.to_string();
    let filler = bytes.saturating_sub(2 + digits.len());
    format!("\"{}{digits}\"", "0".repeat(filler))
}

/// What a restart finds: the documents in order, marks left out, and the verdict.
pub(crate) fn restart<D: Disk>(disk: &D) -> Result<(Vec<String>, Verdict), RecoveryError> {
    let mut documents = Vec::new();
    let verdict = recover(disk, &mut |record, _| {
        if record.kind != Kind::Mark {
            let text = str::from_utf8(record.document).expect("the test wrote text");
            documents.push(text.to_owned());
        }
    })?;
    Ok((documents, verdict))
}

/// A writer where `disk` ends.
pub(crate) fn open<D: Disk>(disk: &Arc<D>) -> Writer<D> {
    let (_, verdict) = restart(&**disk).expect("recovers");
    Writer::open(Arc::clone(disk), &verdict, SEGMENT_BYTES).expect("opens")
}

/// Appends, rolling when needed.
pub(crate) fn append<D: Disk>(writer: &mut Writer<D>, draft: &[u8]) {
    match writer.append(draft) {
        Err(AppendError::NoRoom) => {
            let bytes = u32::try_from(draft.len()).expect("short");
            let result = writer.begin_roll(bytes, Room::Free).expect("healthy").run();
            writer.finish_roll(result).expect("rolls");
            writer.append(draft).expect("fits the new segment");
        }
        other => drop(other.expect("appends")),
    }
}

/// Appends `drafts` as one group, rolling first when needed.
pub(crate) fn append_group<D: Disk>(writer: &mut Writer<D>, drafts: &[Vec<u8>]) {
    let mut batches = drafts.to_vec();
    group(batches.iter_mut().map(Vec::as_mut_slice));
    let bytes: usize = batches.iter().map(Vec::len).sum();
    let bytes = u32::try_from(bytes).expect("short");
    if writer.needs_roll(bytes) {
        let result = writer.begin_roll(bytes, Room::Free).expect("healthy").run();
        writer.finish_roll(result).expect("rolls");
    }
    for draft in &batches {
        writer.append(draft).expect("fits");
    }
}

pub(crate) fn sync<D: Disk>(disk: &D, writer: &mut Writer<D>) {
    let target = writer.begin_sync().expect("healthy");
    disk.sync(&target.file).expect("syncs");
    assert_eq!(writer.finish_sync(), target.through);
}

pub(crate) fn close<D: Disk>(disk: &D, writer: &mut Writer<D>) {
    sync(disk, writer);
    writer.close().expect("the mark has its room");
    sync(disk, writer);
}

/// A cleanly closed log of three segments and its documents.
pub(crate) fn closed_log() -> (MemoryDisk, Vec<String>) {
    let disk = Arc::new(MemoryDisk::new());
    let mut writer = open(&disk);
    let documents: Vec<String> = (1..=9).map(|n| document(n, 1000)).collect();
    for (n, document) in (1..).zip(&documents) {
        append(&mut writer, &put(n, document));
        sync(&*disk, &mut writer);
    }
    close(&*disk, &mut writer);
    assert_eq!(writer.segments().len(), 3);
    drop(writer);
    (MemoryDisk::with(&disk.files()), documents)
}

/// A writer with `durable` synced records and `under_way` more, of `bytes` each.
pub(crate) fn torn(
    durable: u32,
    under_way: u32,
    bytes: usize,
) -> (Arc<MemoryDisk>, Writer<MemoryDisk>, Vec<String>) {
    let disk = Arc::new(MemoryDisk::new());
    let mut writer = open(&disk);
    let documents: Vec<_> = (1..=durable + under_way)
        .map(|n| document(n, bytes))
        .collect();
    for (n, document) in (1..).zip(&documents) {
        append(&mut writer, &put(n, document));
        if n <= durable {
            sync(&*disk, &mut writer);
        }
    }
    (disk, writer, documents)
}

/// The first segment, where most tests write.
pub(crate) const FIRST: SegmentNumber = SegmentNumber::FIRST;

/// Pseudo-random numbers (xorshift64*); the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        u32::try_from(high).expect("32 bits are left") % bound
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A directory of its own for one test, removed at its end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(test: &str) -> Scratch {
        let name = format!("oxdaas-log-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Scratch(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
