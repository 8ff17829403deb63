//! `oxdaas check`: reads a whole data directory and says what it holds; changes nothing.

use std::{collections::HashMap, path::PathBuf, process::ExitCode};

use super::progress::Progress;
use crate::{
    id::Id,
    log::{Kind, Reader, SegmentNumber, Segments, salvage_segment, scan_all, survey},
};

/// The options of `check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The data directory; no server may be using it
    dir: PathBuf,
}

/// Exit code of a directory that is damaged.
const DAMAGED: u8 = 1;
/// Exit code when the directory could not be read.
const COULD_NOT_RUN: u8 = 2;

/// What one segment holds.
#[derive(Default)]
struct Tally {
    records: u64,
    record_bytes: u64,
}

/// Where the latest record of an id lies, and its length; `None`: it is deleted.
type Latest = HashMap<Id, Option<(SegmentNumber, u64)>>;

/// Reads everything and reports it; 0: clean, 1: damaged, 2: could not run.
pub fn check(args: &CheckArgs) -> ExitCode {
    let reader = match Reader::open(&args.dir) {
        Ok(reader) => reader,
        Err(error) => return could_not_run(&error),
    };
    let numbers = match reader.list() {
        Ok(numbers) => numbers,
        Err(error) => return could_not_run(&format!("{}: {error}", args.dir.display())),
    };
    let mut tallies: HashMap<SegmentNumber, Tally> = HashMap::new();
    let mut latest = Latest::new();
    let progress = Progress::new(numbers.len());
    let verdict = survey(&reader).and_then(|survey| {
        scan_all(&reader, &survey, &mut |record, location| {
            let tally = tallies.entry(location.segment).or_default();
            if tally.records == 0 {
                progress.step();
            }
            let bytes = u64::from(record.encoded_bytes());
            tally.records += 1;
            tally.record_bytes += bytes;
            match record.kind {
                Kind::Put => latest.insert(record.id.to_id(), Some((location.segment, bytes))),
                Kind::Delete => latest.insert(record.id.to_id(), None),
                Kind::Mark => None,
            };
        })
    });
    progress.finish();
    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(error) => {
            eprintln!("oxdaas: {error}");
            report_gaps(&reader, &numbers);
            return ExitCode::from(DAMAGED);
        }
    };
    let mut live: HashMap<SegmentNumber, u64> = HashMap::new();
    for (segment, bytes) in latest.values().flatten() {
        *live.entry(*segment).or_default() += bytes;
    }
    for segment in &verdict.segments {
        let used = tallies
            .get(&segment.number)
            .map_or(0, |tally| tally.record_bytes);
        let live = live.get(&segment.number).copied().unwrap_or(0);
        let stands_for = match segment.compacted {
            None => String::new(),
            Some(compacted) => format!(" (compacted, stands for all up to {})", compacted.through),
        };
        println!(
            "{number}{stands_for}: {records} records from {first}, {live} bytes live, {dead} bytes dead, {free} bytes free",
            number = segment.number,
            records = segment.records,
            first = segment.first_lsn,
            dead = used - live,
            free = segment.bytes - segment.used_bytes,
        );
    }
    for number in &verdict.superseded {
        println!(
            "{number}: left over from a crash in a compaction, to be removed at the next start"
        );
    }
    if let Some(cut) = &verdict.cut {
        println!("torn tail, to be cut at the next start: {cut}");
    }
    if let Some(last) = verdict.backup {
        println!("a whole backup, as of log position {}", last.0 - 1);
    }
    println!(
        "clean: {segments} segments, {records} records, {documents} documents, {live} bytes live, highest version {version}, highest id chosen {id}, closed {closed}",
        segments = verdict.segments.len(),
        records = verdict.records(),
        documents = latest.values().flatten().count(),
        live = live.values().sum::<u64>(),
        version = verdict.floors.version.0,
        id = verdict.floors.chosen_id,
        closed = if verdict.closed {
            "cleanly"
        } else {
            "by a crash"
        },
    );
    ExitCode::SUCCESS
}

/// Where no whole record stands, in every segment: what `repair` could not bring over.
fn report_gaps(reader: &Reader, numbers: &[SegmentNumber]) {
    let mut bytes = Vec::new();
    for &number in numbers {
        let path = reader.path(number);
        if let Err(error) = reader.read(number, &mut bytes) {
            eprintln!("{}: {error}", path.display());
            continue;
        }
        let mut records = 0_u64;
        let gaps = salvage_segment(&bytes, number, &mut |_, _| records += 1);
        eprintln!("{}: {records} whole records", path.display());
        for gap in gaps {
            eprintln!(
                "{} at offset {}: {} bytes that are no record",
                path.display(),
                gap.at.offset,
                gap.bytes
            );
        }
    }
}

fn could_not_run(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("oxdaas: {error}");
    ExitCode::from(COULD_NOT_RUN)
}
