//! All connections of a core: accepted, read, answered, flushed, closed.
//!
//! The desk decides nothing about documents. It keeps the list of connections
//! that something happened to, so that a turn of the loop costs what happened
//! in it and not what is connected.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::{SendFlags, Shutdown},
};
use slab::Slab;

use super::{
    addresses::Subscriber,
    connection::{Answered, Connection, Overdue, Receiving, Stage},
    gate::Guard,
    ring::{Ring, Token},
    tally::micros,
    witness::Note,
};
use crate::{
    api::{self, BodyMode, Code, Problem, ReplyContext},
    config::Timeouts,
    http::{Bounds, DateClock, DateField, Persistence},
    limits::{
        COSTLY_BYTES, HELD_BYTES_MAX, INPUT_PARKED_BYTES_MAX, LOOK_FOR_ROOM_MS,
        PATIENCE_WHEN_FULL_MS, POOLED_BUFFER_BYTES_MAX, POOLED_BUFFER_COUNT, RECEIVE_BUFFER_BYTES,
        WEIGHTY_BYTES,
    },
    op::Outcome,
    tls::{self, Session},
};

/// One request in flight: its connection, and its number there.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    pub token: Token,
    pub number: u32,
}

/// When a new connection is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    AtOnce,
    AfterTick,
}

/// The bound that a connection is turned away for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    Process,
    Address,
}

/// Responses to connections that are turned away, written once a second at most.
#[derive(Default)]
struct Refusals {
    unix_second: u64,
    process: Vec<u8>,
    address: Vec<u8>,
}

/// The connections of one core.
pub struct Desk {
    pub connections: Slab<Connection>,
    /// Connections to look at before the turn ends.
    listed: Vec<Token>,
    /// Connections whose reading waits for a bound to have room.
    pub parked: Vec<Token>,
    /// Connections that are not read before the next tick.
    late: Vec<Token>,
    /// Emptied output buffers, to be used again.
    buffers: Vec<Vec<u8>>,
    /// Bytes that all connections together hold for their peers.
    pub held_bytes: usize,
    /// Connections whose next response is a large one, to be rendered when there is time.
    pub large: Vec<Token>,
    /// Requests that were answered since they were last counted.
    pub answered: Vec<Answered>,
    /// Whether requests are noted, for the access log.
    pub takes_notes: bool,
    /// Whether connections begin with a TLS handshake.
    pub speaks_tls: bool,
    /// Whose connections have ended since they were last counted out.
    pub left: Vec<Subscriber>,
    /// Connections that may be closed for new ones, with the times since when they wait; the one
    /// that waits longest is last.
    waiting: Vec<(u64, Token)>,
    /// When these were last looked for.
    looked_ms: u64,
    refusals: Refusals,
    bounds: Bounds,
    /// How those are answered whose request is not read.
    pub plain: BodyMode,
    date: DateClock,
    unix_second: u64,
    now_us: u64,
    pub draining: bool,
}

impl Desk {
    pub fn new(body_bytes_max: usize, unix_second: u64) -> Desk {
        Desk {
            connections: Slab::new(),
            listed: Vec::new(),
            parked: Vec::new(),
            late: Vec::new(),
            buffers: Vec::new(),
            held_bytes: 0,
            large: Vec::new(),
            answered: Vec::new(),
            takes_notes: false,
            speaks_tls: false,
            left: Vec::new(),
            waiting: Vec::new(),
            looked_ms: 0,
            refusals: Refusals::default(),
            bounds: Bounds { body_bytes_max },
            plain: BodyMode::PLAIN,
            date: DateClock::new(unix_second),
            unix_second,
            now_us: 0,
            draining: false,
        }
    }

    /// Sets the time that this turn works with: since the core began, and of the calendar.
    pub fn set_time(&mut self, now: Duration, unix_second: u64) {
        self.now_us = micros(now);
        self.unix_second = unix_second;
    }

    pub fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    pub fn date(&mut self) -> &DateField {
        self.date.at(self.unix_second)
    }

    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub fn connection(&mut self, token: Token) -> &mut Connection {
        &mut self.connections[index(token)]
    }

    /// The connection and the date for rendering to it, together.
    pub fn connection_and_date(&mut self, token: Token) -> (&mut Connection, &DateField) {
        (
            &mut self.connections[index(token)],
            self.date.at(self.unix_second),
        )
    }

    /// Takes in a new connection, and begins to read it now or later.
    pub fn seat_connection(
        &mut self,
        socket: OwnedFd,
        peer: SocketAddr,
        guard: Guard,
        tls: Option<Box<Session>>,
        reading: Reading,
        ring: &mut Ring,
    ) {
        let mut connection = Connection::new(socket, peer, guard, self.bounds, self.now_ms());
        connection.tls = tls;
        let entry = self.connections.vacant_entry();
        let token = Token::try_from(entry.key()).expect("connections are bounded far below 2^32");
        match reading {
            Reading::AtOnce => {
                connection.receiving = Receiving::On;
                ring.receive(token, connection.socket.as_fd());
            }
            Reading::AfterTick => self.late.push(token),
        }
        entry.insert(connection);
        if self.draining {
            self.list(token);
        }
    }

    /// Begins to read connections that had to wait for that.
    pub fn read_late(&mut self) {
        for token in std::mem::take(&mut self.late) {
            // It may be another one by now, which loses nothing by being looked at.
            if self.connections.contains(index(token)) {
                self.list(token);
            }
        }
    }

    /// Answers a connection beyond a bound with a 503, as cheaply as possible.
    pub fn turn_away(&mut self, socket: &OwnedFd, crowd: Crowd) {
        if self.refusals.unix_second != self.unix_second {
            self.refusals = Refusals {
                unix_second: self.unix_second,
                process: self.refusal(
                    "the server has all the connections that it may have; try again later, or \
                     raise --connections-max",
                ),
                address: self.refusal(
                    "your address has all the connections that it may have; close some, or raise \
                     --connections-per-address-max",
                ),
            };
        }
        let response = match crowd {
            _ if self.speaks_tls => tls::TURNED_AWAY,
            Crowd::Process => &self.refusals.process,
            Crowd::Address => &self.refusals.address,
        };
        // A peer that cannot even take this is closed without a word.
        let _ = rustix::net::send(socket, response, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let _ = rustix::net::shutdown(socket, Shutdown::Write);
    }

    fn refusal(&mut self, message: &'static str) -> Vec<u8> {
        let problem = Problem::new(Code::TooManyConnections, message);
        let plain = self.plain;
        let mut response = Vec::new();
        let context = ReplyContext {
            persistence: Persistence::Close,
            date: self.date(),
        };
        api::render_problem(&problem, plain, &context, &mut response);
        response
    }

    /// Ends the connection whose peer keeps the server waiting the longest, so that a new one has
    /// its place; whether there was one that does for long enough.
    ///
    /// Costs a look at all connections, but that not more often than every [`LOOK_FOR_ROOM_MS`].
    pub fn make_room(&mut self) -> bool {
        let now_ms = self.now_ms();
        if self.waiting.is_empty() && now_ms >= self.looked_ms + LOOK_FOR_ROOM_MS {
            self.looked_ms = now_ms;
            let long_since = |connection: &Connection| {
                let since_ms = connection.waits_since_ms()?;
                (since_ms + PATIENCE_WHEN_FULL_MS <= now_ms).then_some(since_ms)
            };
            let waiting = self.connections.iter().filter_map(|(key, connection)| {
                let token = Token::try_from(key).expect("tokens are made from u32");
                long_since(connection).map(|since_ms| (since_ms, token))
            });
            self.waiting = waiting.collect();
            self.waiting
                .sort_unstable_by_key(|&(since_ms, _)| std::cmp::Reverse(since_ms));
        }
        while let Some((since_ms, token)) = self.waiting.pop() {
            let connection = self.connections.get_mut(index(token));
            // It may have been heard of since, or be another one by now.
            if let Some(connection) = connection
                && connection.waits_since_ms() == Some(since_ms)
                && connection.stage != Stage::Dead
            {
                shut_both(connection);
                self.list(token);
                return true;
            }
        }
        false
    }

    /// Counts anew what the connection holds for its peer.
    pub fn count_held(&mut self, token: Token) {
        let connection = &mut self.connections[index(token)];
        let held_bytes = connection.held_bytes();
        self.held_bytes += held_bytes;
        self.held_bytes -= std::mem::replace(&mut connection.counted_bytes, held_bytes);
    }

    /// Whether connections hold more than they may.
    pub fn is_full(&self) -> bool {
        self.held_bytes > HELD_BYTES_MAX.max(2 * self.bounds.body_bytes_max)
    }

    /// Ends connections that hold something and keep the server waiting the longest, until an
    /// eighth of what all may hold is free again; returns how many.
    ///
    /// Costs a look at all connections, but that not before so much has arrived anew.
    pub fn relieve(&mut self) -> u64 {
        let bound = HELD_BYTES_MAX.max(2 * self.bounds.body_bytes_max);
        let mut excess = self.held_bytes.saturating_sub(bound - bound / 8);
        let waiting = self.connections.iter().filter_map(|(key, connection)| {
            let token = Token::try_from(key).expect("tokens are made from u32");
            let bytes = connection.counted_bytes;
            // Those that hold little are bounded by their number, or come last.
            let since_ms = connection.holds_since_ms();
            let since_ms = since_ms.filter(|_| bytes >= WEIGHTY_BYTES)?;
            Some((bytes < COSTLY_BYTES, since_ms, token, bytes))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        let mut ended = 0;
        for (_, _, token, bytes) in waiting {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(bytes);
            if self.connection(token).stage == Stage::Dead {
                // The ring is about to let go of what it holds.
                continue;
            }
            ended += 1;
            let connection = self.connection(token);
            match connection.sending || connection.in_flight() > 0 {
                true => self.cut(token),
                false => self.end_with(token, &Problem::new(
                    Code::Overloaded,
                    "requests that are not whole and responses that are not read fill the memory \
                     that they may have, and this request has been under way the longest; send it \
                     again, faster",
                )),
            }
            self.count_held(token);
        }
        ended
    }

    /// Puts the connection on the list of those to look at before the turn ends.
    pub fn list(&mut self, token: Token) {
        let connection = &mut self.connections[index(token)];
        if !connection.listed {
            connection.listed = true;
            self.listed.push(token);
        }
    }

    /// Stops reading the connection's requests until [`Desk::parked`] is gone through.
    pub fn park(&mut self, token: Token) {
        let connection = &mut self.connections[index(token)];
        if !connection.parked {
            connection.parked = true;
            self.parked.push(token);
        }
        self.list(token);
    }

    /// Gives an outcome to the request it belongs to; see [`Connection::settle`].
    pub fn settle(&mut self, seat: Seat, outcome: Outcome) -> Option<u32> {
        let taken = self.connection(seat.token).settle(seat.number, outcome);
        if taken.is_none() {
            self.render_ready(seat.token);
            self.list(seat.token);
        }
        taken
    }

    /// Gives a response, or the rest of one, to the request it belongs to; see
    /// [`Connection::finish`].
    pub fn finish(&mut self, seat: Seat, response: Vec<u8>) {
        let connection = self.connection(seat.token);
        connection.finish(seat.number, response);
        if connection.stage != Stage::Dead {
            self.render_ready(seat.token);
        }
        self.list(seat.token);
    }

    /// Ends a connection with a response to what was no request.
    pub fn end_with(&mut self, token: Token, problem: &Problem) {
        let (now_us, plain, takes_notes) = (self.now_us, self.plain, self.takes_notes);
        let (connection, date) = self.connection_and_date(token);
        let note = takes_notes.then(|| Note::unread(connection.peer));
        connection.end_with(problem, plain, date, now_us, note);
        self.render_ready(token);
        self.list(token);
    }

    /// Counts the request that was being executed, whose response is the output from
    /// `response_at` on.
    pub fn end_exchange(&mut self, token: Token, response_at: usize) {
        let ended = self.connection(token).end_exchange(response_at);
        self.answered.extend(ended);
    }

    /// The same of one whose response has begun, and goes on.
    pub fn begin_answer(&mut self, seat: Seat, response_at: usize) {
        let begun = self.connection(seat.token);
        let begun = begun.begin_answer(seat.number, response_at);
        self.answered.extend(begun);
    }

    fn render_ready(&mut self, token: Token) {
        self.render(token, 0);
    }

    /// Renders the large response that is next, and those behind it up to the next large one;
    /// returns how many bytes they have.
    pub fn render_large(&mut self, token: Token) -> usize {
        let before = self.connection(token).output.len();
        self.render(token, 1);
        self.list(token);
        self.connection(token).output.len() - before
    }

    fn render(&mut self, token: Token, large_max: u32) {
        let connection = &mut self.connections[index(token)];
        let date = self.date.at(self.unix_second);
        let is_listed = connection.awaits_rendering && large_max == 0;
        connection.render_ready(date, &mut self.answered, large_max);
        if connection.awaits_rendering && !is_listed {
            self.large.push(token);
        }
    }

    /// The ring stopped reporting what arrives, for a reason that will pass.
    pub fn receiving_paused(&mut self, token: Token) {
        self.connection(token).receiving = Receiving::Off;
        self.list(token);
    }

    /// The peer sends no more; what it asked is still answered.
    pub fn peer_closed(&mut self, token: Token) {
        let connection = self.connection(token);
        connection.receiving = Receiving::Off;
        connection.peer_closed = true;
        self.list(token);
    }

    /// The connection is broken; nothing can be sent any more.
    pub fn broken(&mut self, token: Token) {
        let connection = self.connection(token);
        connection.receiving = Receiving::Off;
        connection.peer_closed = true;
        connection.die();
        self.list(token);
    }

    /// The kernel took a part of what is being sent.
    pub fn sending(&mut self, token: Token) {
        let now_ms = self.now_ms();
        self.connection(token).sent(now_ms);
    }

    /// A send ended.
    pub fn sent(&mut self, token: Token, result: io::Result<()>, buffer: Vec<u8>) {
        if buffer.capacity() <= POOLED_BUFFER_BYTES_MAX && self.buffers.len() < POOLED_BUFFER_COUNT
        {
            self.buffers.push(buffer);
        }
        let now_ms = self.now_ms();
        let connection = self.connection(token);
        connection.sending = false;
        connection.sent(now_ms);
        match result {
            Ok(()) => self.render_ready(token),
            Err(_) => shut_both(connection),
        }
        self.list(token);
    }

    /// Ends a connection whose response cannot be ended as it should.
    pub fn cut(&mut self, token: Token) {
        shut_both(self.connection(token));
        self.list(token);
    }

    /// Gives an output buffer to a connection that has none.
    pub fn lend_buffer(&mut self, token: Token) {
        let connection = &mut self.connections[index(token)];
        if connection.output.capacity() == 0 {
            connection.output = self.buffers.pop().unwrap_or_default();
        }
    }

    /// Sends, closes and reads on where something happened; returns how many
    /// connections ended.
    pub fn flush(&mut self, ring: &mut Ring) -> usize {
        let mut closed = 0;
        while let Some(token) = self.listed.pop() {
            let now_ms = self.now_ms();
            let connection = &mut self.connections[index(token)];
            connection.listed = false;
            let expects_nothing = connection.is_quiet() || connection.is_handshaking();
            if self.draining && connection.stage == Stage::Open && expects_nothing {
                dismiss(connection);
            }
            advance(connection, token, now_ms, ring);
            self.count_held(token);
            if self.connections[index(token)].is_free() {
                // Still on the parked list, perhaps: resuming skips what is gone.
                let gone = self.connections.remove(index(token));
                self.held_bytes -= gone.counted_bytes;
                self.left.extend(Subscriber::of(gone.peer.ip()));
                closed += 1;
            }
        }
        closed
    }

    /// Ends connections whose peers take too long; returns how many of them were in a TLS
    /// handshake.
    pub fn end_overdue(&mut self, timeouts: &Timeouts) -> u64 {
        let mut handshakes = 0;
        let now_ms = self.now_ms();
        let mut overdue = Vec::new();
        for (token, connection) in &mut self.connections {
            if connection.has_fallen_silent(now_ms) && is_reset(&connection.socket) {
                let token = Token::try_from(token).expect("tokens are made from u32");
                overdue.push((token, Overdue::Peer));
            } else if let Some(why) = connection.overdue(timeouts, now_ms) {
                overdue.push((
                    Token::try_from(token).expect("tokens are made from u32"),
                    why,
                ));
            }
        }
        for (token, why) in overdue {
            match why {
                Overdue::Idle => dismiss(self.connection(token)),
                Overdue::Peer => shut_both(self.connection(token)),
                Overdue::Handshake => {
                    handshakes += 1;
                    shut_both(self.connection(token));
                }
                Overdue::Request(message) => {
                    self.end_with(token, &Problem::new(Code::Timeout, message));
                }
            }
            self.list(token);
        }
        handshakes
    }

    /// Ends connections that are between requests, or all of them when time is up.
    pub fn begin_draining(&mut self, time_is_up: bool) {
        if self.draining && !time_is_up {
            return;
        }
        self.draining = true;
        let tokens: Vec<usize> = self.connections.iter().map(|(token, _)| token).collect();
        for token in tokens {
            if time_is_up {
                shut_both(&mut self.connections[token]);
            }
            self.list(Token::try_from(token).expect("tokens are made from u32"));
        }
    }
}

/// Does for one connection what its state asks for.
fn advance(connection: &mut Connection, token: Token, now_ms: u64, ring: &mut Ring) {
    if connection.peer_closed && connection.stage == Stage::Open && !connection.parked {
        connection.end();
    }
    if connection.stage == Stage::Ending
        && connection.is_settled()
        && let Some(tls) = &mut connection.tls
    {
        tls.close();
    }
    if connection.has_output() && !connection.sending {
        let output = connection.begin_send(now_ms);
        if connection.sending {
            ring.send(token, connection.socket.as_fd(), output);
        }
    }
    if connection.stage == Stage::Ending && connection.is_settled() {
        if connection.peer_closed {
            shut_both(connection);
        } else {
            let _ = rustix::net::shutdown(&connection.socket, Shutdown::Write);
            connection.linger(now_ms);
        }
    }
    if matches!(connection.stage, Stage::Lingering { .. }) && connection.peer_closed {
        shut_both(connection);
    }
    match (connection.receiving, connection.wants_bytes()) {
        (Receiving::Off, true) => {
            connection.receiving = Receiving::On;
            ring.receive(token, connection.socket.as_fd());
        }
        (Receiving::On, false) => {
            connection.receiving = Receiving::Stopping;
            ring.stop_receiving(token);
        }
        _ => {}
    }
}

impl Connection {
    /// Whether what arrives should be taken: not once there is enough to do.
    fn wants_bytes(&self) -> bool {
        let enough = self.parked && self.received_bytes() >= INPUT_PARKED_BYTES_MAX
            || self.awaits_handshake && self.received_bytes() >= RECEIVE_BUFFER_BYTES;
        self.stage != Stage::Dead && !self.peer_closed && !enough
    }
}

/// Ends a connection that owes and expects nothing.
fn dismiss(connection: &mut Connection) {
    match connection.tls {
        // The peer is told by an alert first.
        Some(_) if !connection.is_handshaking() => connection.end(),
        _ => shut_both(connection),
    }
}

/// Ends the connection in both directions, which makes the ring let go of it.
fn shut_both(connection: &mut Connection) {
    let _ = rustix::net::shutdown(&connection.socket, Shutdown::Both);
    connection.die();
}

/// Whether neither side can send any more.
fn is_reset(socket: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    let _ = rustix::event::poll(&mut polled, Some(&Timespec::default()));
    polled[0].revents().contains(PollFlags::HUP)
}

fn index(token: Token) -> usize {
    usize::try_from(token).expect("usize has at least 32 bits on the platforms of io_uring")
}
