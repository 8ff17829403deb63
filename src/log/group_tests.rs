//! Groups of records: recovered whole or not at all.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    memory::MemoryDisk,
    position::{Location, SegmentNumber, index},
    recovery::{RecoveryError, scan_all, survey},
    roll::Room,
    scan::Fault,
    testing::{FIRST, append, append_group, document, open, put, restart, sync},
};

/// A log of two durable records, a group of four, and one record more.
fn log_with_a_group() -> (Arc<MemoryDisk>, Vec<String>, Vec<usize>) {
    let disk = Arc::new(MemoryDisk::new());
    let mut writer = open(&disk);
    let documents: Vec<String> = (1..=7).map(|n| document(n, 90)).collect();
    let drafts: Vec<Vec<u8>> = (1..).zip(&documents).map(|(n, d)| put(n, d)).collect();
    append(&mut writer, &drafts[0]);
    append(&mut writer, &drafts[1]);
    sync(&*disk, &mut writer);
    append_group(&mut writer, &drafts[2..6]);
    append(&mut writer, &drafts[6]);
    let mut ends = vec![64];
    for draft in &drafts {
        ends.push(ends[ends.len() - 1] + draft.len());
    }
    (disk, documents, ends)
}

fn with_first(bytes: Vec<u8>) -> MemoryDisk {
    MemoryDisk::with(&BTreeMap::from([(FIRST, bytes)]))
}

#[test]
fn a_group_cut_at_any_byte_is_gone_whole() {
    let (disk, documents, ends) = log_with_a_group();
    let whole = disk.contents(FIRST).written;
    for length in ends[2]..=ends[7] {
        let mut bytes = whole.clone();
        bytes[length..].fill(0);
        // Where only padding was cut, nothing was.
        let is_whole = |end: usize| length >= end || whole[length..end].iter().all(|&b| b == 0);
        let expected = match (is_whole(ends[7]), is_whole(ends[6])) {
            (true, _) => 7,
            (false, true) => 6,
            (false, false) => 2,
        };
        let is_clean = bytes[ends[expected]..].iter().all(|&byte| byte == 0);
        let (found, verdict) = restart(&with_first(bytes)).expect("a torn tail is no damage");
        assert_eq!(found, documents[..expected], "cut at {length}");
        let at = verdict.cut.map(|cut| index(cut.at.offset));
        assert_eq!(at, (!is_clean).then_some(ends[expected]), "cut at {length}");
        if (ends[3]..ends[6]).contains(&length) && expected == 2 {
            let fault = verdict.cut.map(|cut| cut.fault);
            assert_eq!(fault, Some(Fault::OpenGroup), "cut at {length}");
        }
    }
}

#[test]
fn a_group_with_a_flipped_bit_is_gone_with_all_behind_it() {
    let (disk, documents, ends) = log_with_a_group();
    let whole = disk.contents(FIRST).written;
    for at in (ends[2]..ends[6]).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        let (found, _) = restart(&with_first(bytes)).expect("it was never known to be on disk");
        assert_eq!(found, documents[..2], "byte {at}");
    }
}

#[test]
fn a_group_that_was_known_to_be_on_disk_is_damage_and_not_cut() {
    let (disk, _, ends) = log_with_a_group();
    let mut writer = open(&disk);
    sync(&*disk, &mut writer);
    append(&mut writer, &put(8, "8"));
    let mut bytes = disk.contents(FIRST).written;
    bytes[ends[5] + 60] ^= 1;
    match restart(&with_first(bytes)) {
        Err(RecoveryError::Damaged { offset, fault, .. }) => {
            assert_eq!((index(offset), fault), (ends[2], Fault::OpenGroup));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn numbers_of_a_group_that_was_cut_are_given_out_again() {
    let (disk, documents, ends) = log_with_a_group();
    let mut bytes = disk.contents(FIRST).written;
    bytes[ends[5]..].fill(0);
    let disk = Arc::new(with_first(bytes));
    let mut writer = open(&disk);
    assert_eq!(writer.appended().0, 2);
    // As long as the first of the group, so that the second would follow it.
    let other = document(30, 90);
    append(&mut writer, &put(30, &other));
    sync(&*disk, &mut writer);
    let found = restart(&disk.crash(|_, _| false)).expect("recovers").0;
    assert_eq!(found, [&documents[..2], &[other]].concat());
}

#[test]
fn the_flag_means_nothing_in_a_segment_that_has_a_successor() {
    let (disk, documents, ends) = log_with_a_group();
    let mut bytes = disk.contents(FIRST).written;
    bytes[ends[5]..].fill(0);
    let open_ended = with_first(bytes);
    // A successor exists only when everything before it was synced.
    let mut files = open_ended.files();
    let closed = {
        let disk = Arc::new(MemoryDisk::new());
        let mut writer = open(&disk);
        for n in 1..=5 {
            append(&mut writer, &put(n, &documents[index(n - 1)]));
        }
        let result = writer.begin_roll(100, Room::Free).expect("healthy").run();
        writer.finish_roll(result).expect("rolls");
        append(&mut writer, &put(6, "6"));
        disk.files()
    };
    let second = SegmentNumber(2);
    files.insert(second, closed[&second].clone());
    let (found, verdict) = restart(&MemoryDisk::with(&files)).expect("whole");
    assert_eq!(found[..5], documents[..5]);
    assert_eq!((found.len(), verdict.cut), (6, None));
}

#[test]
fn a_group_that_does_not_fit_begins_the_next_segment_and_may_be_larger_than_one() {
    let disk = Arc::new(MemoryDisk::new());
    let mut writer = open(&disk);
    append(&mut writer, &put(1, &document(1, 2000)));
    let drafts: Vec<Vec<u8>> = (2..=9).map(|n| put(n, &document(n, 1000))).collect();
    append_group(&mut writer, &drafts);
    let survey = survey(&*disk).expect("reads");
    let mut segments = Vec::new();
    let verdict = scan_all(&*disk, &survey, &mut |_, at: Location| {
        segments.push(at.segment.0);
    });
    assert_eq!(segments, [1, 2, 2, 2, 2, 2, 2, 2, 2]);
    let last = verdict.expect("whole").segments[1];
    assert!(
        last.bytes > 8000,
        "the segment is as long as the group needs"
    );
}

#[test]
fn a_group_that_a_later_release_went_on_with_is_not_cut() {
    let (disk, _, ends) = log_with_a_group();
    let mut bytes = disk.contents(FIRST).written;
    let record = &mut bytes[ends[4]..ends[5]];
    record[43] |= 1 << 7;
    let crc = crc32c::crc32c(&record[4..]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
    let error = restart(&with_first(bytes)).expect_err("not understood");
    assert!(
        error.to_string().contains("not known to this release"),
        "{error}"
    );
}
