//! All connections of a core: accepted, read, answered, flushed, closed.
//!
//! The desk decides nothing about documents. It keeps the list of connections
//! that something happened to, so that a turn of the loop costs what happened
//! in it and not what is connected.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::{SendFlags, Shutdown};
use slab::Slab;

use super::{
    connection::{Connection, Overdue, Receiving, Stage},
    ring::{Ring, Token},
};
use crate::{
    api::{self, BodyMode, Code, Problem, ReplyContext},
    config::Timeouts,
    http::{Bounds, DateClock, DateField, Persistence},
    limits::{INPUT_PARKED_BYTES_MAX, POOLED_BUFFER_BYTES_MAX, POOLED_BUFFER_COUNT},
    op::Outcome,
};

/// One request in flight: its connection, and its number there.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    pub token: Token,
    pub number: u32,
}

/// The connections of one core.
pub struct Desk {
    pub connections: Slab<Connection>,
    /// Connections to look at before the turn ends.
    listed: Vec<Token>,
    /// Connections whose reading waits for a bound to have room.
    pub parked: Vec<Token>,
    /// Emptied output buffers, to be used again.
    buffers: Vec<Vec<u8>>,
    bounds: Bounds,
    date: DateClock,
    unix_second: u64,
    now_ms: u64,
    pub draining: bool,
}

impl Desk {
    pub fn new(body_bytes_max: usize, unix_second: u64) -> Desk {
        Desk {
            connections: Slab::new(),
            listed: Vec::new(),
            parked: Vec::new(),
            buffers: Vec::new(),
            bounds: Bounds { body_bytes_max },
            date: DateClock::new(unix_second),
            unix_second,
            now_ms: 0,
            draining: false,
        }
    }

    /// Sets the time that this turn works with.
    pub fn set_time(&mut self, now_ms: u64, unix_second: u64) {
        self.now_ms = now_ms;
        self.unix_second = unix_second;
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms
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

    /// Takes in a new connection and begins to read it.
    pub fn seat_connection(&mut self, socket: OwnedFd, ring: &mut Ring) {
        let mut connection = Connection::new(socket, self.bounds, self.now_ms);
        connection.receiving = Receiving::On;
        let entry = self.connections.vacant_entry();
        let token = Token::try_from(entry.key()).expect("connections are bounded far below 2^32");
        ring.receive(token, connection.socket.as_fd());
        entry.insert(connection);
        if self.draining {
            self.list(token);
        }
    }

    /// Answers a connection beyond the bound with a 503, as cheaply as possible.
    pub fn turn_away(&mut self, socket: &OwnedFd, connections_max: usize) {
        let message = format!(
            "the server has its {connections_max} connections; try again later or raise --connections-max"
        );
        let problem = Problem::new(Code::TooManyConnections, message);
        let mut response = Vec::new();
        let context = ReplyContext {
            persistence: Persistence::Close,
            date: self.date(),
        };
        api::render_problem(&problem, BodyMode::PLAIN, &context, &mut response);
        // A peer that cannot even take this is closed without a word.
        let _ = rustix::net::send(socket, &response, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let _ = rustix::net::shutdown(socket, Shutdown::Write);
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
        let (connection, date) = self.connection_and_date(seat.token);
        let taken = connection.settle(seat.number, outcome);
        if taken.is_none() {
            connection.render_ready(date);
            self.list(seat.token);
        }
        taken
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
        let now_ms = self.now_ms;
        self.connection(token).sent(now_ms);
    }

    /// A send ended.
    pub fn sent(&mut self, token: Token, result: io::Result<()>, buffer: Vec<u8>) {
        if buffer.capacity() <= POOLED_BUFFER_BYTES_MAX && self.buffers.len() < POOLED_BUFFER_COUNT
        {
            self.buffers.push(buffer);
        }
        let now_ms = self.now_ms;
        let (connection, date) = self.connection_and_date(token);
        connection.sending = false;
        connection.sent(now_ms);
        match result {
            Ok(()) => connection.render_ready(date),
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
            let now_ms = self.now_ms;
            let connection = &mut self.connections[index(token)];
            connection.listed = false;
            if self.draining && connection.stage == Stage::Open && connection.is_quiet() {
                shut_both(connection);
            }
            advance(connection, token, now_ms, ring);
            if connection.is_free() {
                // Still on the parked list, perhaps: resuming skips what is gone.
                drop(self.connections.remove(index(token)));
                closed += 1;
            }
        }
        closed
    }

    /// Ends connections whose peers take too long.
    pub fn end_overdue(&mut self, timeouts: &Timeouts) {
        let now_ms = self.now_ms;
        let mut overdue = Vec::new();
        for (token, connection) in &mut self.connections {
            if let Some(why) = connection.overdue(timeouts, now_ms) {
                overdue.push((
                    Token::try_from(token).expect("tokens are made from u32"),
                    why,
                ));
            }
        }
        for (token, why) in overdue {
            let (connection, date) = self.connection_and_date(token);
            match why {
                Overdue::Idle | Overdue::Peer => shut_both(connection),
                Overdue::Request(message) => {
                    connection.end_with(&Problem::new(Code::Timeout, message), date);
                    connection.render_ready(date);
                }
            }
            self.list(token);
        }
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
    if !connection.output.is_empty() && !connection.sending {
        let output = connection.begin_send(now_ms);
        ring.send(token, connection.socket.as_fd(), output);
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
        let enough = self.parked && self.input.len() >= INPUT_PARKED_BYTES_MAX;
        self.stage != Stage::Dead && !self.peer_closed && !enough
    }
}

/// Ends the connection in both directions, which makes the ring let go of it.
fn shut_both(connection: &mut Connection) {
    let _ = rustix::net::shutdown(&connection.socket, Shutdown::Both);
    connection.die();
}

fn index(token: Token) -> usize {
    usize::try_from(token).expect("usize has at least 32 bits on the platforms of io_uring")
}
