//! What the process says of itself: `tracing` events, as lines on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{MakeWriter, SubscriberBuilder},
};

use crate::{
    config::LogFormat,
    journal::{Journal, Sink},
};

/// From which level on events are said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogLevel {
    /// None
    Off,
    /// What failed and needs the operator
    Error,
    /// The same, and what may become a failure
    Warn,
    /// The same, and the steps of the server's life
    Info,
    /// The same, and what helps to find faults
    Debug,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> LevelFilter {
        match level {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
        }
    }
}

/// Has the events of a command said as they come.
pub fn say_events() {
    subscriber().with_writer(io::stderr).init();
}

/// Has the events of a server said by a journal, so that no core waits for who reads them.
///
/// # Errors
/// If the system has no room for its thread.
pub(super) fn journal_events(format: LogFormat, level: LogLevel) -> io::Result<Journal> {
    let journal = Journal::start("log", Sink::Stderr)?;
    let subscriber = subscriber()
        .with_writer(Lines(journal.clone()))
        .with_max_level(level);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(journal)
}

fn subscriber() -> SubscriberBuilder {
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
}

/// The way of events to a journal.
struct Lines(Journal);

/// That of one event.
struct Line<'a>(&'a Journal);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

impl io::Write for Line<'_> {
    /// An event is written at once, with its end of line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.offer(line.to_vec(), 1);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
