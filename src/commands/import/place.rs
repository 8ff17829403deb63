//! How far an import is: the place up to which every line is done, and what came of them.
//!
//! Lanes end their batches in any order. What is done is what lies before the first batch that
//! is still with a lane, so an import that goes on from there leaves out nothing.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::rejects::Rejects;
use crate::api::Problem;

/// A place between two lines of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Lines before it.
    pub lines: u64,
    /// Bytes before it.
    pub bytes: u64,
}

/// What is kept from one run to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Every line before it is stored or rejected.
    pub place: Place,
    /// Lines before it that were rejected.
    pub rejected: u64,
}

/// The first lines of the batches that are with the lanes.
#[derive(Debug)]
pub struct Tracker {
    read: Place,
    /// Of each lane, oldest first.
    begun: Vec<VecDeque<Place>>,
}

/// What all threads count together.
#[derive(Debug)]
pub struct Tally(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    tracker: Tracker,
    stored: u64,
    /// Lines before what is done that were rejected.
    rejected: u64,
    /// The numbers of those beyond it.
    rejected_beyond: BTreeSet<u64>,
    rejects: Rejects,
}

/// What all threads came to so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Documents that this run stored.
    pub stored: u64,
    /// Lines that were rejected.
    pub rejected: u64,
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Total { stored, rejected } = self;
        write!(f, "{stored} documents stored, {rejected} lines rejected")
    }
}

impl Tracker {
    /// Nothing is read beyond `place` yet.
    pub fn new(lanes: usize, place: Place) -> Tracker {
        Tracker {
            read: place,
            begun: vec![VecDeque::new(); lanes],
        }
    }

    fn done(&self) -> Place {
        let first = self.begun.iter().filter_map(VecDeque::front).min();
        first.copied().unwrap_or(self.read)
    }
}

impl Tally {
    /// What was counted before, in an earlier run, is `saved`.
    pub fn new(tracker: Tracker, saved: Saved, rejects: Rejects) -> Tally {
        Tally(Mutex::new(Counts {
            tracker,
            stored: 0,
            rejected: saved.rejected,
            rejected_beyond: BTreeSet::new(),
            rejects,
        }))
    }

    /// Every line before `place` was read, and is done unless it is in a batch.
    pub fn read_to(&self, place: Place) {
        self.counts().tracker.read = place;
    }

    /// `lane` gets a batch whose first line lies at `place`.
    pub fn begin(&self, lane: usize, place: Place) {
        self.counts().tracker.begun[lane].push_back(place);
    }

    /// `lane` is done with the oldest of its batches.
    pub fn end(&self, lane: usize) {
        self.counts().tracker.begun[lane].pop_front();
    }

    /// So many documents more are stored.
    pub fn add_stored(&self, documents: u64) {
        self.counts().stored += documents;
    }

    /// The line of that number was not stored.
    pub fn reject(&self, line: u64, problem: &Problem) {
        self.reject_as(line, problem.code, &problem.message);
    }

    /// The same with what the server said.
    pub fn reject_as(&self, line: u64, code: &str, message: &str) {
        let mut counts = self.counts();
        counts.rejected_beyond.insert(line);
        counts.rejects.add(line, code, message);
    }

    /// What there is to keep.
    pub fn saved(&self) -> Saved {
        let mut counts = self.counts();
        let place = counts.tracker.done();
        let beyond = counts.rejected_beyond.split_off(&(place.lines + 1));
        let before = std::mem::replace(&mut counts.rejected_beyond, beyond);
        counts.rejected += u64::try_from(before.len()).expect("a length fits 64 bits");
        Saved {
            place,
            rejected: counts.rejected,
        }
    }

    /// What there is to show.
    pub fn total(&self) -> Total {
        let counts = self.counts();
        let beyond = u64::try_from(counts.rejected_beyond.len()).expect("a length fits 64 bits");
        Total {
            stored: counts.stored,
            rejected: counts.rejected + beyond,
        }
    }

    /// Writes the rejects that were listed so far.
    pub fn flush_rejects(&self) -> io::Result<()> {
        self.counts().rejects.flush()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the progress of an import of `input` is kept.
pub fn state_path(input: &Path) -> PathBuf {
    let mut name = input.as_os_str().to_owned();
    name.push(".progress");
    name.into()
}

impl Saved {
    /// What an earlier run kept; `None`: there was none.
    pub fn load(path: &Path) -> io::Result<Option<Saved>> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Saved::read(&text).map(Some).ok_or_else(|| {
            io::Error::other("it is not the progress of an import; remove it to begin again")
        })
    }

    /// Replaces what is kept, as a whole.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let mut file = File::create(&new)?;
        file.write_all(self.text().as_bytes())?;
        // A name must not get to disk before its contents.
        file.sync_data()?;
        fs::rename(&new, path)
    }

    fn text(&self) -> String {
        let Saved {
            place: Place { lines, bytes },
            rejected,
        } = self;
        format!("lines {lines} bytes {bytes} rejected {rejected}\n")
    }

    fn read(text: &str) -> Option<Saved> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let ["lines", lines, "bytes", bytes, "rejected", rejected] = words.as_slice() else {
            return None;
        };
        Some(Saved {
            place: Place {
                lines: lines.parse().ok()?,
                bytes: bytes.parse().ok()?,
            },
            rejected: rejected.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lines: u64) -> Place {
        Place {
            lines,
            bytes: 10 * lines,
        }
    }

    #[test]
    fn what_is_done_ends_where_the_first_batch_begins_that_is_not() {
        let rejects = Rejects::open(None, None).expect("standard error");
        let tally = Tally::new(Tracker::new(2, place(0)), Saved::default(), rejects);
        let done = || tally.saved().place;
        tally.begin(0, place(0));
        tally.begin(1, place(1));
        tally.begin(0, place(5));
        tally.read_to(place(9));
        assert_eq!(done(), place(0));
        tally.end(1);
        assert_eq!(done(), place(0));
        tally.end(0);
        assert_eq!(done(), place(5));
        tally.end(0);
        assert_eq!(done(), place(9));
    }

    #[test]
    fn a_rejected_line_counts_once_however_often_the_import_goes_on() {
        let problem = Problem::overloaded();
        let rejects = || Rejects::open(None, None).expect("standard error");
        let first = Tally::new(Tracker::new(1, place(0)), Saved::default(), rejects());
        first.begin(0, place(3));
        for line in [2, 3, 4, 9] {
            first.reject(line, &problem);
        }
        assert_eq!(first.total().rejected, 4);
        let saved = first.saved();
        assert_eq!((saved.place, saved.rejected), (place(3), 2));
        assert_eq!(first.total().rejected, 4);
        let second = Tally::new(Tracker::new(1, saved.place), saved, rejects());
        for line in [4, 9] {
            second.reject(line, &problem);
        }
        second.read_to(place(10));
        assert_eq!(second.saved().rejected, 4);
    }

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else() {
        let saved = Saved {
            place: place(12),
            rejected: 11,
        };
        let text = saved.text();
        assert_eq!(Saved::read(&text), Some(saved));
        for end in 0..text.trim_end().len() - 1 {
            assert_eq!(Saved::read(&text[..end]), None, "{end}");
        }
        assert_eq!(Saved::read(&text.replace("11", "-1")), None);
    }
}
