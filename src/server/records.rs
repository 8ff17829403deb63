//! TLS between the ring and the requests: the part of a core that deals with records.
//!
//! A handshake costs as much as dozens of requests, and anybody may begin one. So a core gives
//! them [`TURN_HANDSHAKES_US`] of each turn; others wait in line, behind what has arrived from
//! peers whose handshake is done. An idle core does not notice: its next turn follows at once.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{connection::Stage, core::Core, ring::Token};
use crate::{
    api::{Code, Problem},
    limits::{POOLED_BUFFER_BYTES_MAX, TURN_HANDSHAKES_US},
    tls::Fault,
};

/// What a core has for TLS beside its connections.
#[derive(Default)]
pub struct Records {
    /// Connections whose handshake waits for a turn with time for it.
    waiting: VecDeque<Token>,
    /// How long handshakes took in this turn.
    spent: Duration,
    /// What a record said, until it is served.
    plain: Vec<u8>,
}

impl Records {
    /// Begins a turn.
    pub fn begin_turn(&mut self) {
        self.spent = Duration::ZERO;
    }

    fn has_time(&self) -> bool {
        self.spent < Duration::from_micros(TURN_HANDSHAKES_US)
    }
}

impl Core {
    /// Takes in bytes of a peer that speaks TLS.
    pub(super) fn on_records(&mut self, token: Token, bytes: &[u8]) {
        let connection = self.desk.connection(token);
        if connection.stage != Stage::Open {
            return;
        }
        if connection.is_handshaking() {
            let waits = connection.awaits_handshake;
            if waits || !self.records.waiting.is_empty() || !self.records.has_time() {
                connection.awaits_handshake = true;
                if let Some(tls) = &mut connection.tls {
                    tls.hold(bytes);
                }
                if !waits {
                    self.records.waiting.push_back(token);
                }
                return self.desk.list(token);
            }
        }
        self.open_records(token, bytes);
    }

    /// Goes on with handshakes that waited; whether there were some.
    pub(super) fn resume_handshakes(&mut self) -> bool {
        if self.records.waiting.is_empty() {
            return false;
        }
        while self.records.has_time() {
            let Some(token) = self.records.waiting.pop_front() else {
                break;
            };
            let index = usize::try_from(token).expect("at least 32 bits");
            let Some(connection) = self.desk.connections.get_mut(index) else {
                continue;
            };
            // Otherwise it is another connection, which got the place of the one that waited.
            if std::mem::take(&mut connection.awaits_handshake) && connection.stage.is_open() {
                self.open_records(token, &[]);
            }
        }
        true
    }

    fn open_records(&mut self, token: Token, bytes: &[u8]) {
        let now_ms = self.desk.now_ms();
        let connection = self.desk.connection(token);
        let began = connection.is_handshaking().then(Instant::now);
        if began.is_none() {
            connection.heard_record(now_ms);
        }
        let Some(tls) = &mut connection.tls else {
            unreachable!("the caller has looked");
        };
        let mut plain = std::mem::take(&mut self.records.plain);
        let opened = tls.open(bytes, &mut plain);
        connection.peer_closed |= tls.is_closed_by_peer();
        if let Some(began) = began {
            self.records.spent += began.elapsed();
            if !connection.is_handshaking() {
                // The handshake may have waited long; the next wait begins here.
                connection.heard(now_ms);
                self.tally().tls_handshakes.add(1);
            }
        }
        if !plain.is_empty() {
            self.on_bytes(token, &plain);
        }
        if plain.capacity() <= POOLED_BUFFER_BYTES_MAX {
            plain.clear();
            self.records.plain = plain;
        }
        match opened {
            Ok(()) => {}
            Err(Fault::PlainHttp) => self.refuse_plain_http(token),
            Err(fault) => {
                tracing::debug!(core = self.id.0, %fault, "a TLS connection was ended");
                self.tally().tls_faults.add(1);
                self.desk.connection(token).fail();
            }
        }
        self.desk.list(token);
    }

    /// Answers a request that came without TLS in kind.
    fn refuse_plain_http(&mut self, token: Token) {
        self.desk.connection(token).tls = None;
        let message = "this port speaks TLS; write the address as https://";
        let problem = Problem::new(Code::TlsRequired, message);
        self.desk.end_with(token, &problem);
    }
}
