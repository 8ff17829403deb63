//! Journals: lines for the operator, on their way out of the process.
//!
//! A journal has a thread that writes. Whoever has lines offers them and goes on: when the
//! reader of a pipe or a disk is slow, lines wait up to [`JOURNAL_BYTES_MAX`], and what does not
//! fit is lost, counted, and said once there is room. A full disk is the same. (The log of
//! documents is another thing, and loses nothing: see `log`.)

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::limits::JOURNAL_BYTES_MAX;

/// How often lost lines are said at most.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file, which is created if it is missing.
    File(PathBuf),
}

impl Sink {
    /// What an operator writes for it.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Sink::Stdout => Path::new("-"),
            Sink::Stderr => Path::new("/dev/stderr"),
            Sink::File(path) => path,
        }
    }
}

/// Where lines are offered.
#[derive(Clone, Debug)]
pub struct Journal {
    // Bounded by the bytes that wait, which the channel does not know.
    jobs: mpsc::Sender<Job>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    lost_lines: AtomicU64,
}

#[derive(Debug)]
enum Job {
    Write { lines: Vec<u8>, line_count: u64 },
    Reopen,
    Flush(mpsc::Sender<()>),
}

impl Journal {
    /// Opens the sink and starts the thread; `name` is what the journal is called when it says
    /// that it lost lines.
    ///
    /// # Errors
    /// If the file cannot be opened, or the system has no room for a thread.
    pub fn start(name: &'static str, sink: Sink) -> io::Result<Journal> {
        let (jobs, queue) = mpsc::channel();
        let counts = Arc::<Counts>::default();
        let writer = Writer {
            name,
            out: open(&sink)?,
            sink,
            counts: Arc::clone(&counts),
            said_lines: 0,
            said_at: Instant::now(),
            fails: false,
        };
        thread::Builder::new()
            .name("oxdaas-journal".to_owned())
            .spawn(move || writer.work(&queue))?;
        Ok(Journal { jobs, counts })
    }

    /// Hands over whole lines; never waits.
    pub fn offer(&self, lines: Vec<u8>, line_count: u64) {
        let bytes = lines.len();
        let waiting = self
            .counts
            .waiting_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        let sent = waiting + bytes <= JOURNAL_BYTES_MAX
            && self.jobs.send(Job::Write { lines, line_count }).is_ok();
        if !sent {
            self.counts
                .waiting_bytes
                .fetch_sub(bytes, Ordering::Relaxed);
            self.counts
                .lost_lines
                .fetch_add(line_count, Ordering::Relaxed);
        }
    }

    /// How many lines were lost.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.counts.lost_lines.load(Ordering::Relaxed)
    }

    /// Opens the file anew, behind the lines offered so far: after it was renamed, the next ones
    /// go to a new file.
    pub fn reopen(&self) {
        // Without its thread there is nothing to open.
        let _ = self.jobs.send(Job::Reopen);
    }

    /// Waits until the lines offered so far are written, but not longer than `patience`.
    pub fn flush(&self, patience: Duration) {
        let (done, is_done) = mpsc::channel();
        let _ = self.jobs.send(Job::Flush(done));
        let _ = is_done.recv_timeout(patience);
    }
}

fn open(sink: &Sink) -> io::Result<File> {
    match sink {
        Sink::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        Sink::Stderr => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        Sink::File(path) => append_to(path),
    }
}

/// Opens a file to be appended to, which others of its group may read.
///
/// # Errors
/// If the system refuses.
pub fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).open(path)
}

/// The thread's side.
struct Writer {
    name: &'static str,
    sink: Sink,
    out: File,
    counts: Arc<Counts>,
    /// Of the lost lines, those that were said.
    said_lines: u64,
    said_at: Instant,
    /// Whether the last write failed.
    fails: bool,
}

impl Writer {
    /// Writes until nobody has lines any more.
    fn work(mut self, queue: &mpsc::Receiver<Job>) {
        loop {
            // A journal may have to say its own losses, so it waits until it works again.
            let has_to_say = self.unsaid_lines() > 0 && !self.fails;
            let job = match has_to_say {
                true => match queue.recv_timeout(SAY_EVERY) {
                    Ok(job) => job,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        self.say_losses();
                        continue;
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                },
                false => match queue.recv() {
                    Ok(job) => job,
                    Err(mpsc::RecvError) => return,
                },
            };
            match job {
                Job::Write { lines, line_count } => self.write(&lines, line_count),
                Job::Reopen => self.reopen(),
                // Nobody waits any more when their patience is over.
                Job::Flush(done) => drop(done.send(())),
            }
        }
    }

    fn write(&mut self, lines: &[u8], line_count: u64) {
        let written = self.out.write_all(lines);
        let counts = &self.counts;
        counts
            .waiting_bytes
            .fetch_sub(lines.len(), Ordering::Relaxed);
        match written {
            Ok(()) => {
                self.fails = false;
                if self.unsaid_lines() > 0 && self.said_at.elapsed() >= SAY_EVERY {
                    self.say_losses();
                }
            }
            Err(error) => {
                counts.lost_lines.fetch_add(line_count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.fails, true) {
                    let name = self.name;
                    tracing::warn!(%error, "the {name} cannot be written; its lines are lost");
                }
            }
        }
    }

    fn reopen(&mut self) {
        match open(&self.sink) {
            Ok(out) => self.out = out,
            Err(error) => {
                let name = self.name;
                tracing::warn!(%error, "the {name} cannot be opened anew; it goes on as it was");
            }
        }
    }

    fn unsaid_lines(&self) -> u64 {
        self.counts.lost_lines.load(Ordering::Relaxed) - self.said_lines
    }

    fn say_losses(&mut self) {
        let lines = self.unsaid_lines();
        self.said_lines += lines;
        self.said_at = Instant::now();
        let name = self.name;
        tracing::warn!(
            lines,
            "lines of the {name} were lost: they came faster than they could be written"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn lines_that_do_not_fit_are_lost_and_counted_and_the_others_are_in_order() {
        let (reader, pipe) = io::pipe().expect("a pipe");
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe));
        let journal = Journal::start("test log", Sink::File(path.into())).expect("it opens");
        drop(pipe);
        // Nobody reads: the pipe takes 64 KiB at most, the queue its bound, and nothing waits.
        let line = |number: usize| format!("{number:>1023}\n").into_bytes();
        let offered = JOURNAL_BYTES_MAX / 1024 + 200;
        (0..offered).for_each(|number| journal.offer(line(number), 1));
        let lost = usize::try_from(journal.lost_lines()).expect("few");
        assert!((100..=200).contains(&lost), "{lost}");
        let reading = thread::spawn(move || io::read_to_string(reader).expect("text"));
        journal.flush(PATIENCE);
        drop(journal);
        let text = reading.join().expect("no panic");
        let numbers: Vec<usize> = text
            .lines()
            .map(|l| l.trim().parse().expect("whole"))
            .collect();
        assert!(
            numbers.iter().copied().eq(0..offered - lost),
            "{lost} of the last are lost"
        );
    }

    #[test]
    fn a_renamed_file_is_followed_by_a_new_one() {
        let path = std::env::temp_dir().join(format!("oxdaas-journal-{}", std::process::id()));
        let renamed = path.with_extension("1");
        let journal = Journal::start("test log", Sink::File(path.clone())).expect("it opens");
        journal.offer(b"one\n".to_vec(), 1);
        journal.flush(PATIENCE);
        std::fs::rename(&path, &renamed).expect("renamed");
        journal.offer(b"two\n".to_vec(), 1);
        journal.reopen();
        journal.offer(b"three\n".to_vec(), 1);
        journal.flush(PATIENCE);
        let read = |path: &Path| std::fs::read_to_string(path).expect("readable");
        assert_eq!(
            (read(&renamed), read(&path)),
            ("one\ntwo\n".into(), "three\n".into())
        );
        for path in [path, renamed] {
            std::fs::remove_file(path).expect("ours");
        }
    }
}
