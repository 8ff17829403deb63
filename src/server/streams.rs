//! Streamed responses: bodies that are made while they are sent.
//!
//! Such a response is alone on its connection, like one that several cores give together:
//! it begins once everything before it is answered, and what is behind it waits. A slice of
//! its body is made on another thread, never on the core, and the next one only once the
//! peer has taken the one before that. What stays true:
//! - a stream holds a bounded number of slices, however slow its peer is;
//! - a peer that does not take what it is sent is dropped, as the connection finds out, and
//!   a stream that cannot go on is cut, so that no body seems whole that is not;
//! - a core without streams does nothing for them.

use std::sync::{Arc, atomic::Ordering};

use super::{
    backup::Backup,
    connection::Stage,
    core::Core,
    desk::Seat,
    feed::Feed,
    maker::Maker,
    ring::Token,
    slicer::{Made, Order, frame},
};
use crate::{
    api::{self, Code, Patience, Problem, ReplyContext, Stream, StreamKind},
    http::{Persistence, Transfer},
    limits::{STREAM_HEARTBEAT_MS, STREAMS_MAX},
    log::Lsn,
};

/// What ends a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A streamed response under way.
pub struct Streaming {
    seat: Seat,
    persistence: Persistence,
    stream: Stream,
    /// Of the tokens with which it was let in.
    edition: u64,
    work: Work,
    /// Whether its head was sent.
    begun: bool,
    /// Everything up to here is handed over; `None`: there is more to make at once.
    reached: Option<Lsn>,
    /// Where it ends, once that is settled; of a backup: what the log must show before it begins.
    through: Option<Lsn>,
    /// When a wait for the first change is over.
    until_ms: u64,
    /// When something was last sent.
    said_ms: u64,
}

/// Where what makes the body is.
enum Work {
    /// Nowhere: others are answered first.
    NotBegun,
    Here(Maker),
    /// At the slicer, which makes a slice.
    Away,
}

/// What a stream does next.
enum Next {
    /// Make a slice of what there is up to a record.
    Make(Lsn),
    /// Say that there is nothing new.
    Beat,
    End,
    /// Nothing before the log has more, or time has passed.
    Rest,
}

impl Streaming {
    /// Whether it has no end of its own.
    fn is_live(&self) -> bool {
        match &self.stream.kind {
            StreamKind::Changes(changes) => changes.patience == Patience::Live,
            StreamKind::Backup => false,
        }
    }

    /// What to do when the log is at `position`; `is_over`: nobody listens much longer.
    fn next(&self, position: Lsn, now_ms: u64, is_over: bool) -> Next {
        if self.stream.kind == StreamKind::Backup {
            return match self.reached {
                Some(_) => Next::End,
                None if self.through > Some(position) => Next::Rest,
                None => Next::Make(position),
            };
        }
        let is_live = self.is_live();
        if is_live && is_over && self.begun {
            return Next::End;
        }
        let Some(reached) = self.reached else {
            return Next::Make(self.through.unwrap_or(position));
        };
        let is_head = !self.stream.body_mode.has_body();
        if is_head || is_over || self.through.is_some() {
            return Next::End;
        }
        if position > reached {
            return Next::Make(position);
        }
        match is_live {
            true if now_ms >= self.said_ms + STREAM_HEARTBEAT_MS => Next::Beat,
            false if now_ms >= self.until_ms => Next::End,
            _ => Next::Rest,
        }
    }
}

impl Core {
    /// Takes a request whose response is streamed.
    pub(super) fn await_stream(&mut self, token: Token, stream: Stream, persistence: Persistence) {
        if self.streams.len() >= STREAMS_MAX {
            let problem = Problem::new(
                Code::Overloaded,
                format!("the core has its {STREAMS_MAX} streamed responses; try again later"),
            );
            let mut response = Vec::new();
            let context = ReplyContext {
                persistence,
                date: self.desk.date(),
            };
            api::render_problem(&problem, stream.body_mode, &context, &mut response);
            return self.respond(token, &response, persistence);
        }
        let number = self.desk.connection(token).await_stream(persistence);
        self.streams.insert(Streaming {
            seat: Seat { token, number },
            persistence,
            stream,
            edition: self.gate.edition(),
            work: Work::NotBegun,
            begun: false,
            reached: None,
            through: None,
            until_ms: 0,
            said_ms: 0,
        });
    }

    /// Takes what threads have made, and has them make more for peers that took theirs; whether
    /// there was anything.
    pub(super) fn step_streams(&mut self) -> bool {
        if self.streams.is_empty() {
            return false;
        }
        let made = self.slicer.take();
        let any = !made.is_empty();
        for made in made {
            self.take_slice(made);
        }
        let mut streams: Vec<usize> = self.streams.iter().map(|(stream, _)| stream).collect();
        // Those behind the one that had a slice made last come first.
        let last = self.slicer.last();
        let is_first = streams.partition_point(|&stream| stream <= last);
        streams.rotate_left(is_first);
        for stream in streams {
            self.step_stream(stream);
        }
        any
    }

    fn step_stream(&mut self, stream: usize) {
        let streaming = &self.streams[stream];
        let Seat { token, number } = streaming.seat;
        let connection = self.desk.connection(token);
        let has_enough = connection.sending && !connection.output.is_empty();
        match streaming.work {
            Work::Away => return,
            _ if connection.stage == Stage::Dead => return self.drop_stream(stream),
            _ if !connection.is_first(number) || has_enough => return,
            Work::NotBegun => {
                if let Err(problem) = self.begin_stream(stream) {
                    return self.refuse_stream(stream, &problem);
                }
            }
            // What is not on disk after a failed sync never will be.
            Work::Here(Maker::Backup(_)) if self.process.log_failed.load(Ordering::Relaxed) => {
                self.streams[stream].through = None;
            }
            Work::Here(_) => {}
        }
        // Whoever asked may not be let in any more; who is asks again.
        let is_stale = self.streams[stream].edition != self.gate.edition();
        let is_over = is_stale || self.desk.draining || self.desk.connection(token).peer_closed;
        let now_ms = self.desk.now_ms();
        let mut position = self.process.position();
        loop {
            match self.streams[stream].next(position, now_ms, is_over) {
                // What others wait for comes first.
                Next::Make(_) if self.is_put_off(token) || self.must_queue(token) => return,
                Next::Make(through) => return self.make_slice(stream, through),
                Next::Beat => return self.beat(stream),
                Next::End => return self.end_stream(stream),
                Next::Rest => match self.process.wake_beyond(position) {
                    None => return,
                    Some(later) => position = later,
                },
            }
        }
    }

    /// Whether a slice has to wait for another one to be made: what it cost is known only then,
    /// and until then many of them would be about. The end of that one wakes the core.
    fn must_queue(&self, token: Token) -> bool {
        self.slicer.is_busy() && self.others_about(token)
    }

    /// Begins a stream whose turn has come.
    fn begin_stream(&mut self, stream: usize) -> Result<(), Problem> {
        let position = self.process.position();
        let now_ms = self.desk.now_ms();
        let streaming = &mut self.streams[stream];
        let StreamKind::Changes(changes) = &streaming.stream.kind else {
            return self.begin_backup(stream);
        };
        let since = changes.since.unwrap_or(position);
        if since > self.process.appended() {
            return Err(api::position_unknown(since, position));
        }
        if let Patience::Seconds(seconds) = changes.patience {
            streaming.until_ms = now_ms + 1000 * seconds;
        }
        streaming.said_ms = now_ms;
        let disk = Arc::clone(&self.disk);
        let feed = Feed::new(disk, changes.clone(), since);
        streaming.work = Work::Here(Maker::Changes(Box::new(feed)));
        Ok(())
    }

    /// As before, for a backup: it shows all that was acknowledged by now.
    fn begin_backup(&mut self, stream: usize) -> Result<(), Problem> {
        let streaming = &mut self.streams[stream];
        if !streaming.stream.body_mode.has_body() {
            streaming.reached = Some(self.process.position());
        }
        streaming.through = Some(self.process.appended());
        let disk = Arc::clone(&self.disk);
        let backup = Backup::begin(disk, &self.process, self.config.connections_max)?;
        streaming.work = Work::Here(Maker::Backup(Box::new(backup)));
        Ok(())
    }

    /// Has the next slice made.
    fn make_slice(&mut self, stream: usize, through: Lsn) {
        let streaming = &mut self.streams[stream];
        let Work::Here(maker) = std::mem::replace(&mut streaming.work, Work::Away) else {
            unreachable!("one slice at a time");
        };
        self.slicer.begin(Order {
            stream,
            maker,
            through,
            framing: streaming.stream.framing(),
        });
    }

    /// Takes in what a thread has made.
    fn take_slice(&mut self, made: Made) {
        let position = self.process.position();
        let token = self.streams[made.stream].seat.token;
        self.charge_slice(token, made.took, made.bytes.len());
        let streaming = &mut self.streams[made.stream];
        let is_live = streaming.is_live();
        let head_position = match &made.maker {
            Maker::Changes(feed) if is_live => feed.since(),
            Maker::Changes(_) => made.through,
            Maker::Backup(backup) => backup.position(),
        };
        let problem = made.result.as_ref().err();
        let problem = problem
            .filter(|_| !streaming.begun)
            .map(|error| made.maker.problem(error, position));
        streaming.work = Work::Here(made.maker);
        if self.desk.connection(streaming.seat.token).stage == Stage::Dead {
            return;
        }
        if let Some(problem) = problem {
            return self.refuse_stream(made.stream, &problem);
        }
        match made.result {
            Ok(is_all) => streaming.reached = is_all.then_some(made.through),
            Err(error) => {
                tracing::info!(core = self.id.0, %error, "a streamed response was cut");
                return self.desk.cut(streaming.seat.token);
            }
        }
        if !is_live && !made.bytes.is_empty() {
            // An answer that waited ends with what there was when its first change came.
            streaming.through.get_or_insert(made.through);
        }
        if is_live || !made.bytes.is_empty() {
            self.send_head(made.stream, head_position);
        }
        self.send_slice(made.stream, made.bytes);
    }

    /// Sends the head, unless it was; `position` is where to go on from without a later line.
    fn send_head(&mut self, stream: usize, position: Lsn) {
        let streaming = &mut self.streams[stream];
        if std::mem::replace(&mut streaming.begun, true) {
            return;
        }
        let (connection, date) = self.desk.connection_and_date(streaming.seat.token);
        let context = ReplyContext {
            persistence: streaming.persistence,
            date,
        };
        let response_at = connection.output.len();
        api::render_stream_head(
            &streaming.stream,
            position,
            &context,
            &mut connection.output,
        );
        self.desk.begin_answer(streaming.seat, response_at);
        self.desk.list(streaming.seat.token);
    }

    fn send_slice(&mut self, stream: usize, bytes: Vec<u8>) {
        let now_ms = self.desk.now_ms();
        let streaming = &mut self.streams[stream];
        if bytes.is_empty() {
            return;
        }
        streaming.said_ms = now_ms;
        let token = streaming.seat.token;
        self.desk.connection(token).append(bytes);
        self.desk.list(token);
    }

    fn beat(&mut self, stream: usize) {
        let beating = &self.streams[stream].stream;
        let StreamKind::Changes(changes) = &beating.kind else {
            unreachable!("only a live feed has nothing new");
        };
        let bytes = frame(beating.framing(), |out| {
            api::write_heartbeat(changes.format, out)
        });
        self.send_slice(stream, bytes);
    }

    /// Ends a body that is whole.
    fn end_stream(&mut self, stream: usize) {
        let reached = self.streams[stream].reached;
        self.send_head(stream, reached.unwrap_or(Lsn::NONE));
        let Streaming { seat, stream, .. } = self.streams.remove(stream);
        let end = match stream.framing() {
            Some(Transfer::Chunked) => LAST_CHUNK,
            Some(Transfer::UntilClose) | None => b"",
        };
        self.desk.finish(seat, end.to_vec());
    }

    /// Answers with a problem in place of the stream.
    fn refuse_stream(&mut self, stream: usize, problem: &Problem) {
        let position = self.process.position();
        let streaming = self.streams.remove(stream);
        let mut response = Vec::new();
        let context = ReplyContext {
            persistence: streaming.persistence,
            date: self.desk.date(),
        };
        let refused = &streaming.stream;
        api::render_stream_problem(refused, problem, position, &context, &mut response);
        self.desk.finish(streaming.seat, response);
    }

    /// Forgets the stream of a connection that is gone.
    fn drop_stream(&mut self, stream: usize) {
        let streaming = self.streams.remove(stream);
        self.desk.finish(streaming.seat, Vec::new());
    }
}
