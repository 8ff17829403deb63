//! `oxdaas repair`: what is whole in a damaged data directory, as a new one.
//!
//! The damaged directory is only read. The new one holds the latest whole record
//! of each id, in log order; what could not be read is listed. Files that a whole
//! compacted segment stands for are passed over: removals that hid their records
//! may be gone.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use super::progress::Progress;
use crate::{
    id::Id,
    limits::SEGMENT_BYTES_DEFAULT,
    log::{
        AppendError, Directory, Disk, Draft, Flags, Floors, Gap, Kind, Lsn, Reader, Room,
        SegmentHeader, Segments, Writer, encode, recover, salvage_segment,
    },
    op::Version,
};

/// The options of `repair`.
#[derive(Clone, Debug, clap::Args)]
pub struct RepairArgs {
    /// The damaged data directory; it is not changed
    dir: PathBuf,

    /// The directory to create with what is whole; it must be empty or missing
    new_dir: PathBuf,
}

/// The latest whole record of an id.
struct Kept {
    lsn: Lsn,
    version: Version,
    chosen: bool,
    expires_at_ms: u64,
    /// `None`: the document is deleted.
    document: Option<Vec<u8>>,
}

struct Salvaged {
    latest: HashMap<Id, Kept>,
    /// What records, marks and whole headers say that was given out.
    floors: Floors,
    gaps: Vec<(PathBuf, Gap)>,
    /// Records at the end that belong to a group without its end.
    open_group: usize,
    unreadable: Vec<(PathBuf, io::Error)>,
}

/// Brings over what is whole; 0: done (with a list of what was lost), 1: not done.
pub fn repair(args: &RepairArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oxdaas: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RepairArgs) -> Result<(), String> {
    let reader = Reader::open(&args.dir).map_err(|error| error.to_string())?;
    check_empty(&args.new_dir)?;
    let salvaged = salvage(&reader).map_err(|error| format!("{}: {error}", args.dir.display()))?;
    for (path, gap) in &salvaged.gaps {
        println!(
            "lost: {} at offset {}: {} bytes that are no record",
            path.display(),
            gap.at.offset,
            gap.bytes
        );
    }
    if salvaged.open_group > 0 {
        println!(
            "left out: {} records at the end of the log, of a batch that was never acknowledged",
            salvaged.open_group
        );
    }
    for (path, error) in &salvaged.unreadable {
        println!("lost: {}: {error}", path.display());
    }
    let documents = salvaged
        .latest
        .values()
        .filter(|kept| kept.document.is_some())
        .count();
    write(&args.new_dir, salvaged)?;
    println!(
        "{documents} documents are in {new}; start with 'oxdaas serve --data-dir {new}'. A lost record may have been newer than what is there, or a removal",
        new = args.new_dir.display()
    );
    Ok(())
}

fn check_empty(new: &Path) -> Result<(), String> {
    match fs::read_dir(new).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", new.display())),
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "{} is not empty; give a directory that is, or does not exist",
            new.display()
        )),
    }
}

fn salvage(reader: &Reader) -> io::Result<Salvaged> {
    let numbers = reader.list()?;
    let mut salvaged = Salvaged {
        latest: HashMap::new(),
        floors: Floors::NONE,
        gaps: Vec::new(),
        open_group: 0,
        unreadable: Vec::new(),
    };
    let mut superseded_through = None;
    let progress = Progress::new(numbers.len());
    let mut bytes = Vec::new();
    let last = numbers.last().copied();
    for number in numbers {
        progress.step();
        if Some(number) <= superseded_through {
            continue;
        }
        let path = reader.path(number);
        if let Err(error) = reader.read(number, &mut bytes) {
            salvaged.unreadable.push((path, error));
            continue;
        }
        let Salvaged {
            latest,
            floors,
            gaps,
            open_group,
            ..
        } = &mut salvaged;
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            floors.raise(header.floors);
            superseded_through = header.compacted.map(|compacted| compacted.through);
        }
        // Records of a group whose end was not seen yet.
        let mut group: Vec<(Id, Kept)> = Vec::new();
        let found = salvage_segment(&bytes, number, &mut |record, _| {
            floors.observe(record);
            let id = record.id.to_id();
            let chosen = record.flags.contain(Flags::CHOSEN_BY_SERVER);
            let document = match record.kind {
                Kind::Put => Some(record.document.to_vec()),
                Kind::Delete => None,
                Kind::Mark => return,
            };
            let kept = Kept {
                lsn: record.lsn,
                version: record.version,
                chosen,
                expires_at_ms: record.expires_at_ms,
                document,
            };
            group.push((id, kept));
            if Some(number) == last && record.flags.contain(Flags::GROUPED) {
                return;
            }
            for (id, kept) in group.drain(..) {
                match latest.get_mut(&id) {
                    Some(before) if before.version >= kept.version => {}
                    Some(before) => *before = kept,
                    None => drop(latest.insert(id, kept)),
                }
            }
        });
        // Never acknowledged, and a part of it is worse than nothing.
        *open_group = group.len();
        gaps.extend(found.into_iter().map(|gap| (path.clone(), gap)));
    }
    progress.finish();
    Ok(salvaged)
}

/// Writes the records as a log of their own, cleanly closed.
fn write(new: &Path, salvaged: Salvaged) -> Result<(), String> {
    let directory = Arc::new(Directory::open(new).map_err(|error| error.to_string())?);
    let mut verdict = recover(&*directory, &mut |_, _| {}).map_err(|error| error.to_string())?;
    // The first header repeats them, so that none is given out again.
    verdict.floors.raise(salvaged.floors);
    let mut writer = Writer::open(Arc::clone(&directory), &verdict, SEGMENT_BYTES_DEFAULT)
        .map_err(|error| error.to_string())?;
    let mut kept: Vec<(Id, Kept)> = salvaged.latest.into_iter().collect();
    kept.sort_by_key(|(_, kept)| kept.lsn);
    let mut draft = Vec::new();
    for (id, kept) in &kept {
        draft.clear();
        encode(
            &mut draft,
            &Draft {
                kind: if kept.document.is_some() {
                    Kind::Put
                } else {
                    Kind::Delete
                },
                flags: if kept.chosen {
                    Flags::CHOSEN_BY_SERVER
                } else {
                    Flags::NONE
                },
                version: kept.version,
                expires_at_ms: kept.expires_at_ms,
                id,
                document: kept.document.as_deref().unwrap_or_default(),
            },
        );
        append(&mut writer, &draft)?;
    }
    sync(&directory, &mut writer)?;
    match writer.close() {
        Ok(()) => sync(&directory, &mut writer),
        // As after a crash, which is no less whole.
        Err(AppendError::NoRoom) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn append(writer: &mut Writer<Directory>, draft: &[u8]) -> Result<(), String> {
    let bytes = u32::try_from(draft.len()).expect("a record is far below 4 GiB");
    if writer.needs_roll(bytes) {
        let result = writer
            .begin_roll(bytes, Room::Free)
            .map_err(|error| error.to_string())?
            .run();
        writer
            .finish_roll(result)
            .map_err(|error| error.to_string())?;
    }
    writer
        .append(draft)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn sync(directory: &Directory, writer: &mut Writer<Directory>) -> Result<(), String> {
    let target = writer.begin_sync().map_err(|error| error.to_string())?;
    directory
        .sync(&target.file)
        .map_err(|error| format!("{}: {error}", target.path.display()))?;
    writer.finish_sync();
    Ok(())
}
