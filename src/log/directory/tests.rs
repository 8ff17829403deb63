use super::*;
use crate::log::{
    plan::Run,
    position::{Lsn, index},
    rewrite::Rewrite,
    testing::{FIRST, Scratch, append, close, document, open, put, restart, sync},
};

#[test]
fn a_log_in_a_directory_is_the_same_after_a_restart() {
    let scratch = Scratch::new("restart");
    let path = scratch.path().join("new/data");
    let disk = Arc::new(Directory::open(&path).expect("creates"));
    let mut writer = open(&disk);
    let documents: Vec<_> = (1..=12).map(|n| document(n, 900)).collect();
    for (n, document) in (1..).zip(&documents) {
        append(&mut writer, &put(n, document));
        if let Some(job) = writer.begin_spare() {
            writer.finish_spare(job.run());
        }
    }
    close(&*disk, &mut writer);
    drop((writer, disk));
    fs::write(path.join("notes.tmp"), "keep").expect("writes");
    fs::write(path.join("0000000007.tmp"), "remove").expect("writes");
    let disk = Arc::new(Directory::open(&path).expect("opens again"));
    let (found, verdict) = restart(&*disk).expect("recovers");
    assert_eq!(found, documents);
    assert!(verdict.closed);
    let mut names: Vec<_> = fs::read_dir(&path)
        .expect("lists")
        .map(|entry| {
            entry
                .expect("lists")
                .file_name()
                .into_string()
                .expect("ASCII")
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "0000000001.seg",
            "0000000002.seg",
            "0000000003.seg",
            "LOCK",
            "notes.tmp"
        ]
    );
}

#[test]
fn a_torn_tail_in_a_file_is_zeroed_and_the_file_keeps_its_length() {
    let scratch = Scratch::new("torn");
    let disk = Arc::new(Directory::open(scratch.path()).expect("opens"));
    let mut writer = open(&disk);
    for n in 1..=3 {
        append(&mut writer, &put(n, &document(n, 456)));
    }
    sync(&*disk, &mut writer);
    drop(writer);
    // Record 2 loses a byte; no later record saw it durable.
    let path = disk.path(FIRST);
    let mut bytes = fs::read(&path).expect("reads");
    bytes[64 + 512 + 100] ^= 1;
    fs::write(&path, &bytes).expect("writes");
    let (found, verdict) = restart(&*disk).expect("a torn tail");
    assert_eq!(found, [document(1, 456)]);
    let cut = verdict.cut.expect("a torn tail");
    assert!(
        cut.to_string().contains("0000000001.seg: cut 1024 bytes"),
        "{cut}"
    );
    let repaired = fs::read(&path).expect("reads");
    assert_eq!(repaired.len(), bytes.len());
    assert_eq!(repaired[..64 + 512], bytes[..64 + 512]);
    assert!(repaired[64 + 512..].iter().all(|&byte| byte == 0));
}

#[test]
fn zeros_are_written_where_they_are_asked_for_and_nowhere_else() {
    let scratch = Scratch::new("zeros");
    let path = scratch.path().join("file");
    fs::write(&path, vec![7; 200_000]).expect("writes");
    let file = OpenOptions::new().write(true).open(&path).expect("opens");
    write_zeros(&file, 10, 150_000).expect("writes");
    let bytes = fs::read(&path).expect("reads");
    assert_eq!(bytes.len(), 200_000);
    assert!(
        bytes
            .iter()
            .enumerate()
            .all(|(at, &byte)| byte == if (10..150_010).contains(&at) { 0 } else { 7 })
    );
}

#[test]
fn a_directory_in_use_names_its_holder() {
    let scratch = Scratch::new("lock");
    let first = Directory::open(scratch.path()).expect("opens");
    let error = Directory::open(scratch.path()).expect_err("in use");
    let expected = format!("is locked, in use by process {};", std::process::id());
    assert!(error.to_string().contains(&expected), "{error}");
    drop(first);
    Directory::open(scratch.path()).expect("free again");
}

#[test]
fn what_is_not_a_directory_is_refused() {
    let scratch = Scratch::new("file");
    let path = scratch.path().join("file");
    fs::write(&path, "").expect("writes");
    for path in [path.clone(), path.join("below")] {
        let error = Directory::open(&path).expect_err("a file");
        assert!(matches!(error, DirectoryError::NotADirectory(_)), "{error}");
    }
}

#[test]
fn a_directory_without_permission_is_refused_as_not_writable() {
    for kind in [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
    ] {
        let error = refusal(Path::new("data"), kind.into());
        assert!(
            error.to_string().starts_with("data is not writable"),
            "{error}"
        );
    }
}

#[test]
fn a_spare_that_is_not_used_gives_its_space_back() {
    let scratch = Scratch::new("spare");
    let disk = Directory::open(scratch.path()).expect("opens");
    let spare = disk.allocate(8192).expect("allocates");
    let path = spare.path.clone();
    assert_eq!(fs::metadata(&path).expect("exists").len(), 8192);
    drop(spare);
    assert!(!path.exists());
}

#[test]
fn a_segment_reads_as_zeros_after_its_header() {
    let scratch = Scratch::new("install");
    let disk = Directory::open(scratch.path()).expect("opens");
    let spare = disk.allocate(4096).expect("allocates");
    let header = [9; 64];
    disk.install(spare, FIRST, &header).expect("installs");
    let mut bytes = Vec::new();
    disk.read(FIRST, &mut bytes).expect("reads");
    assert_eq!(bytes.len(), 4096);
    assert_eq!(bytes[..index(SEGMENT_HEADER_BYTES)], header);
    assert!(bytes[64..].iter().all(|&byte| byte == 0));
    let head = disk.head(FIRST).expect("reads");
    assert_eq!((head.bytes, head.length), (header.to_vec(), 4096));
}

#[test]
fn a_run_of_files_is_rewritten_as_one() {
    let scratch = Scratch::new("rewrite");
    let disk = Arc::new(Directory::open(scratch.path()).expect("opens"));
    let mut writer = open(&disk);
    let documents: Vec<_> = (1..=9).map(|n| document(n, 900)).collect();
    for (n, document) in (1..).zip(&documents) {
        append(&mut writer, &put(n, document));
    }
    sync(&*disk, &mut writer);
    let (segments, next) = writer.sealed(writer.appended());
    assert_eq!((segments.len(), next.0), (2, 9));
    let run = Run {
        segments,
        kept_bytes_max: 4000,
        hides_nothing_through: Lsn::NONE,
    };
    let mut rewrite =
        Rewrite::begin(Arc::clone(&disk), run, writer.appended(), None).expect("there is room");
    while let Some(slice) = rewrite.read(4096).expect("reads") {
        // Records have their own number as version; the even ones are live.
        let live = slice.records().iter().map(|record| {
            let version = record.version;
            version.0.is_multiple_of(2).then_some(version)
        });
        rewrite
            .keep(&slice, &live.collect::<Vec<_>>())
            .expect("writes");
    }
    let compacted = rewrite.install().expect("installs");
    assert_eq!(compacted.records, 4);
    let length = fs::metadata(disk.path(FIRST)).expect("exists").len();
    assert_eq!(length, u64::from(compacted.used_bytes));
    for job in writer.replace_run(compacted) {
        job.run().expect("removes");
    }
    assert_eq!(disk.list().expect("lists").len(), 2);
    drop(writer);
    let (found, verdict) = restart(&*disk).expect("recovers");
    let kept = [1, 3, 5, 7, 8].map(|position| documents[position].clone());
    assert_eq!(found, kept);
    assert_eq!(verdict.segments[0], compacted);
}
