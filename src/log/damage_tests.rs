//! What a restart finds after damage: exactly what was written, or a refusal
//! that names file and offset.

use std::collections::BTreeMap;

use super::{
    codec::{Decoded, decode},
    memory::{MemoryDisk, SECTOR_BYTES},
    position::{Floors, Lsn, SegmentNumber, index},
    recovery::{RecoveryError, scan_all, survey},
    scan::Fault,
    segment::{Compacted, HeaderError, SegmentHeader},
    testing::{FIRST, append, closed_log, put, restart, sync, torn},
};
use crate::op::Version;

/// The one thing a restart may answer for a log that lost no sector: exactly
/// what was written, or a refusal that names file and offset.
fn exact_or_refused(files: &BTreeMap<SegmentNumber, Vec<u8>>, documents: &[String], what: &str) {
    let disk = MemoryDisk::with(files);
    match restart(&disk) {
        Ok((found, _)) => assert_eq!(found, documents, "{what}"),
        Err(error @ RecoveryError::Damaged { .. }) => {
            let message = error.to_string();
            assert!(message.contains(".seg at offset "), "{what}: {message}");
            assert!(message.contains("'oxdaas check data'"), "{message}");
            assert_eq!(disk.files(), *files, "{what}: a refusal changes nothing");
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn every_flipped_byte_of_a_closed_log_is_restored_or_refused() {
    let (disk, documents) = closed_log();
    let files = disk.files();
    for (&number, bytes) in &files {
        for offset in 0..bytes.len() {
            for mask in [1, 0x80, 0xff] {
                let mut flipped = files.clone();
                flipped.get_mut(&number).expect("listed")[offset] ^= mask;
                let what = format!("{number} at {offset} by {mask:#x}");
                exact_or_refused(&flipped, &documents, &what);
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_a_document_is_refused_at_its_record() {
    let (disk, documents) = closed_log();
    let files = disk.files();
    // The last document of the closed log: only the closing mark follows it.
    let (_, verdict) = restart(&disk).expect("recovers");
    let last = verdict.segments[2];
    let mark_at = last.used_bytes - 56;
    let record_at = mark_at - u32::try_from(put(9, &documents[8]).len()).expect("short");
    for offset in record_at..mark_at {
        let mut flipped = files.clone();
        flipped.get_mut(&last.number).expect("listed")[index(offset)] ^= 1;
        let error = restart(&MemoryDisk::with(&flipped)).expect_err("damage");
        assert!(
            matches!(error, RecoveryError::Damaged { offset, .. } if offset == record_at),
            "{offset}: {error}"
        );
    }
}

/// The sector that holds both the closing mark and the end of the last record
/// is the one whose loss looks like a torn tail.
#[test]
fn a_zeroed_sector_of_a_closed_log_is_restored_or_refused_or_reported_as_cut() {
    let (disk, documents) = closed_log();
    let mut cuts = 0;
    for (&number, bytes) in &disk.files() {
        for start in (0..bytes.len()).step_by(SECTOR_BYTES) {
            let mut lost = disk.files();
            let contents = lost.get_mut(&number).expect("listed");
            contents[start..start + SECTOR_BYTES].fill(0);
            let Ok((found, verdict)) = restart(&MemoryDisk::with(&lost)) else {
                continue;
            };
            if found != documents {
                cuts += 1;
                assert_eq!(found, documents[..8], "{number} without {start}");
                assert!(verdict.cut.is_some() && !verdict.closed);
            }
        }
    }
    assert_eq!(cuts, 1);
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    let (disk, _) = closed_log();
    let files = disk.files();
    for (&number, bytes) in &files {
        for length in 0..bytes.len() {
            let mut cut = files.clone();
            cut.get_mut(&number).expect("listed").truncate(length);
            let error = survey(&MemoryDisk::with(&cut)).expect_err("shorter than created");
            assert!(error.to_string().contains(&format!("{number} at offset ")));
        }
    }
}

#[test]
fn a_missing_segment_is_refused_by_name_unless_it_is_the_oldest() {
    let (disk, documents) = closed_log();
    let mut files = disk.files();
    let mut without_oldest = files.clone();
    without_oldest.remove(&FIRST);
    let (found, _) = restart(&MemoryDisk::with(&without_oldest)).expect("compacted");
    assert_eq!(found, documents[3..]);
    files.remove(&SegmentNumber(2));
    let error = restart(&MemoryDisk::with(&files)).expect_err("a gap");
    assert!(error.to_string().contains("data/0000000002.seg is missing"));
}

#[test]
fn a_segment_under_another_name_is_refused() {
    let (disk, _) = closed_log();
    let mut files = disk.files();
    let last = files.remove(&SegmentNumber(3)).expect("listed");
    let second = files.insert(SegmentNumber(2), last).expect("listed");
    files.insert(SegmentNumber(3), second);
    let error = restart(&MemoryDisk::with(&files)).expect_err("swapped");
    assert!(matches!(
        error,
        RecoveryError::Damaged {
            fault: Fault::Unrelated,
            ..
        }
    ));
}

#[test]
fn foreign_files_and_other_versions_are_refused() {
    let (disk, _) = closed_log();
    let refusal = |offset: usize, value: u8| {
        let mut files = disk.files();
        files.get_mut(&FIRST).expect("listed")[offset] = value;
        match restart(&MemoryDisk::with(&files)) {
            Err(RecoveryError::Damaged {
                fault: Fault::Header(error),
                ..
            }) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(0, b'o'), HeaderError::Foreign);
    assert_eq!(refusal(8, 2), HeaderError::FormatVersion(2));
}

#[test]
fn a_lost_record_that_a_later_one_saw_durable_is_damage_even_as_zeros() {
    let (disk, mut writer, _) = torn(3, 0, 456);
    append(&mut writer, &put(4, "4"));
    sync(&*disk, &mut writer);
    let mut files = disk.files();
    files.get_mut(&FIRST).expect("listed")[64 + 512..64 + 1024].fill(0);
    let error = restart(&MemoryDisk::with(&files)).expect_err("record 2 was durable");
    let expected = "data/0000000001.seg at offset 576: nothing is written where record 2 should \
        stand; nothing was changed. Run 'oxdaas check data' to see more, 'oxdaas repair data NEW_DIR' to \
        salvage what is whole";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn no_record_of_a_later_release_is_cut_off() {
    let (disk, _writer, _) = torn(1, 1, 8);
    let mut files = disk.files();
    let bytes = files.get_mut(&FIRST).expect("listed");
    let second = &mut bytes[64 + 64..64 + 128];
    second[43] |= 1 << 3;
    let crc = crc32c::crc32c(&second[4..]);
    second[..4].copy_from_slice(&crc.to_le_bytes());
    let error = restart(&MemoryDisk::with(&files)).expect_err("not understood");
    assert!(
        error.to_string().contains("not known to this release"),
        "{error}"
    );
}

/// Bytes that a release wrote; every later release must read them.
const GOLDEN: &[u8] = include_bytes!("../../tests/golden/segment-v1.seg");

#[test]
fn the_golden_segment_stays_readable() {
    let header = SegmentHeader::decode(GOLDEN).expect("a header");
    let floors = Floors {
        version: Version(6),
        chosen_id: 4,
    };
    let expected = SegmentHeader {
        number: SegmentNumber(3),
        first_lsn: Lsn(7),
        floors,
        bytes: 512,
        compacted: None,
    };
    assert_eq!(header, expected);
    assert_eq!(GOLDEN[..64], header.encode());
    let disk = MemoryDisk::with(&BTreeMap::from([(SegmentNumber(3), GOLDEN.to_vec())]));
    let mut seen = Vec::new();
    let survey = survey(&disk).expect("reads");
    let verdict = scan_all(&disk, &survey, &mut |record, at| {
        assert!(
            matches!(decode(&GOLDEN[index(at.offset)..]), Decoded::Whole(again) if again == *record)
        );
        let text = String::from_utf8_lossy(record.document);
        seen.push(format!(
            "{} {} {:?} {:?} {} v{} {text}",
            record.lsn,
            record.durable,
            record.kind,
            record.flags,
            record.id.to_id(),
            record.version.0
        ));
    });
    let verdict = verdict.expect("reads");
    assert_eq!(
        seen,
        [
            "7 6 Put Flags(1) 5 v7 {\"a\":[1,2.50,\"\u{e9}\"]}",
            "8 6 Put Flags(2) user:7 v3 null",
            "9 8 Delete Flags(0) user:7 v8 ",
            "10 9 Mark Flags(16) 5 v8 ",
        ]
    );
    assert!(verdict.closed);
    assert_eq!(
        (verdict.next, verdict.floors),
        (
            Lsn(11),
            Floors {
                version: Version(8),
                chosen_id: 5
            }
        )
    );
}

/// The same of a compacted segment, with an expiry and a group; the other one follows it.
const GOLDEN_COMPACTED: &[u8] = include_bytes!("../../tests/golden/compacted-v1.seg");

#[test]
fn the_golden_compacted_segment_stays_readable() {
    let header = SegmentHeader::decode(GOLDEN_COMPACTED).expect("a header");
    let expected = SegmentHeader {
        number: FIRST,
        first_lsn: Lsn(1),
        floors: Floors::NONE,
        bytes: u32::try_from(GOLDEN_COMPACTED.len()).expect("short"),
        compacted: Some(Compacted {
            through: SegmentNumber(2),
            records: 3,
            purged_through: Lsn(9),
        }),
    };
    assert_eq!(header, expected);
    assert_eq!(GOLDEN_COMPACTED[..64], header.encode());
    let files = [(FIRST, GOLDEN_COMPACTED), (SegmentNumber(3), GOLDEN)];
    let files = files.map(|(number, bytes)| (number, bytes.to_vec()));
    let disk = MemoryDisk::with(&BTreeMap::from(files));
    let mut seen = Vec::new();
    let survey = survey(&disk).expect("reads");
    let verdict = scan_all(&disk, &survey, &mut |record, at| {
        if at.segment == FIRST {
            let text = String::from_utf8_lossy(record.document);
            seen.push(format!(
                "{} {:?} {:?} {} v{} {} {text}",
                record.lsn,
                record.kind,
                record.flags,
                record.id.to_id(),
                record.version.0,
                record.expires_at_ms
            ));
        }
    });
    assert_eq!(
        seen,
        [
            "2 Put Flags(5) 4 v2 1893456000000 {\"ttl\":true}",
            "4 Put Flags(6) a v4 0 [1]",
            "6 Delete Flags(0) \u{e9} v6 0 ",
        ]
    );
    assert_eq!(verdict.expect("reads").records(), 3 + 4);
}
