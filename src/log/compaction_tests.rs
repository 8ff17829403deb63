//! Compaction over a disk that loses power: whatever happens at whatever step, a restart
//! finds the same documents, and space comes back.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    codec::encode,
    disk::Disk,
    live::LiveBytes,
    memory::MemoryDisk,
    plan::{Need, Output, Run, choose},
    position::{Floors, Location, Lsn, SegmentNumber},
    record::{Draft, Flags, Kind},
    recovery::{RecoveryError, SegmentUse, Verdict, recover},
    rewrite::{InstallFailure, Rewrite, reader_of},
    testing::{FIRST, Random, SEGMENT_BYTES, append, document, sync},
    writer::Writer,
};
use crate::{id::Id, op::Version};

/// Bytes of a slice: a few records.
const SLICE_BYTES: u32 = 4096;

const OUTPUT: Output = Output {
    segment_bytes: 4096,
    bytes_max: 4096,
};

/// What one id holds.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    version: Version,
    document: String,
    at: Location,
    bytes: u32,
}

/// A store of one core: a writer and the documents that were put.
struct Store {
    disk: Arc<MemoryDisk>,
    writer: Writer<MemoryDisk>,
    documents: BTreeMap<u32, Stored>,
    version: u64,
}

impl Store {
    fn open(disk: Arc<MemoryDisk>) -> Store {
        let (documents, verdict) = found(&disk).expect("recovers");
        let version = verdict.floors.version.0;
        let writer = Writer::open(Arc::clone(&disk), &verdict, SEGMENT_BYTES).expect("opens");
        Store {
            disk,
            writer,
            documents,
            version,
        }
    }

    fn new() -> Store {
        Store::open(Arc::new(MemoryDisk::new()))
    }

    fn write(&mut self, id: u32, kind: Kind, document: &str) -> Location {
        self.version += 1;
        let draft = Draft {
            kind,
            flags: Flags::NONE,
            version: Version(self.version),
            expires_at_ms: 0,
            id: &Id::Integer(id.into()),
            document: document.as_bytes(),
        };
        let mut bytes = Vec::new();
        encode(&mut bytes, &draft);
        append(&mut self.writer, &bytes);
        let last = self.writer.segments().last().expect("one is there");
        let at = Location {
            segment: last.number,
            offset: last.used_bytes - u32::try_from(bytes.len()).expect("short"),
        };
        self.documents.remove(&id);
        if kind == Kind::Put {
            let stored = Stored {
                version: Version(self.version),
                document: document.to_owned(),
                at,
                bytes: u32::try_from(bytes.len()).expect("short"),
            };
            self.documents.insert(id, stored);
        }
        at
    }

    fn put(&mut self, id: u32, bytes: usize) {
        let document = document(u32::try_from(self.version).expect("few"), bytes);
        self.write(id, Kind::Put, &document);
    }

    fn delete(&mut self, id: u32) {
        self.write(id, Kind::Delete, "");
    }

    fn sync(&mut self) {
        sync(&*self.disk, &mut self.writer);
    }

    fn live(&self) -> LiveBytes {
        let mut live = LiveBytes::default();
        for stored in self.documents.values() {
            live.add(stored.at.segment, stored.bytes);
        }
        live
    }

    fn current(&self, id: &Id) -> Option<Version> {
        let Id::Integer(id) = *id else {
            panic!("ids of these tests are integers")
        };
        let id = u32::try_from(id).expect("few");
        Some(self.documents.get(&id)?.version)
    }

    fn choose(&self, need: Need) -> Option<Run> {
        let (sealed, next) = self.writer.sealed(self.writer.appended());
        choose(&sealed, next, &self.live(), OUTPUT, need)
    }

    fn all_sealed(&self, hides_nothing_through: Lsn) -> Run {
        Run {
            segments: self.writer.sealed(self.writer.appended()).0,
            kept_bytes_max: 4000,
            hides_nothing_through,
        }
    }

    /// Copies what is needed of `run`, all of it synced before.
    fn rewrite(&mut self, run: Run) -> Rewrite<MemoryDisk> {
        self.sync();
        let settled = self.writer.appended();
        let disk = Arc::clone(&self.disk);
        let mut rewrite = Rewrite::begin(disk, run, settled, None).expect("there is room");
        while let Some(slice) = rewrite.read(SLICE_BYTES).expect("reads") {
            let ids = slice
                .records()
                .iter()
                .map(|record| self.current(&record.id));
            let current: Vec<_> = ids.collect();
            rewrite.keep(&slice, &current).expect("writes");
        }
        rewrite
    }

    /// The whole compaction of `run`.
    fn compact(&mut self, run: Run) -> SegmentUse {
        let compacted = self.rewrite(run).install().expect("installs");
        for job in self.writer.replace_run(compacted) {
            job.run().expect("removes");
        }
        self.relocate(&compacted);
        compacted
    }

    fn relocate(&mut self, compacted: &SegmentUse) {
        let mut reader = reader_of(compacted);
        while let Some(slice) = reader.read(&*self.disk, SLICE_BYTES).expect("reads") {
            for record in slice.records() {
                for stored in self.documents.values_mut() {
                    if stored.version == record.version {
                        stored.at = record.at;
                    }
                }
            }
        }
    }

    /// A restart after a crash finds what is stored, whatever else reached the disk.
    fn check(&self, disk: &MemoryDisk, what: &str) -> Verdict {
        let (documents, verdict) = found(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let plain = |documents: &BTreeMap<u32, Stored>| -> Vec<(u32, Version, String)> {
            let plain = documents.iter();
            plain
                .map(|(id, stored)| (*id, stored.version, stored.document.clone()))
                .collect()
        };
        assert_eq!(plain(&documents), plain(&self.documents), "{what}");
        assert_eq!(verdict.next, self.writer.appended().next(), "{what}");
        assert_eq!(verdict.floors, self.writer.floors(), "{what}");
        verdict
    }

    fn crash(&self) -> Arc<MemoryDisk> {
        Arc::new(self.disk.crash(|_, _| false))
    }
}

/// The documents that a restart finds.
fn found(disk: &MemoryDisk) -> Result<(BTreeMap<u32, Stored>, Verdict), RecoveryError> {
    let mut documents = BTreeMap::new();
    let verdict = recover(disk, &mut |record, at| {
        let Id::Integer(id) = record.id.to_id() else {
            panic!("ids of these tests are integers")
        };
        let id = u32::try_from(id).expect("few");
        match record.kind {
            Kind::Put => {
                let stored = Stored {
                    version: record.version,
                    document: String::from_utf8_lossy(record.document).into_owned(),
                    at,
                    bytes: record.encoded_bytes(),
                };
                documents.insert(id, stored);
            }
            Kind::Delete => drop(documents.remove(&id)),
            Kind::Mark => {}
        }
    })?;
    Ok((documents, verdict))
}

/// Documents 1 to 9 in three segments, of which 2, 5 and 8 are left, 5 replaced.
fn holey() -> Store {
    let mut store = Store::new();
    for id in 1..=9 {
        store.put(id, 1000);
    }
    for id in [1, 3, 4, 6, 7, 9] {
        store.delete(id);
    }
    store.put(5, 900);
    while store.writer.segments().len() < 5 {
        store.put(10, 1000);
    }
    store.sync();
    store
}

#[test]
fn space_comes_back_and_the_documents_stay() {
    let mut store = holey();
    let before = store.documents.clone();
    let run = store.all_sealed(Lsn(u64::MAX));
    let compacted = store.compact(run);
    assert_eq!(compacted.number, FIRST);
    assert_eq!(compacted.through(), SegmentNumber(4));
    let live: u32 = store.documents.values().map(|stored| stored.bytes).sum();
    assert_eq!(u64::from(live), store.live().total());
    // Document 10 is in the current segment.
    assert_eq!(compacted.used_bytes, 64 + live - before[&10].bytes);
    assert_eq!(store.disk.files().len(), 2);
    let verdict = store.check(&store.crash(), "compacted");
    assert_eq!(verdict.segments[0], compacted);
    // The store goes on, and compacted segments are compacted again.
    store.put(2, 10);
    store.delete(8);
    for _ in 0..8 {
        store.put(11, 1000);
    }
    store.sync();
    let run = store.all_sealed(Lsn(u64::MAX));
    assert!(run.segments.len() > 1);
    let again = store.compact(run);
    assert!(again.through() > compacted.through());
    store.check(&store.crash(), "compacted again");
    Store::open(store.crash());
}

/// Each state that a power loss can leave behind on the way.
#[test]
fn a_crash_at_every_step_loses_nothing() {
    for reaches in [false, true] {
        let mut store = holey();
        let run = store.all_sealed(Lsn(u64::MAX));
        let crash = |store: &Store| Arc::new(store.disk.crash(|_, _| reaches));
        let disk = Arc::clone(&store.disk);
        let settled = store.writer.appended();
        let mut rewrite = Rewrite::begin(disk, run, settled, None).expect("there is room");
        store.check(&crash(&store), "begun");
        while let Some(slice) = rewrite.read(SLICE_BYTES).expect("reads") {
            let ids = slice
                .records()
                .iter()
                .map(|record| store.current(&record.id));
            rewrite
                .keep(&slice, &ids.collect::<Vec<_>>())
                .expect("writes");
            store.check(&crash(&store), "copied");
        }
        let compacted = rewrite.install().expect("installs");
        let after = crash(&store);
        let verdict = store.check(&after, "installed");
        assert_eq!(verdict.superseded.len(), 3);
        assert_eq!(after.files().len(), 2, "what was left over is removed");
        let jobs = store.writer.replace_run(compacted);
        assert_eq!(jobs.len(), 3);
        for (number, job) in (2..).zip(jobs) {
            job.run().expect("removes");
            let left = crash(&store);
            assert!(!left.files().contains_key(&SegmentNumber(number)));
            let verdict = store.check(&left, "removing");
            assert_eq!(
                verdict.superseded.len(),
                4 - usize::try_from(number).expect("few")
            );
        }
        store.relocate(&compacted);
        store.put(1, 100);
        store.sync();
        store.check(&crash(&store), "gone on");
    }
}

#[test]
fn until_the_directory_is_synced_either_file_is_right() {
    let mut store = holey();
    let run = store.all_sealed(Lsn(u64::MAX));
    let rewrite = store.rewrite(run);
    store.disk.faults().directory_sync_fails = true;
    let failure = rewrite
        .install()
        .expect_err("the sync of the directory fails");
    assert!(matches!(failure, InstallFailure::Unknown(_)), "{failure}");
    for reaches in [false, true] {
        let after = store.disk.crash(|_, _| reaches);
        let verdict = store.check(&after, "unknown");
        assert_eq!(verdict.segments[0].compacted.is_some(), reaches);
    }
    // The planted bug: had a file of the run been removed by now, the log would have a gap.
    store.disk.remove(SegmentNumber(2)).expect("removes");
    let after = store.disk.crash(|_, _| false);
    let error = found(&after).expect_err("a gap");
    assert!(matches!(error, RecoveryError::Gap { .. }), "{error}");
}

#[test]
fn a_disk_that_fails_leaves_the_segments_as_they_were() {
    let mut store = holey();
    let files = store.disk.files();
    let run = store.all_sealed(Lsn(u64::MAX));
    store.disk.faults().free_bytes = 100;
    let settled = store.writer.appended();
    let disk = Arc::clone(&store.disk);
    Rewrite::begin(disk, run.clone(), settled, None).expect_err("no room");
    store.disk.faults().free_bytes = 1 << 20;
    let rewrite = store.rewrite(run);
    store.disk.faults().sync_fails = true;
    let failure = rewrite.install().expect_err("the sync fails");
    assert!(matches!(failure, InstallFailure::Refused(_)), "{failure}");
    assert_eq!(store.disk.files(), files);
    assert_eq!(
        store.disk.faults().free_bytes,
        1 << 20,
        "its space is free again"
    );
}

#[test]
fn damage_stops_a_compaction() {
    let store = holey();
    let mut files = store.disk.files();
    files.get_mut(&SegmentNumber(2)).expect("listed")[600] ^= 1;
    let disk = Arc::new(MemoryDisk::with(&files));
    let run = store.all_sealed(Lsn(u64::MAX));
    let mut rewrite = Rewrite::begin(disk, run, Lsn(1), None).expect("there is room");
    let error = loop {
        match rewrite.read(SLICE_BYTES) {
            Ok(slice) => assert!(slice.is_some(), "the damage was not seen"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn floors_outlive_the_records_that_are_left_out() {
    let mut store = Store::new();
    let chosen = super::testing::put(900, &document(900, 3000));
    append(&mut store.writer, &chosen);
    append(
        &mut store.writer,
        &super::testing::put(5, &document(5, 3000)),
    );
    let run = store.all_sealed(Lsn(u64::MAX));
    assert_eq!(run.segments.len(), 1);
    let compacted = store.compact(run);
    assert_eq!(compacted.records, 0);
    let verdict = found(&store.crash()).expect("recovers").1;
    let floors = Floors {
        version: Version(900),
        chosen_id: 900,
    };
    assert_eq!((verdict.floors, verdict.next), (floors, Lsn(3)));
}

#[test]
fn a_removal_is_kept_as_long_as_it_hides_something() {
    let removed_too_early = |hides_nothing_through: Lsn| {
        let mut store = Store::new();
        store.put(1, 3000);
        store.put(2, 3000);
        store.delete(1);
        store.put(3, 3000);
        let mut run = store.all_sealed(hides_nothing_through);
        assert_eq!(run.segments.len(), 2);
        run.segments.remove(0);
        store.compact(run);
        let documents = found(&store.crash()).expect("recovers").0;
        assert_eq!(store.documents.keys().copied().collect::<Vec<_>>(), [2, 3]);
        documents.contains_key(&1)
    };
    assert!(!removed_too_early(Lsn::NONE));
    // The plant: said to hide nothing, it is left out, and document 1 comes back.
    assert!(removed_too_early(Lsn(u64::MAX)));
}

#[test]
fn a_compacted_segment_that_lost_a_record_or_its_successor_is_refused() {
    let mut store = holey();
    let run = store.all_sealed(Lsn(u64::MAX));
    let compacted = store.compact(run);
    let files = store.disk.files();
    for offset in 0..usize::try_from(compacted.bytes).expect("small") {
        let mut damaged = files.clone();
        damaged.get_mut(&FIRST).expect("listed")[offset] ^= 0x80;
        let error = found(&MemoryDisk::with(&damaged)).expect_err("damage");
        assert!(
            matches!(error, RecoveryError::Damaged { .. }),
            "{offset}: {error}"
        );
    }
    for length in 0..usize::try_from(compacted.bytes).expect("small") {
        let mut cut = files.clone();
        cut.get_mut(&FIRST).expect("listed").truncate(length);
        found(&MemoryDisk::with(&cut)).expect_err("shorter than it was");
    }
    let mut alone = files.clone();
    alone.retain(|&number, _| number == FIRST);
    let error = found(&MemoryDisk::with(&alone)).expect_err("the current segment is gone");
    assert!(
        error.to_string().contains("0000000005.seg is missing"),
        "{error}"
    );
}

/// Puts, removals, syncs, compactions and crashes at random, on a disk of limited space.
#[test]
fn a_random_life_with_compaction_loses_nothing_and_stays_within_its_space() {
    let rounds: u64 =
        std::env::var("OXDAAS_TEST_ROUNDS").map_or(1, |text| text.parse().expect("a number"));
    let mut compactions = 0;
    let mut dropped_removals = 0;
    for seed in 0..200 * rounds {
        let mut random = Random::new(seed);
        let mut store = Store::new();
        for step in 0..300 {
            let what = format!("seed {seed}, step {step}");
            match random.below(20) {
                0..=9 => {
                    let id = random.below(12);
                    let bytes = [8, 100, 456, 1500][usize::try_from(random.below(4)).expect("few")];
                    store.put(id, bytes);
                }
                10..=15 => {
                    let id = random.below(12);
                    if store.documents.contains_key(&id) {
                        store.delete(id);
                    }
                }
                16 => {
                    store.sync();
                    store.check(&store.crash(), &what);
                }
                17 => store.disk.write_back(|_, _| random.coin()),
                18 => {
                    store.sync();
                    let after = store.disk.crash(|_, _| random.coin());
                    store.check(&after, &what);
                    store = Store::open(Arc::new(after));
                }
                _ => {
                    let need = match random.coin() {
                        true => Need::Room,
                        false => Need::Tidiness,
                    };
                    if let Some(run) = store.choose(need) {
                        compactions += 1;
                        dropped_removals += usize::from(run.hides_nothing_through > Lsn::NONE);
                        let rewrite = store.rewrite(run);
                        let compacted = rewrite.install().expect("installs");
                        store.check(&store.disk.crash(|_, _| random.coin()), &what);
                        for job in store.writer.replace_run(compacted) {
                            job.run().expect("removes");
                        }
                        store.relocate(&compacted);
                    }
                }
            }
        }
        store.sync();
        while let Some(run) = store.choose(Need::Tidiness) {
            store.compact(run);
        }
        store.check(&store.crash(), &format!("seed {seed}, tidied"));
        let files = store.disk.files();
        let disk_bytes: usize = files
            .values()
            .map(|bytes| bytes.len().next_multiple_of(4096))
            .sum();
        let live = usize::try_from(store.live().total()).expect("small");
        assert!(
            disk_bytes <= 2 * live + 4 * 4096,
            "seed {seed}: {disk_bytes} for {live}"
        );
    }
    assert!(
        compactions > 1000 && dropped_removals > 500,
        "{compactions}, {dropped_removals}"
    );
}
