//! `oxdaas import`: documents from lines of JSON into a running server.
//!
//! One thread reads lines, checks them, and deals them out to lanes by their ids; each lane is a
//! thread with a connection that sends batches, one after the other. So lines of one id arrive
//! in their order, and the later one wins. This thread shows how far it is, and ends it.

mod feed;
mod lane;
mod place;
mod rejects;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use self::{
    feed::Feed,
    lane::{Lane, Stop},
    place::{Place, Saved, Tally, Tracker},
    rejects::Rejects,
};
use super::{
    client::{Client, ClientArgs, Method},
    progress::Meter,
};
use crate::limits::{IMPORT_CONNECTIONS_DEFAULT, IMPORT_CONNECTIONS_MAX, IMPORT_QUEUE_BATCHES};

/// The options of `import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    #[command(flatten)]
    client: ClientArgs,

    /// The file with one {"id":...,"data":...} a line; - for standard input
    file: PathBuf,

    /// Connections to the server
    #[arg(long, value_name = "N", default_value_t = IMPORT_CONNECTIONS_DEFAULT,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(IMPORT_CONNECTIONS_MAX)))]
    connections: u16,

    /// Keep in FILE.progress how far it is, and go on from there if that file exists
    #[arg(long, conflicts_with = "skip")]
    resume: bool,

    /// Leave out so many lines at the start
    #[arg(long, value_name = "LINES", default_value_t = 0)]
    skip: u64,

    /// List the lines that were not stored in this file, not on standard error
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

/// Exit code when lines were rejected.
const SOME_REJECTED: u8 = 1;
/// Exit code when it could not run, or not to its end.
const COULD_NOT_RUN: u8 = 2;

/// How often the terminal shows how far it is, and the end is looked for.
const TICK: Duration = Duration::from_millis(100);
/// How often the file with the progress is written.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What the threads report.
enum Event {
    /// There are no more lines, or they cannot be read.
    FeedEnded(io::Result<()>),
    /// A connection has no more to send.
    LaneEnded(Result<(), String>),
    /// The user wants it to end.
    Interrupted,
}

/// Imports the file; 0: every line is stored, 1: some were rejected, 2: it did not run to its end.
pub fn import(args: &ImportArgs) -> ExitCode {
    match run(args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("oxdaas: {message}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn run(args: &ImportArgs) -> Result<ExitCode, String> {
    let state = match (args.resume, args.file == Path::new("-")) {
        (true, true) => {
            return Err("--resume needs a file; for standard input there is --skip".to_owned());
        }
        (true, false) => Some(place::state_path(&args.file)),
        (false, _) => None,
    };
    let saved = match &state {
        Some(path) => Saved::load(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => None,
    };
    let began_at = saved.map_or(Place::default(), |saved| saved.place);
    let (input, total_bytes) =
        open(&args.file, began_at).map_err(|error| format!("{}: {error}", args.file.display()))?;
    // A server that is not there is said before anything is read.
    let client = Client::new(&args.client).map_err(|error| error.to_string())?;
    client
        .send(Method::Get, "/healthz", None)
        .map_err(|error| error.to_string())?;
    let rejects = Rejects::open(
        args.rejects.as_deref(),
        saved.map(|saved| saved.place.lines),
    )
    .map_err(|error| {
        let path = args
            .rejects
            .as_deref()
            .unwrap_or(Path::new("standard error"));
        format!("{}: {error}", path.display())
    })?;
    let tally = Arc::new(Tally::new(
        Tracker::new(args.connections.into(), began_at),
        saved.unwrap_or_default(),
        rejects,
    ));

    let (events, happened) = mpsc::channel();
    let stop = Arc::new(Stop::default());
    watch_signals(events.clone()).map_err(|error| error.to_string())?;
    let mut queues = Vec::new();
    for number in 0..usize::from(args.connections) {
        let (queue, batches) = mpsc::sync_channel(IMPORT_QUEUE_BATCHES);
        queues.push(queue);
        // One of its own: the connections that clones share are few.
        let client = Client::new(&args.client).map_err(|error| error.to_string())?;
        let lane = Lane::new(number, client, Arc::clone(&tally), Arc::clone(&stop));
        let events = events.clone();
        std::thread::spawn(move || {
            let ended = lane.run(&batches);
            drop(batches);
            // Nobody listens any more only when the command is over.
            let _ = events.send(Event::LaneEnded(ended));
        });
    }
    let feed = Feed::new(input, began_at, args.skip, queues, Arc::clone(&tally));
    std::thread::spawn(move || {
        let _ = events.send(Event::FeedEnded(feed.run()));
    });

    let import = Import {
        meter: Meter::new(total_bytes),
        tally,
        state,
        stop,
        began: Instant::now(),
    };
    let ended = import.follow(&happened, args.connections);
    import.report(ended)
}

/// An import under way.
struct Import {
    meter: Meter,
    tally: Arc<Tally>,
    state: Option<PathBuf>,
    stop: Arc<Stop>,
    began: Instant,
}

impl Import {
    /// Shows and saves how far it is until all lanes are done; the first fault that ended it.
    fn follow(&self, happened: &mpsc::Receiver<Event>, lanes: u16) -> Result<(), String> {
        let mut result = Ok(());
        let mut lanes_running = lanes;
        let mut is_fed = false;
        let mut saved_at = Instant::now();
        let mut fail = |message: String| {
            self.stop.raise();
            if result.is_ok() {
                result = Err(message);
            }
        };
        // A reader that waits for input is left behind when it was stopped.
        while lanes_running > 0 || !(is_fed || self.stop.is_raised()) {
            match happened.recv_timeout(TICK) {
                Ok(Event::LaneEnded(ended)) => {
                    lanes_running -= 1;
                    ended.unwrap_or_else(&mut fail);
                }
                Ok(Event::FeedEnded(ended)) => {
                    is_fed = true;
                    ended
                        .unwrap_or_else(|error| fail(format!("the input cannot be read: {error}")));
                }
                Ok(Event::Interrupted) => fail("it was interrupted".to_owned()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("the thread for signals never ends")
                }
            }
            self.meter
                .show(self.tally.saved().place.bytes, &self.tally.total());
            if saved_at.elapsed() >= SAVE_EVERY {
                saved_at = Instant::now();
                self.save().unwrap_or_else(&mut fail);
            }
        }
        self.save().unwrap_or_else(&mut fail);
        result
    }

    /// Writes how far it is, after the rejects up to there.
    fn save(&self) -> Result<(), String> {
        let saved = self.tally.saved();
        self.tally
            .flush_rejects()
            .map_err(|error| format!("the rejects cannot be written: {error}"))?;
        match &self.state {
            Some(path) => saved
                .store(path)
                .map_err(|error| format!("{}: {error}", path.display())),
            None => Ok(()),
        }
    }

    fn report(&self, ended: Result<(), String>) -> Result<ExitCode, String> {
        self.meter.finish();
        let lines = self.tally.saved().place.lines;
        let total = self.tally.total();
        let seconds = self.began.elapsed().as_secs_f64();
        println!("{total}, {seconds:.1} s");
        if let Err(message) = ended {
            let go_on = match &self.state {
                Some(_) => "run it again with --resume to go on from there".to_owned(),
                None => format!("go on with --skip {lines}"),
            };
            return Err(format!(
                "{message}; every line up to {lines} is done: {go_on}"
            ));
        }
        if let Some(path) = &self.state {
            std::fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(match total.rejected {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(SOME_REJECTED),
        })
    }
}

/// The input from `place` on, and its length if it has one.
fn open(path: &Path, place: Place) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let length = metadata.is_file().then_some(metadata.len());
    if place.bytes > 0 {
        if length.is_none_or(|length| length < place.bytes) {
            return Err(io::Error::other(
                "it is shorter than what was imported of it; remove the file with the progress to begin again",
            ));
        }
        file.seek(SeekFrom::Start(place.bytes))?;
    }
    Ok((Box::new(file), length))
}

/// Reports the first SIGINT or SIGTERM, and ends the process at the second.
fn watch_signals(events: mpsc::Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        let mut caught = signals.forever();
        caught.next();
        let _ = events.send(Event::Interrupted);
        caught.next();
        std::process::exit(i32::from(COULD_NOT_RUN));
    });
    Ok(())
}
