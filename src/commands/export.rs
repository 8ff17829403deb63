//! `oxdaas export`: the documents of a data directory, one a line, as `import` takes them.
//!
//! Two passes over the log, each by all CPUs. First each thread learns which records of its ids
//! are the latest, as recovery does; then each writes out the segments that are its turn, and
//! they are joined in the order of the log. Memory is that of the ids, and of a segment for each
//! thread.

use std::{
    collections::HashMap,
    io::{self, Write},
    num::NonZero,
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use super::progress::Progress;
use crate::{
    api::write_line,
    id::{CoreId, Id},
    limits::{CORES_MAX, EXPORT_CHUNK_BYTES, EXPORT_QUEUE_CHUNKS},
    log::{
        Kind, Lsn, Reader, RecoveryError, Segments, Successor, Survey, Verdict, scan_all,
        scan_segment, survey,
    },
    op::Expiry,
};

/// The options of `export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// The data directory; no server may be using it
    #[arg(default_value = "./oxdaas-data", env = "OXDAAS_DATA_DIR")]
    dir: PathBuf,
}

/// What was exported.
struct Exported {
    documents: usize,
    /// The last record that it shows.
    through: Lsn,
}

/// Why it was not.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error("{0} cannot be read again: {1}")]
    Segment(PathBuf, io::Error),
    #[error("{0} changed while it was read; export a directory that nothing writes to")]
    Changed(PathBuf),
    #[error("standard output: {0}")]
    Output(io::Error),
}

/// Prints every document; 0: all of them, 1: the directory is damaged or could not be read.
pub fn export(args: &ExportArgs) -> ExitCode {
    let reader = match Reader::open(&args.dir) {
        Ok(reader) => reader,
        Err(error) => return fail(&error),
    };
    match write_documents(&reader, &mut io::stdout().lock()) {
        Ok(Exported { documents, through }) => {
            eprintln!("{documents} documents, as of log position {}", through.0);
            ExitCode::SUCCESS
        }
        // The reader has seen enough, as `head` does.
        Err(ExportError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

/// Writes a line for each document to `out`.
fn write_documents(reader: &Reader, out: &mut dyn Write) -> Result<Exported, ExportError> {
    let survey = survey(reader)?;
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = u16::try_from(threads.min(CORES_MAX)).expect("CORES_MAX fits 16 bits");
    let (latest, verdict) = Latest::learn(reader, &survey, threads)?;
    let documents = latest.documents();
    let progress = Progress::new(survey.segments.len());
    let written = thread::scope(|scope| {
        let lanes: Vec<Receiver<Piece>> = (0..threads)
            .map(|thread| {
                let (pieces, lane) = mpsc::sync_channel(EXPORT_QUEUE_CHUNKS);
                let (latest, survey) = (&latest, &survey);
                let turns = (usize::from(thread)..survey.segments.len()).step_by(threads.into());
                scope.spawn(move || write_segments(reader, survey, latest, turns, &pieces));
                lane
            })
            .collect();
        join(&lanes, survey.segments.len(), &progress, out)
    });
    progress.finish();
    if written? != documents {
        return Err(ExportError::Changed(reader.directory().to_owned()));
    }
    Ok(Exported {
        documents,
        through: verdict.last(),
    })
}

/// The latest record of each document, by the thread that owns its id.
struct Latest(Vec<HashMap<Id, Lsn>>);

impl Latest {
    /// Reads the log once on each thread, which keeps what it owns.
    fn learn(
        reader: &Reader,
        survey: &Survey,
        threads: u16,
    ) -> Result<(Latest, Verdict), RecoveryError> {
        let learnt: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || learn_share(reader, survey, thread, threads)))
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("reading returns its errors"))
                .collect()
        });
        let mut shares = Vec::new();
        let mut verdict = None;
        for share in learnt {
            let (share, found) = share?;
            shares.push(share);
            verdict = Some(found);
        }
        let verdict = verdict.expect("there is at least one thread");
        Ok((Latest(shares), verdict))
    }

    fn documents(&self) -> usize {
        self.0.iter().map(HashMap::len).sum()
    }

    fn is(&self, id: &Id, lsn: Lsn) -> bool {
        let threads = u16::try_from(self.0.len()).expect("as many as threads");
        let share = CoreId::owner(id.placement(), threads);
        self.0[usize::from(share.0)].get(id) == Some(&lsn)
    }
}

fn learn_share(
    reader: &Reader,
    survey: &Survey,
    thread: u16,
    threads: u16,
) -> Result<(HashMap<Id, Lsn>, Verdict), RecoveryError> {
    let mut latest = HashMap::new();
    let verdict = scan_all(reader, survey, &mut |record, _| {
        let id = record.id.to_id();
        if CoreId::owner(id.placement(), threads) != CoreId(thread) {
            return;
        }
        match record.kind {
            Kind::Put => drop(latest.insert(id, record.lsn)),
            Kind::Delete => drop(latest.remove(&id)),
            Kind::Mark => {}
        }
    })?;
    Ok((latest, verdict))
}

/// What a thread hands over of a segment.
enum Piece {
    /// Lines, and how many there are.
    Lines(Vec<u8>, usize),
    /// The segment has no more.
    End,
    /// It cannot be read.
    Fault(ExportError),
}

/// Hands over the lines of the segments `turns`, one after the other, until nobody takes them.
fn write_segments(
    reader: &Reader,
    survey: &Survey,
    latest: &Latest,
    turns: impl Iterator<Item = usize>,
    pieces: &SyncSender<Piece>,
) {
    let mut bytes = Vec::new();
    for turn in turns {
        let header = &survey.segments[turn];
        if let Err(error) = reader.read(header.number, &mut bytes) {
            let fault = ExportError::Segment(reader.path(header.number), error);
            // Nobody listens any more when the output has failed.
            let _ = pieces.send(Piece::Fault(fault));
            return;
        }
        let successor = match survey.segments.get(turn + 1) {
            Some(_) => Successor::Exists,
            None => Successor::None,
        };
        let (mut lines, mut count) = (Vec::with_capacity(EXPORT_CHUNK_BYTES), 0);
        scan_segment(&bytes, header, successor, &mut |record, _| {
            let id = record.id.to_id();
            if record.kind != Kind::Put || !latest.is(&id, record.lsn) {
                return;
            }
            let expiry = Expiry::of_record(record.expires_at_ms);
            write_line(&id, record.document, expiry, &mut lines);
            count += 1;
            if lines.len() >= EXPORT_CHUNK_BYTES {
                let full = std::mem::replace(&mut lines, Vec::with_capacity(EXPORT_CHUNK_BYTES));
                let _ = pieces.send(Piece::Lines(full, std::mem::take(&mut count)));
            }
        });
        let _ = pieces.send(Piece::Lines(lines, count));
        if pieces.send(Piece::End).is_err() {
            return;
        }
    }
}

/// Writes what the threads hand over in the order of the segments; how many lines it was.
fn join(
    lanes: &[Receiver<Piece>],
    segments: usize,
    progress: &Progress,
    out: &mut dyn Write,
) -> Result<usize, ExportError> {
    let mut written = 0;
    for segment in 0..segments {
        let lane = &lanes[segment % lanes.len()];
        loop {
            match lane.recv().expect("a thread ends each of its segments") {
                Piece::Lines(lines, count) => {
                    out.write_all(&lines).map_err(ExportError::Output)?;
                    written += count;
                }
                Piece::End => break,
                Piece::Fault(fault) => return Err(fault),
            }
        }
        progress.step();
    }
    out.flush().map_err(ExportError::Output)?;
    Ok(written)
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("oxdaas: {error}");
    ExitCode::FAILURE
}
