//! What a restart finds after power loss: a prefix of what was appended, with
//! all that was durable.

use std::sync::Arc;

use super::{
    memory::{MemoryDisk, SECTOR_BYTES},
    position::index,
    recovery::{repair_tail, scan_all, survey},
    testing::{
        FIRST, Random, append, append_group, close, document, open, put, restart, sync, torn,
    },
    writer::Writer,
};

#[test]
fn any_subset_of_the_unsynced_sectors_leaves_a_prefix_with_all_that_was_durable() {
    for (durable, under_way, bytes) in [
        (2, 6, 400),
        (0, 9, 300),
        (5, 40, 8),
        (1, 1, 1900),
        (1, 2, 999),
    ] {
        let (disk, _writer, documents) = torn(durable, under_way, bytes);
        let dirty = disk.contents(FIRST).dirty_sectors();
        assert!((2..=8).contains(&dirty.len()), "{dirty:?}");
        let mut lengths = Vec::new();
        for subset in 0..1_u32 << dirty.len() {
            let bit = |start| {
                dirty
                    .iter()
                    .position(|&sector| sector == start)
                    .expect("dirty")
            };
            let after = disk.crash(|_, start| subset & (1 << bit(start)) != 0);
            let (found, verdict) = restart(&after).expect("a torn tail is no damage");
            assert!(found.len() >= usize::try_from(durable).expect("small"));
            assert_eq!(found, documents[..found.len()], "{subset:b}");
            assert!(!verdict.closed);
            // The repaired log is clean, and the same.
            let (again, second) = restart(&after).expect("repaired");
            assert_eq!((again, second.cut), (found.clone(), None));
            lengths.push(found.len());
        }
        assert_eq!(
            lengths.first(),
            Some(&usize::try_from(durable).expect("small"))
        );
        assert_eq!(lengths.last(), Some(&documents.len()));
    }
}

/// A log whose record 2 is lost while record 3 reached the disk, restarted,
/// continued by a record of the same length, synced, and crashed.
fn continued_after_a_tear(zero_is_lost: bool) -> Vec<String> {
    let (disk, _writer, documents) = torn(1, 2, 512 - 56);
    // Record 2 starts in the sector of record 1's end and ends in the next one.
    let after = Arc::new(disk.crash(|_, start| start != SECTOR_BYTES));
    after.faults().zero_is_lost = zero_is_lost;
    let (found, verdict) = restart(&*after).expect("torn");
    assert_eq!(found, documents[..1]);
    let cut = verdict.cut.expect("a torn tail");
    assert_eq!(cut.at.offset, 64 + 512);
    let mut writer = Writer::open(Arc::clone(&after), &verdict, 4096).expect("opens");
    append(&mut writer, &put(2, &document(20, 512 - 56)));
    sync(&*after, &mut writer);
    restart(&after.crash(|_, _| false)).expect("recovers").0
}

#[test]
fn a_record_beyond_the_cut_does_not_come_back_when_its_number_is_next() {
    let kept = [document(1, 456), document(20, 456)];
    assert_eq!(continued_after_a_tear(false), kept);
    // The plant: without the zeroing it does come back, so this test can fail.
    let stale = document(3, 456);
    assert_eq!(
        continued_after_a_tear(true),
        [kept.to_vec(), vec![stale]].concat()
    );
}

#[test]
fn nothing_is_written_before_the_verdict_is_known() {
    let (disk, _writer, _) = torn(1, 2, 456);
    let after = disk.crash(|_, start| start != SECTOR_BYTES);
    let files = after.files();
    let survey = survey(&after).expect("reads");
    let first = scan_all(&after, &survey, &mut |_, _| {}).expect("torn");
    let second = scan_all(&after, &survey, &mut |_, _| {}).expect("torn");
    assert_eq!(first, second, "every reader comes to the same verdict");
    assert_eq!(after.files(), files);
    repair_tail(&after, &first).expect("repairs");
    assert_ne!(after.files(), files);
}

#[test]
fn what_was_recovered_is_durable_after_the_repair() {
    // A killed process: the page cache is ahead of the disk at the restart.
    let (disk, writer, documents) = torn(0, 3, 100);
    drop(writer);
    assert_eq!(restart(&*disk).expect("recovers").0, documents);
    assert_eq!(
        restart(&disk.crash(|_, _| false)).expect("recovers").0,
        documents
    );
}

/// Appends, syncs, rolls, closes, write-backs and crashes at random; after each
/// restart the log is a prefix of what was appended with all that was durable.
#[test]
fn a_random_life_never_loses_what_was_durable_nor_brings_back_what_was_lost() {
    let mut crashes = 0;
    let mut cuts = 0;
    let mut torn_groups = 0;
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut disk = Arc::new(MemoryDisk::new());
        let mut writer = open(&disk);
        let mut documents: Vec<String> = Vec::new();
        // For each document, how many more its group has.
        let mut following: Vec<usize> = Vec::new();
        let mut durable = 0;
        let mut unique = 0;
        for _ in 0..120 {
            match random.below(13) {
                0..=5 => {
                    unique += 1;
                    let bytes = [8, 100, 456, 1500, 6000][index(random.below(5))];
                    documents.push(document(unique, bytes));
                    following.push(0);
                    let draft = put(unique, &documents[documents.len() - 1]);
                    let segments = writer.segments().len();
                    append(&mut writer, &draft);
                    if writer.segments().len() > segments {
                        durable = documents.len() - 1;
                    }
                }
                6..=7 => {
                    sync(&*disk, &mut writer);
                    durable = documents.len();
                }
                8..=9 => disk.write_back(|_, _| random.coin()),
                10 => {
                    let bytes = [8, 100, 456, 1500][index(random.below(4))];
                    let count = 2 + random.below(5);
                    let mut drafts = Vec::new();
                    for rest in (0..count).rev() {
                        unique += 1;
                        documents.push(document(unique, bytes));
                        following.push(index(rest));
                        drafts.push(put(unique, &documents[documents.len() - 1]));
                    }
                    let segments = writer.segments().len();
                    append_group(&mut writer, &drafts);
                    if writer.segments().len() > segments {
                        durable = documents.len() - drafts.len();
                    }
                }
                11 => {
                    if writer
                        .segments()
                        .last()
                        .is_some_and(|last| last.bytes - last.used_bytes >= 56)
                    {
                        close(&*disk, &mut writer);
                        durable = documents.len();
                    }
                }
                _ => {
                    crashes += 1;
                    drop(writer);
                    disk = Arc::new(disk.crash(|_, _| random.coin()));
                    // Sometimes the power goes again in the middle of the repair.
                    if random.coin() {
                        let survey = survey(&*disk).expect("reads");
                        let verdict = scan_all(&*disk, &survey, &mut |_, _| {}).expect("torn");
                        disk.faults().sync_fails = true;
                        assert!(repair_tail(&*disk, &verdict).is_err());
                        disk = Arc::new(disk.crash(|_, _| random.coin()));
                    }
                    let (found, verdict) =
                        restart(&*disk).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                    cuts += usize::from(verdict.cut.is_some());
                    assert!(found.len() >= durable, "seed {seed}");
                    assert_eq!(found, documents[..found.len()], "seed {seed}");
                    let cut_within = found
                        .len()
                        .checked_sub(1)
                        .is_some_and(|last| following[last] > 0);
                    assert!(!cut_within, "seed {seed}: a group was recovered in part");
                    torn_groups +=
                        usize::from(following.get(found.len()).is_some_and(|&rest| rest > 0));
                    documents.truncate(found.len());
                    following.truncate(found.len());
                    durable = found.len();
                    writer = open(&disk);
                }
            }
        }
    }
    assert!(
        crashes > 1000 && cuts > 100 && torn_groups > 100,
        "{crashes} crashes, {cuts} cuts, {torn_groups} torn groups"
    );
}
