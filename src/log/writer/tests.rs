use super::*;
use crate::log::{
    memory::MemoryDisk,
    position::index,
    segment::SEGMENT_HEADER_BYTES,
    testing::{FIRST, SEGMENT_BYTES, append, close, document, open, put, restart},
};

fn fresh() -> (Arc<MemoryDisk>, Writer<MemoryDisk>) {
    let disk = Arc::new(MemoryDisk::new());
    let writer = open(&disk);
    (disk, writer)
}

#[test]
fn a_new_log_has_one_empty_segment_and_nothing_appended() {
    let (_, writer) = fresh();
    assert_eq!((writer.appended(), writer.durable()), (Lsn(0), Lsn(0)));
    let segments: Vec<_> = writer.segments().copied().collect();
    let empty = SegmentUse {
        number: FIRST,
        first_lsn: Lsn(1),
        bytes: 4096,
        used_bytes: SEGMENT_HEADER_BYTES,
        records: 0,
        put_bytes: 0,
        compacted: None,
    };
    assert_eq!(segments, [empty]);
}

#[test]
fn records_follow_each_other_and_become_durable_only_by_a_finished_sync() {
    let (disk, mut writer) = fresh();
    let first = writer.append(&put(1, "1")).expect("fits");
    let target = writer.begin_sync().expect("healthy");
    let second = writer.append(&put(2, "2")).expect("fits");
    assert_eq!((first.offset, second.offset), (64, 128));
    assert_eq!(writer.durable(), Lsn(0));
    disk.sync(&target.file).expect("syncs");
    assert_eq!(writer.finish_sync(), Lsn(1));
    assert_eq!((writer.appended(), writer.durable()), (Lsn(2), Lsn(1)));
}

#[test]
fn new_space_is_prepared_by_the_piece_and_used_space_as_far_as_it_is_written() {
    let disk = Arc::new(MemoryDisk::new());
    let (_, verdict) = restart(&*disk).expect("recovers");
    let bytes = u64::from(LOG_PREPARE_BYTES) * 5 / 2;
    let mut writer = Writer::open(disk, &verdict, bytes).expect("opens");
    let mut check = |drafts_bytes: u32, expected_end: u32| {
        let offset = writer.last().used_bytes;
        writer.prepare(drafts_bytes).expect("healthy");
        let expected = (offset, expected_end - offset);
        assert_eq!(writer.current.map.prepared, expected);
        let text = document(1, index(drafts_bytes) - put(1, "").len());
        append(&mut writer, &put(1, &text));
    };
    let (piece, header) = (LOG_PREPARE_BYTES, SEGMENT_HEADER_BYTES);
    check(1024, piece);
    check(2048, header + 3072);
    check(piece - 3072 - header, piece);
    check(64, 2 * piece);
    // No further than the segment goes.
    check(piece, piece * 5 / 2);
    // And a segment after it begins anew.
    let rolled = writer.begin_roll(64, Room::Free).expect("healthy").run();
    writer.finish_roll(rolled).expect("rolls");
    writer.prepare(64).expect("healthy");
    assert_eq!(writer.current.map.prepared, (header, piece - header));
}

#[test]
fn the_log_keeps_its_order_and_counts_across_segments_and_restarts() {
    let (disk, mut writer) = fresh();
    let mut documents = Vec::new();
    for n in 1..=40 {
        documents.push(document(n, usize::try_from(n).expect("small") * 20));
        append(&mut writer, &put(n, &documents[documents.len() - 1]));
        if n % 10 == 0 {
            close(&*disk, &mut writer);
            let segments: Vec<_> = writer.segments().copied().collect();
            drop(writer);
            let (found, verdict) = restart(&*disk).expect("recovers");
            assert_eq!(found, documents);
            assert_eq!(verdict.segments, segments);
            assert!(verdict.closed && verdict.cut.is_none());
            assert_eq!(verdict.floors.version, crate::op::Version(n.into()));
            assert_eq!(verdict.floors.chosen_id, i64::from(n));
            writer = open(&disk);
        }
    }
    assert!(writer.segments().len() > 4);
}

#[test]
fn closing_a_closed_log_again_writes_nothing() {
    let (disk, mut writer) = fresh();
    append(&mut writer, &put(1, "1"));
    close(&*disk, &mut writer);
    let appended = writer.appended();
    drop(writer);
    for _ in 0..3 {
        let mut writer = open(&disk);
        writer.close().expect("closed already");
        assert_eq!(writer.appended(), appended);
    }
}

#[test]
fn a_closing_mark_has_its_room_in_a_segment_that_is_full_for_others() {
    let (disk, mut writer) = fresh();
    let filler = put(1, &document(1, 4096 - 64 - 56 - 56));
    writer.append(&filler).expect("fits exactly");
    assert_eq!(writer.append(&put(2, "")), Err(AppendError::NoRoom));
    close(&*disk, &mut writer);
    assert_eq!(writer.room_bytes(), 0);
    assert!(restart(&*disk).expect("recovers").1.closed);
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own_size() {
    let (disk, mut writer) = fresh();
    let large = document(1, 100_000);
    append(&mut writer, &put(1, &large));
    append(&mut writer, &put(2, "2"));
    let lengths: Vec<u32> = writer.segments().map(|segment| segment.bytes).collect();
    assert_eq!(lengths, [4096, 102_400]);
    drop(writer);
    assert_eq!(restart(&*disk).expect("recovers").0, [large, "2".into()]);
}

#[test]
fn a_full_disk_takes_small_records_while_they_fit_and_all_once_there_is_room() {
    let (disk, mut writer) = fresh();
    let large = put(1, &document(1, 3000));
    writer.append(&large).expect("fits");
    disk.faults().free_bytes = 4095;
    assert_eq!(writer.append(&large), Err(AppendError::NoRoom));
    let result = writer
        .begin_roll(length(&large), Room::Free)
        .expect("healthy")
        .run();
    let error = writer.finish_roll(result).expect_err("no room");
    assert!(
        matches!(error, RollError::Full { bytes: 4096, .. }),
        "{error}"
    );
    writer.append(&put(2, "2")).expect("still fits");
    disk.faults().free_bytes = 4096;
    append(&mut writer, &large);
    assert_eq!(writer.appended(), Lsn(3));
    assert_eq!(writer.durable(), Lsn(2), "a roll syncs what is before it");
    drop(writer);
    assert_eq!(restart(&*disk).expect("recovers").1.records(), 3);
}

#[test]
fn a_disk_without_room_for_a_whole_segment_gets_smaller_ones() {
    let disk = Arc::new(MemoryDisk::new());
    let (_, verdict) = restart(&*disk).expect("recovers");
    disk.faults().free_bytes = 20_000;
    let mut writer = Writer::open(Arc::clone(&disk), &verdict, 65_536).expect("halves");
    append(&mut writer, &put(1, &document(1, 16_000)));
    let lengths: Vec<u32> = writer.segments().map(|segment| segment.bytes).collect();
    assert_eq!(lengths, [16_384], "65536, 32768 do not fit 20000");
}

#[test]
fn a_spare_is_asked_for_once_and_used_by_the_next_roll() {
    let (disk, mut writer) = fresh();
    assert!(writer.begin_spare().is_none(), "less than half is used");
    append(&mut writer, &put(1, &document(1, 3000)));
    let job = writer.begin_spare().expect("more than half is used");
    assert!(writer.begin_spare().is_none(), "asked for once");
    writer.finish_spare(job.run());
    disk.faults().free_bytes = 4096;
    append(&mut writer, &put(2, &document(2, 3000)));
    assert_eq!(writer.segments().len(), 2);
    assert_eq!(disk.faults().free_bytes, 0, "another one took its place");
    assert!(writer.begin_spare().is_none(), "it is there");
}

/// A writer of segments of 32 KiB in its second one, with a spare.
fn with_spare() -> (Arc<MemoryDisk>, Writer<MemoryDisk>) {
    let disk = Arc::new(MemoryDisk::new());
    let (_, verdict) = restart(&*disk).expect("recovers");
    let mut writer = Writer::open(Arc::clone(&disk), &verdict, 32_768).expect("opens");
    append(&mut writer, &put(1, &document(1, 30_000)));
    let job = writer.begin_spare().expect("more than half is used");
    writer.finish_spare(job.run());
    append(&mut writer, &put(2, &document(2, 30_000)));
    assert_eq!(writer.segments().len(), 2);
    (disk, writer)
}

fn last_bytes(writer: &Writer<MemoryDisk>) -> u32 {
    writer.segments().last().expect("there is one").bytes
}

#[test]
fn a_document_on_a_full_disk_gets_all_room_but_the_spare() {
    let (disk, mut writer) = with_spare();
    disk.faults().free_bytes = 10_000;
    append(&mut writer, &put(3, &document(3, 5_000)));
    assert_eq!(last_bytes(&writer), 8192, "half of the half of a whole one");
    let large = put(4, &document(4, 5_000));
    let rolled = writer.begin_roll(length(&large), Room::Free);
    let error = writer.finish_roll(rolled.expect("healthy").run());
    assert!(matches!(error, Err(RollError::Full { .. })), "{error:?}");
    let spare = writer.lend_spare().expect("it is still there");
    assert_eq!(spare.bytes(), 32_768);
    assert!(writer.begin_spare().is_none(), "not before it is asked for");
    drop(spare);
    writer.ask_for_spare_again();
    let job = writer.begin_spare().expect("asked for");
    writer.finish_spare(job.run());
    assert_eq!(writer.lend_spare().expect("there is room").bytes(), 32_768);
}

#[test]
fn a_removal_on_a_full_disk_gets_a_part_of_the_spare() {
    let (disk, mut writer) = with_spare();
    disk.faults().free_bytes = 0;
    for left in [28_672, 24_576] {
        let rolled = writer.begin_roll(64, Room::Spare).expect("healthy").run();
        writer.finish_roll(rolled).expect("there is the spare");
        assert_eq!(last_bytes(&writer), 4096);
        let Ahead::Ready(spare) = &writer.ahead else {
            panic!("the rest is kept");
        };
        assert_eq!((spare.bytes, disk.faults().free_bytes), (left, 0));
    }
    let rolled = writer
        .begin_roll(40_000, Room::Spare)
        .expect("healthy")
        .run();
    let error = writer.finish_roll(rolled);
    assert!(matches!(error, Err(RollError::Full { .. })), "{error:?}");
    assert!(writer.lend_spare().is_some(), "kept when it is too small");
}

#[test]
fn a_spare_is_as_long_as_there_is_room() {
    let (disk, mut writer) = fresh();
    append(&mut writer, &put(1, &document(1, 3000)));
    disk.faults().free_bytes = 4095;
    let job = writer.begin_spare().expect("more than half is used");
    writer.finish_spare(job.run());
    assert!(writer.lend_spare().is_none(), "less is of no use");
    assert!(writer.begin_spare().is_none(), "not before the next roll");
    drop(writer);

    let (disk, mut writer) = with_spare();
    drop(writer.lend_spare());
    writer.ask_for_spare_again();
    disk.faults().free_bytes = 20_000;
    let job = writer.begin_spare().expect("asked for");
    writer.finish_spare(job.run());
    assert_eq!(writer.lend_spare().expect("it is there").bytes(), 16_384);
}

#[test]
fn a_failed_sync_is_final() {
    let (_, mut writer) = fresh();
    writer.append(&put(1, "1")).expect("fits");
    writer.begin_sync().expect("healthy");
    writer.poison();
    assert_eq!(writer.append(&put(2, "2")), Err(AppendError::Poisoned));
    assert!(writer.begin_sync().is_err() && writer.begin_roll(64, Room::Free).is_err());
    assert_eq!(writer.close(), Err(AppendError::Poisoned));
    assert!(writer.begin_spare().is_none());
    assert_eq!((writer.appended(), writer.durable()), (Lsn(1), Lsn(0)));
}

#[test]
fn a_roll_whose_sync_fails_poisons_the_log() {
    let (disk, mut writer) = fresh();
    writer.append(&put(1, "1")).expect("fits");
    disk.faults().sync_fails = true;
    let result = writer.begin_roll(4000, Room::Free).expect("healthy").run();
    let error = writer.finish_roll(result).expect_err("the sync failed");
    assert!(matches!(error, RollError::Failed { .. }), "{error}");
    assert_eq!(writer.append(&put(2, "2")), Err(AppendError::Poisoned));
    assert_eq!(writer.durable(), Lsn(0));
}

#[test]
#[should_panic(expected = "no roll while a sync is under way")]
fn a_roll_does_not_begin_while_a_sync_is_under_way() {
    let (_, mut writer) = fresh();
    let _target = writer.begin_sync();
    let _job = writer.begin_roll(64, Room::Free);
}

#[test]
#[should_panic(expected = "sync before closing")]
fn a_closing_mark_never_stands_after_what_is_not_durable() {
    let (_, mut writer) = fresh();
    writer.append(&put(1, "1")).expect("fits");
    let _result = writer.close();
}

#[test]
#[should_panic(expected = "a roll is under way")]
fn nothing_is_appended_while_a_roll_is_under_way() {
    let (_, mut writer) = fresh();
    let _job = writer.begin_roll(64, Room::Free);
    let _result = writer.append(&put(1, "1"));
}

#[test]
fn segments_have_the_length_that_was_asked_for() {
    let disk = Arc::new(MemoryDisk::new());
    let (_, verdict) = restart(&*disk).expect("recovers");
    let writer = Writer::open(disk, &verdict, SEGMENT_BYTES + 1).expect("opens");
    assert_eq!(
        writer.segments().next().map(|segment| segment.bytes),
        Some(8192)
    );
}
