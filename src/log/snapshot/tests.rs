use std::{collections::BTreeMap, io::Read, path::Path, sync::Arc};

use super::*;
use crate::{
    log::{
        LiveBytes, Output, Reader, Record, RecoveryError, Rewrite, Writer, any_run, recover,
        scan_all, survey,
        testing::{Scratch, append, append_group, close, document, open, put, sync},
    },
    op::Version,
};

/// Numbers and documents, of a log that is read to its end.
type Records = BTreeMap<u64, String>;

fn records<D: Segments>(disk: &D) -> Result<Records, RecoveryError> {
    let mut records = Records::new();
    scan_all(disk, &survey(disk)?, &mut |record, _| {
        if record.kind != Kind::Mark {
            let text = str::from_utf8(record.document).expect("text");
            records.insert(record.lsn.0, text.to_owned());
        }
    })?;
    Ok(records)
}

fn log(scratch: &Scratch, count: u32) -> (Arc<Directory>, Writer<Directory>) {
    let disk = Arc::new(Directory::open(scratch.path()).expect("opens"));
    let mut writer = open(&disk);
    for n in 1..=count {
        append(&mut writer, &put(n, &document(n, 700)));
    }
    sync(&*disk, &mut writer);
    (disk, writer)
}

fn begin(disk: &Directory, through: u64) -> Snapshot {
    Snapshot::open(disk, 1000, &|| Lsn(through)).expect("opens")
}

fn stream(mut snapshot: Snapshot, bytes_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut part = Vec::new();
        let is_all = snapshot.read(bytes_max, &mut part).expect("reads");
        bytes.append(&mut part);
        if is_all {
            return bytes;
        }
    }
}

/// Unpacks what there is of a stream.
fn unpack(mut stream: &[u8], to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(to).expect("readable") {
        fs::remove_file(entry.expect("an entry").path()).expect("removable");
    }
    let mut archive = tar::Archive::new(&mut stream);
    for entry in archive.entries().expect("an archive") {
        let Ok(mut entry) = entry else { return };
        let mut bytes = Vec::new();
        // Of the last file of a cut stream, what there is.
        let _ = entry.read_to_end(&mut bytes);
        let path = to.join(entry.path().expect("a path"));
        fs::write(path, bytes).expect("writes");
    }
}

#[test]
fn a_snapshot_holds_exactly_the_records_up_to_its_position() {
    let scratch = Scratch::new("snapshot");
    let (disk, writer) = log(&scratch, 23);
    assert!(writer.segments().len() > 4);
    let all = records(&*disk).expect("whole");
    let first = writer.segments().last().expect("one").first_lsn.0;
    let copy = Scratch::new("snapshot-copy");
    for through in [first - 1, first, 23] {
        for bytes_max in [1000, 1 << 20] {
            unpack(&stream(begin(&disk, through), bytes_max), copy.path());
            let reader = Reader::open(copy.path()).expect("opens");
            let mut expected = all.clone();
            expected.retain(|&lsn, _| lsn <= through);
            assert_eq!(records(&reader).expect("whole"), expected);
        }
    }
}

#[test]
fn the_first_start_makes_a_log_of_it_that_goes_on_with_numbers_and_floors() {
    let scratch = Scratch::new("snapshot-start");
    let (disk, writer) = log(&scratch, 23);
    let copy = Scratch::new("snapshot-start-copy");
    unpack(&stream(begin(&disk, 23), 4096), copy.path());
    let restored = Arc::new(Directory::open(copy.path()).expect("opens"));
    let mut mark = None;
    let each = &mut |record: &Record<'_>, _| {
        mark = (record.kind == Kind::Mark).then(|| (record.version, record.id.to_id()));
    };
    let verdict = recover(&*restored, each).expect("whole");
    let floors = writer.floors();
    assert_eq!(mark, Some((floors.version, Id::Integer(floors.chosen_id))));
    assert_eq!((verdict.last(), verdict.closed), (Lsn(24), true));
    assert_eq!(verdict.floors, floors);
    assert!(!copy.path().join(BACKUP).exists());
    let mut writer = open(&restored);
    append(&mut writer, &put(24, &document(24, 700)));
    close(&*restored, &mut writer);
    assert_eq!(records(&*restored).expect("whole").len(), 24);
}

#[test]
fn compaction_and_rolls_take_nothing_away_from_under_it() {
    let scratch = Scratch::new("snapshot-compacted");
    let (disk, mut writer) = log(&scratch, 23);
    let expected = records(&*disk).expect("whole");
    let snapshot = begin(&disk, 23);
    for n in 24..=40 {
        append(&mut writer, &put(n, &document(n, 700)));
    }
    sync(&*disk, &mut writer);
    let (sealed, next) = writer.sealed(writer.durable());
    let output = Output {
        segment_bytes: 4096,
        bytes_max: 4096,
    };
    let run = any_run(&sealed, next, &LiveBytes::default(), output, 0, 4).expect("fits");
    let mut rewrite = Rewrite::begin(Arc::clone(&disk), run, Lsn(40), None).expect("begins");
    while let Some(slice) = rewrite.read(4096).expect("reads") {
        let gone = vec![None; slice.records().len()];
        rewrite.keep(&slice, &gone).expect("keeps nothing");
    }
    let segment = rewrite.install().expect("installs");
    let copy = Scratch::new("snapshot-compacted-copy");
    // The files of the run but the first are still there, and then they are not.
    let later = begin(&disk, 40);
    for job in writer.replace_run(segment) {
        job.run().expect("removes");
    }
    unpack(&stream(snapshot, 4096), copy.path());
    let reader = Reader::open(copy.path()).expect("opens");
    assert_eq!(records(&reader).expect("whole"), expected);
    for snapshot in [later, begin(&disk, 40)] {
        unpack(&stream(snapshot, 4096), copy.path());
        let reader = Reader::open(copy.path()).expect("opens");
        assert_eq!(
            records(&reader).expect("whole"),
            records(&*disk).expect("whole")
        );
    }
}

#[test]
fn of_a_group_it_holds_all_records_or_none() {
    let scratch = Scratch::new("snapshot-group");
    let (disk, mut writer) = log(&scratch, 1);
    append_group(&mut writer, &[2, 3, 4].map(|n| put(n, &document(n, 60))));
    sync(&*disk, &mut writer);
    let copy = Scratch::new("snapshot-group-copy");
    for (through, expected) in [(1, 1), (2, 1), (3, 1), (4, 4)] {
        unpack(&stream(begin(&disk, through), 4096), copy.path());
        let reader = Reader::open(copy.path()).expect("opens");
        assert_eq!(
            records(&reader).expect("whole").len(),
            expected,
            "{through}"
        );
    }
}

#[test]
fn a_stream_cut_anywhere_makes_no_directory_that_is_taken_for_whole() {
    let scratch = Scratch::new("snapshot-cut");
    let (disk, _) = log(&scratch, 9);
    let whole = stream(begin(&disk, 9), 4096);
    let copy = Scratch::new("snapshot-cut-copy");
    let end = whole.len() - index_of(2 * BLOCK_BYTES);
    // From the first byte of what says that it is a backup.
    for cut in (513..end).step_by(61).chain(end - 9..end) {
        unpack(&whole[..cut], copy.path());
        let reader = Reader::open(copy.path()).expect("opens");
        let error = records(&reader).expect_err("not whole");
        assert!(
            matches!(error, RecoveryError::Backup { .. }),
            "cut at {cut}: {error}"
        );
        assert!(Directory::open(copy.path()).is_ok());
    }
    unpack(&whole[..end], copy.path());
    let reader = Reader::open(copy.path()).expect("opens");
    assert_eq!(records(&reader).expect("whole").len(), 9);
}

#[test]
fn every_flipped_byte_of_a_copy_is_noticed() {
    let scratch = Scratch::new("snapshot-flip");
    let (disk, _) = log(&scratch, 5);
    let copy = Scratch::new("snapshot-flip-copy");
    unpack(&stream(begin(&disk, 5), 4096), copy.path());
    for entry in fs::read_dir(copy.path()).expect("readable") {
        let path = entry.expect("an entry").path();
        let whole = fs::read(&path).expect("reads");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).expect("writes");
            let reader = Reader::open(copy.path()).expect("opens");
            assert!(records(&reader).is_err(), "{} at {at}", path.display());
        }
        fs::write(&path, &whole).expect("writes");
    }
    // The power went: the last file has its length, and nothing in it.
    let last = survey(&Reader::open(copy.path()).expect("opens")).expect("whole");
    let last = last.segments.last().expect("one").number;
    let path = copy.path().join(last.to_string());
    let whole = fs::read(&path).expect("reads");
    let start = index_of(SEGMENT_HEADER_BYTES.into());
    let mut zeros = whole.clone();
    zeros[start..].fill(0);
    fs::write(&path, &zeros).expect("writes");
    let error = records(&Reader::open(copy.path()).expect("opens"));
    assert!(
        matches!(error, Err(RecoveryError::Backup { .. })),
        "{error:?}"
    );
    // What is damaged before the mark is no torn tail.
    let mut flipped = whole;
    flipped[start + 60] ^= 1;
    fs::write(&path, &flipped).expect("writes");
    let error = records(&Reader::open(copy.path()).expect("opens"));
    let is_damage = matches!(error, Err(RecoveryError::Damaged { offset, .. }) if index_of(offset.into()) == start);
    assert!(is_damage, "{error:?}");
}

#[test]
fn a_log_of_more_files_than_may_be_opened_is_told() {
    let scratch = Scratch::new("snapshot-many");
    let (disk, writer) = log(&scratch, 23);
    let max = writer.segments().len() - 1;
    let error = Snapshot::open(&disk, max, &|| Lsn(23)).expect_err("too many");
    assert!(error.to_string().contains("ulimit -n"), "{error}");
}

#[test]
fn zeros_in_the_middle_of_the_last_segment_are_damage() {
    let scratch = Scratch::new("snapshot-zeros");
    let (disk, writer) = log(&scratch, 3);
    let last = writer.segments().last().expect("one");
    let file = File::options()
        .write(true)
        .open(disk.path(last.number))
        .expect("opens");
    let from = u64::from(SEGMENT_HEADER_BYTES);
    file.write_all_at(&[0; 2000], from).expect("writes");
    let mut snapshot = begin(&disk, 3);
    let error = snapshot.read(4096, &mut Vec::new()).expect_err("damaged");
    assert!(
        matches!(error, SnapshotError::Log(FollowError::Damaged { .. })),
        "{error}"
    );
}

/// Replaces the files one after the other, again and again: at each instant those before some
/// place are one generation ahead of those behind it.
#[test]
fn all_files_of_a_snapshot_had_their_names_at_one_instant() {
    const SEGMENTS: u32 = 12;
    let scratch = Scratch::new("snapshot-instant");
    let disk = Directory::open(scratch.path()).expect("opens");
    let replace = |number: u32, generation: u64| {
        let header = SegmentHeader {
            number: SegmentNumber(number),
            first_lsn: Lsn(number.into()),
            floors: Floors {
                version: Version(generation),
                chosen_id: 0,
            },
            bytes: SEGMENT_HEADER_BYTES,
            compacted: None,
        };
        let new = scratch.path().join("new");
        fs::write(&new, header.encode()).expect("writes");
        fs::rename(&new, disk.path(header.number)).expect("renames");
    };
    let sweep = |generation| (1..=SEGMENTS).for_each(|number| replace(number, generation));
    sweep(0);
    for generation in 1..=300 {
        let sources = std::thread::scope(|scope| {
            scope.spawn(|| sweep(generation));
            let mut looks = std::iter::repeat_with(|| open_all(&disk, 1000));
            looks.find_map(|opened| opened.expect("opens"))
        });
        let sources = sources.expect("the sweep ends");
        let found: Vec<u64> = (sources.iter())
            .map(|source| source.header.floors.version.0)
            .collect();
        assert_eq!(found.len(), index_of(SEGMENTS.into()));
        assert!(found.is_sorted_by(|a, b| a >= b), "{found:?}");
    }
}

fn index_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("short")
}
