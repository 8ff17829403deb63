//! One connection: what it has sent that was not understood yet, and what it is
//! owed, in order.
//!
//! A connection knows no ring and no shard. It holds one [`Slot`] for each
//! request in flight; a slot is rendered once everything before it is, so that
//! pipelined responses leave in request order whichever core answers first.

use std::{collections::VecDeque, net::SocketAddr, os::fd::OwnedFd, time::Duration};

use bytes::Bytes;

use super::{
    gate::Guard,
    tally::final_status,
    witness::{Note, body_bytes},
};
use crate::{
    api::{self, BodyMode, Label, Problem, Render, ReplyContext},
    http::{Bounds, DateField, Decoder, Persistence, Phase},
    id::Id,
    limits::{
        BODY_BYTES_PER_S_WHEN_FULL, BODY_RATE_BYTES_MIN, LINGER_MS, OUTPUT_BYTES_MAX, SILENCE_MS,
        STREAM_BYTES_PER_S_MIN, STREAM_SEND_MS_MAX, WEIGHTY_BYTES,
    },
    op::{Durability, Expires, Outcome},
    tls::Session,
};

/// A document that gets its id from the server.
#[derive(Clone)]
pub struct Unplaced {
    pub document: Bytes,
    pub expires: Expires,
    pub durability: Durability,
}

/// A connection and its exchanges in flight.
pub struct Connection {
    pub socket: OwnedFd,
    /// The other end.
    pub peer: SocketAddr,
    /// What the peer must show.
    pub guard: Guard,
    /// What lies between the socket and `input` and `output`, if the listener speaks TLS.
    pub tls: Option<Box<Session>>,
    pub decoder: Decoder,
    /// Bytes received and not yet consumed by a request.
    pub input: Vec<u8>,
    /// The request that is being executed, until it is answered or has a slot.
    exchange: Option<Exchange>,
    /// Requests in flight, oldest first.
    slots: VecDeque<Slot>,
    /// The number of `slots[0]`; requests of a connection are counted, wrapping.
    first: u32,
    /// How many slots an outcome is still awaited for.
    awaited: u32,
    /// Responses that no send has taken yet.
    pub output: Vec<u8>,
    pub sending: bool,
    pub receiving: Receiving,
    /// Whether reading waits for a bound (requests or output in flight) to have room.
    pub parked: bool,
    /// Whether a TLS handshake waits for the core to have time.
    pub awaits_handshake: bool,
    pub peer_closed: bool,
    pub stage: Stage,
    /// Whether the connection is on the list of those to look at before the turn ends.
    pub listed: bool,
    /// Until when its requests are taken to be costly, because others were.
    pub costly_until_ms: u64,
    /// Bytes of answers that have others before them.
    pub ready_bytes: usize,
    /// What it holds, as the desk has counted it.
    pub counted_bytes: usize,
    /// Whether the next response is a large one, which is rendered when there is time.
    pub awaits_rendering: bool,
    /// How long parts of costly work took since they were last charged.
    pub uncharged: Duration,
    /// Whether its socket was looked at since bytes arrived.
    was_looked_at: bool,
    clock: Clock,
}

/// Whether the ring reports what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    On,
    Stopping,
    Off,
}

/// How far a connection is through its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Requests are read.
    Open,
    /// No more requests are read; what is in flight is answered.
    Ending,
    /// Everything is sent and our side is shut; the peer may still read until the time given.
    Lingering { until_ms: u64 },
    /// The socket is shut; waiting for the ring and the shards to let go of it.
    Dead,
}

/// A request, as it is counted.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub label: Label,
    /// When it was received, in microseconds of the core's clock.
    pub began_us: u64,
    /// For the access log, if there is one.
    pub note: Option<Box<Note>>,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    pub exchange: Exchange,
    pub status: u16,
    /// Bytes of the body, if the request has a note; without what is streamed later.
    pub body_bytes: usize,
}

/// A request in flight.
struct Slot {
    /// `None`: it is counted already, or is none.
    exchange: Option<Exchange>,
    persistence: Persistence,
    state: SlotState,
}

enum SlotState {
    /// The owner of the document has not answered yet.
    Awaited(Render),
    /// As before, and the server chooses the id: each try takes another one.
    Choosing {
        render: Render,
        document: Unplaced,
        tries: u32,
        id: Option<Id>,
    },
    Ready {
        render: Render,
        outcome: Outcome,
        id: Option<Id>,
    },
    /// Several cores answer together.
    Gathering,
    /// A body that is made while it is sent.
    Streaming,
    /// A response that needs nothing more.
    Rendered(Vec<u8>),
}

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Between requests for too long: closed without a word.
    Idle,
    /// In the middle of a request: told so.
    Request(&'static str),
    /// In the middle of a TLS handshake: closed without a word.
    Handshake,
    /// The peer does not take what it is sent, or lingers too long.
    Peer,
}

/// When something last happened, in milliseconds of the core's clock.
struct Clock {
    heard_ms: u64,
    request_began_ms: u64,
    body_counted_ms: u64,
    body_counted_bytes: usize,
    sent_ms: u64,
    /// When the send under way began, and how much it is.
    send_began_ms: u64,
    send_bytes: usize,
}

impl Connection {
    pub fn new(
        socket: OwnedFd,
        peer: SocketAddr,
        guard: Guard,
        bounds: Bounds,
        now_ms: u64,
    ) -> Connection {
        Connection {
            socket,
            peer,
            guard,
            tls: None,
            decoder: Decoder::new(bounds),
            input: Vec::new(),
            exchange: None,
            slots: VecDeque::new(),
            first: 0,
            awaited: 0,
            output: Vec::new(),
            sending: false,
            receiving: Receiving::Off,
            parked: false,
            awaits_handshake: false,
            peer_closed: false,
            stage: Stage::Open,
            listed: false,
            costly_until_ms: 0,
            ready_bytes: 0,
            counted_bytes: 0,
            awaits_rendering: false,
            uncharged: Duration::ZERO,
            was_looked_at: false,
            clock: Clock {
                heard_ms: now_ms,
                request_began_ms: now_ms,
                body_counted_ms: now_ms,
                body_counted_bytes: 0,
                sent_ms: now_ms,
                send_began_ms: now_ms,
                send_bytes: 0,
            },
        }
    }

    /// Begins a request.
    pub fn begin_exchange(&mut self, exchange: Exchange) {
        self.exchange = Some(exchange);
    }

    /// The request that was begun and has no slot, with its `response`, which is final.
    pub fn end_exchange(&mut self, response_at: usize) -> Option<Answered> {
        answered(self.exchange.take(), &self.output[response_at..])
    }

    /// The request of number `number`, whose response begins here and ends later.
    pub fn begin_answer(&mut self, number: u32, response_at: usize) -> Option<Answered> {
        let exchange = self.slot(number).exchange.take();
        answered(exchange, &self.output[response_at..])
    }

    /// Whether its requests are taken to be costly.
    pub fn is_costly(&self, now_ms: u64) -> bool {
        now_ms < self.costly_until_ms
    }

    /// Whether a response can be rendered straight to the output.
    pub fn is_next(&self) -> bool {
        self.slots.is_empty() && self.output.len() < OUTPUT_BYTES_MAX
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.slots.len()
    }

    /// Whether the connection owes and expects nothing.
    pub fn is_quiet(&self) -> bool {
        self.is_settled() && self.received_bytes() == 0
    }

    /// Whether everything owed was sent.
    pub fn is_settled(&self) -> bool {
        self.slots.is_empty() && !self.has_output() && !self.sending
    }

    /// Whether there is something to be sent.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.has_outgoing())
    }

    /// Bytes that the peer sent and no request has consumed, encrypted or not.
    pub fn received_bytes(&self) -> usize {
        self.input.len() + self.tls.as_ref().map_or(0, |tls| tls.incoming_bytes())
    }

    /// Bytes of requests that are not whole and of responses that the peer has not taken.
    pub fn held_bytes(&self) -> usize {
        let sent_bytes = match self.sending {
            true => self.clock.send_bytes,
            false => 0,
        };
        let kept_bytes = self.decoder.kept_bytes();
        self.received_bytes() + kept_bytes + self.ready_bytes + self.output.len() + sent_bytes
    }

    /// Since when it holds what a peer has not taken or not ended, or is too much to be done.
    pub fn holds_since_ms(&self) -> Option<u64> {
        if self.sending {
            return Some(self.clock.send_began_ms);
        }
        if self.awaits_rendering {
            return Some(self.clock.sent_ms);
        }
        let waits = self.stage == Stage::Open && self.slots.is_empty();
        (waits && self.received_bytes() > 0).then_some(self.clock.request_began_ms)
    }

    /// Whether a TLS handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether nobody holds on to the connection any more.
    pub fn is_free(&self) -> bool {
        self.stage == Stage::Dead
            && self.awaited == 0
            && !self.sending
            && self.receiving == Receiving::Off
    }

    /// The number that the next slot will have.
    pub fn next_number(&self) -> u32 {
        let count = u32::try_from(self.slots.len()).expect("PIPELINE_MAX is small");
        self.first.wrapping_add(count)
    }

    /// Takes a slot for a request whose outcome comes later; returns its number.
    pub fn await_outcome(&mut self, render: Render, persistence: Persistence) -> u32 {
        self.awaited += 1;
        self.push(SlotState::Awaited(render), persistence)
    }

    /// Takes a slot for a document that gets its id from the server.
    pub fn await_choice(
        &mut self,
        render: Render,
        persistence: Persistence,
        document: Unplaced,
    ) -> u32 {
        self.awaited += 1;
        self.push(
            SlotState::Choosing {
                render,
                document,
                tries: 0,
                id: None,
            },
            persistence,
        )
    }

    /// Takes a slot for a request that several cores answer together.
    pub fn await_gather(&mut self, persistence: Persistence) -> u32 {
        self.awaited += 1;
        self.push(SlotState::Gathering, persistence)
    }

    /// Takes a slot for a request whose body is made while it is sent.
    pub fn await_stream(&mut self, persistence: Persistence) -> u32 {
        self.awaited += 1;
        self.push(SlotState::Streaming, persistence)
    }

    /// Whether the last request is one behind which others wait.
    pub fn is_gathering(&self) -> bool {
        let last = self.slots.back();
        last.is_some_and(|slot| matches!(slot.state, SlotState::Gathering | SlotState::Streaming))
    }

    /// Appends a part of a body to the responses.
    pub fn append(&mut self, bytes: Vec<u8>) {
        match self.output.is_empty() {
            true => self.output = bytes,
            false => self.output.extend_from_slice(&bytes),
        }
    }

    /// Whether everything before request `number` is answered.
    pub fn is_first(&self, number: u32) -> bool {
        self.first == number
    }

    /// Takes in the response to request `number`, which several cores answered together, or
    /// what is left of one that was streamed.
    pub fn finish(&mut self, number: u32, mut response: Vec<u8>) {
        if self.stage == Stage::Dead {
            // Nobody is told.
            response = Vec::new();
        }
        let ready_bytes = response.len();
        let state = &mut self.slot(number).state;
        assert!(
            matches!(state, SlotState::Gathering | SlotState::Streaming),
            "answered once"
        );
        *state = SlotState::Rendered(response);
        self.ready_bytes += ready_bytes;
        self.awaited -= 1;
    }

    /// Takes a slot for an outcome that is known but has others before it.
    pub fn hold(&mut self, render: Render, persistence: Persistence, outcome: Outcome) {
        self.ready_bytes += outcome.document_bytes();
        self.push(
            SlotState::Ready {
                render,
                outcome,
                id: None,
            },
            persistence,
        );
    }

    /// Takes a slot for a response that is known but has others before it.
    pub fn hold_rendered(&mut self, response: Vec<u8>, persistence: Persistence) {
        self.ready_bytes += response.len();
        self.push(SlotState::Rendered(response), persistence);
    }

    /// Notes the id that request `number` tries next, and returns its document for the write.
    pub fn try_id(&mut self, number: u32, chosen: Id) -> Unplaced {
        match &mut self.slot(number).state {
            SlotState::Choosing { document, id, .. } => {
                *id = Some(chosen);
                document.clone()
            }
            _ => panic!("only a request that waits for an id is given one"),
        }
    }

    /// Takes in the outcome of request `number`. When the id that the server chose is in use
    /// already, nothing is settled: returns how many ids in a row were.
    pub fn settle(&mut self, number: u32, outcome: Outcome) -> Option<u32> {
        if self.stage == Stage::Dead {
            // Nobody is told.
            self.slot(number).state = SlotState::Rendered(Vec::new());
            self.awaited -= 1;
            return None;
        }
        let ready_bytes = outcome.document_bytes();
        let state = &mut self.slot(number).state;
        if let (SlotState::Choosing { tries, .. }, Outcome::ConditionFailed) =
            (&mut *state, &outcome)
        {
            *tries += 1;
            return Some(*tries);
        }
        *state = match std::mem::replace(state, SlotState::Rendered(Vec::new())) {
            SlotState::Awaited(render) => SlotState::Ready {
                render,
                outcome,
                id: None,
            },
            SlotState::Choosing { render, id, .. } => SlotState::Ready {
                render,
                outcome,
                id,
            },
            SlotState::Ready { .. }
            | SlotState::Gathering
            | SlotState::Streaming
            | SlotState::Rendered(_) => {
                panic!("a request has one outcome")
            }
        };
        self.ready_bytes += ready_bytes;
        self.awaited -= 1;
        None
    }

    /// Renders the responses whose turn has come, as far as the output has room and up to so many
    /// large ones, and says what they answer.
    pub fn render_ready(&mut self, date: &DateField, answers: &mut Vec<Answered>, large_max: u32) {
        let mut large_count = 0;
        self.awaits_rendering = false;
        while self.output.len() < OUTPUT_BYTES_MAX {
            let response_at = self.output.len();
            match self.slots.front() {
                None
                | Some(Slot {
                    state:
                        SlotState::Awaited(_)
                        | SlotState::Choosing { .. }
                        | SlotState::Gathering
                        | SlotState::Streaming,
                    ..
                }) => break,
                Some(Slot {
                    persistence, state, ..
                }) => match state {
                    SlotState::Ready {
                        render,
                        outcome,
                        id,
                    } => {
                        let reply = ReplyContext {
                            persistence: *persistence,
                            date,
                        };
                        let document_bytes = outcome.document_bytes();
                        large_count += u32::from(document_bytes >= WEIGHTY_BYTES);
                        if large_count > large_max {
                            self.awaits_rendering = true;
                            break;
                        }
                        self.ready_bytes -= document_bytes;
                        api::render(render, outcome, id.as_ref(), &reply, &mut self.output);
                    }
                    SlotState::Rendered(response) => {
                        self.ready_bytes -= response.len();
                        self.output.extend_from_slice(response);
                    }
                    SlotState::Awaited(_)
                    | SlotState::Choosing { .. }
                    | SlotState::Gathering
                    | SlotState::Streaming => {
                        unreachable!("matched above")
                    }
                },
            }
            let exchange = self.slots.pop_front().and_then(|slot| slot.exchange);
            answers.extend(answered(exchange, &self.output[response_at..]));
            self.first = self.first.wrapping_add(1);
        }
        if self.slots.is_empty() && self.slots.capacity() > 0 && self.output.is_empty() {
            self.slots = VecDeque::new();
        }
    }

    /// Renders `problem` as the last response, to what was no request, and reads no further one.
    pub fn end_with(
        &mut self,
        problem: &Problem,
        body_mode: BodyMode,
        date: &DateField,
        now_us: u64,
        note: Option<Box<Note>>,
    ) {
        self.begin_exchange(Exchange {
            label: Label::UNREAD,
            began_us: now_us,
            note,
        });
        let mut response = Vec::new();
        let context = ReplyContext {
            persistence: Persistence::Close,
            date,
        };
        api::render_problem(problem, body_mode, &context, &mut response);
        self.hold_rendered(response, Persistence::Close);
        self.end();
    }

    /// Reads no further request.
    pub fn end(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Ending;
        }
        self.parked = false;
        self.input = Vec::new();
        self.decoder.forget();
    }

    /// Begins to wait for the peer to read the last response.
    pub fn linger(&mut self, now_ms: u64) {
        self.stage = Stage::Lingering {
            until_ms: now_ms + LINGER_MS,
        };
    }

    /// Forgets everything that cannot be sent any more.
    pub fn die(&mut self) {
        self.end();
        self.stage = Stage::Dead;
        self.output = Vec::new();
        for slot in &mut self.slots {
            if let SlotState::Ready { .. } | SlotState::Rendered(_) = slot.state {
                slot.state = SlotState::Rendered(Vec::new());
            }
        }
        self.ready_bytes = 0;
    }

    /// Notes that bytes arrived.
    pub fn heard(&mut self, now_ms: u64) {
        if self.decoder.phase() == Phase::Idle && self.input.is_empty() {
            self.clock.request_began_ms = now_ms;
            self.clock.body_counted_ms = now_ms;
            self.clock.body_counted_bytes = 0;
        }
        self.clock.heard_ms = now_ms;
        self.was_looked_at = false;
    }

    /// Whether its peer has said nothing for a while in the middle of a request, which is asked
    /// once.
    pub fn has_fallen_silent(&mut self, now_ms: u64) -> bool {
        let is_silent = !self.was_looked_at
            && self.stage == Stage::Open
            && !self.parked
            && (self.received_bytes() > 0 || self.decoder.phase() != Phase::Idle)
            && now_ms >= self.clock.heard_ms + SILENCE_MS;
        self.was_looked_at |= is_silent;
        is_silent
    }

    /// Notes that bytes of TLS arrived: a part of a record begins a request, but what a peer
    /// sends in records without content does not count as heard.
    pub fn heard_record(&mut self, now_ms: u64) {
        if self.decoder.phase() == Phase::Idle && self.received_bytes() == 0 {
            self.clock.request_began_ms = now_ms;
        }
    }

    /// Notes that the kernel took bytes of a response.
    pub fn sent(&mut self, now_ms: u64) {
        self.clock.sent_ms = now_ms;
        self.clock.heard_ms = now_ms;
    }

    /// Whether the peer took longer than it may.
    pub fn overdue(&mut self, timeouts: &crate::config::Timeouts, now_ms: u64) -> Option<Overdue> {
        let past = |since_ms: u64, limit: std::time::Duration| {
            u128::from(now_ms.saturating_sub(since_ms)) >= limit.as_millis()
        };
        if let Stage::Lingering { until_ms } = self.stage {
            return (now_ms >= until_ms).then_some(Overdue::Peer);
        }
        if self.stage == Stage::Open && self.is_handshaking() {
            return past(self.clock.request_began_ms, timeouts.head).then_some(Overdue::Handshake);
        }
        if self.sending {
            let is_stuck = past(self.clock.sent_ms, timeouts.write);
            return (is_stuck || self.is_slow_stream(now_ms)).then_some(Overdue::Peer);
        }
        if self.stage != Stage::Open || !self.slots.is_empty() || self.parked {
            return None;
        }
        match self.decoder.phase() {
            Phase::Idle if self.received_bytes() == 0 => {
                past(self.clock.heard_ms, timeouts.idle).then_some(Overdue::Idle)
            }
            Phase::Idle | Phase::Head => past(self.clock.request_began_ms, timeouts.head)
                .then_some(Overdue::Request("the request head did not arrive in time; send it at once")),
            Phase::Body => self.body_is_slow(timeouts.body, now_ms).then_some(Overdue::Request(
                "the request body stopped arriving; send at least 1024 bytes within the body timeout",
            )),
        }
    }

    /// Since when the server waits for the peer alone: for a request, for the rest of one, or for
    /// it to take a response. What it sent or is sent counts for the time that it may take.
    pub fn waits_since_ms(&self) -> Option<u64> {
        let worth_ms = |bytes: usize| {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            bytes.saturating_mul(1000) / BODY_BYTES_PER_S_WHEN_FULL
        };
        if self.sending {
            return Some(self.clock.send_began_ms + worth_ms(self.clock.send_bytes));
        }
        if self.stage != Stage::Open || !self.slots.is_empty() || self.parked {
            return None;
        }
        if self.is_handshaking() {
            return (!self.awaits_handshake).then_some(self.clock.request_began_ms);
        }
        Some(match self.decoder.phase() {
            Phase::Idle if self.received_bytes() == 0 => self.clock.heard_ms,
            Phase::Idle | Phase::Head => self.clock.request_began_ms,
            Phase::Body => self.clock.request_began_ms + worth_ms(self.received_bytes()),
        })
    }

    /// Begins a new send of what there is: the write timeout counts from here.
    pub fn begin_send(&mut self, now_ms: u64) -> Vec<u8> {
        let output = std::mem::take(&mut self.output);
        let bytes = match self.tls {
            None => output,
            Some(_) => self.seal(&output),
        };
        self.sending = !bytes.is_empty();
        self.clock.sent_ms = now_ms;
        self.clock.send_began_ms = now_ms;
        self.clock.send_bytes = bytes.len();
        bytes
    }

    /// The records that hold `output`, and with the last response the word that it is.
    fn seal(&mut self, output: &[u8]) -> Vec<u8> {
        let is_last = self.stage == Stage::Ending && self.slots.is_empty();
        let tls = self.tls.as_mut().expect("the caller has looked");
        let sealed = tls.seal(output);
        if is_last {
            tls.close();
        }
        let bytes = tls.take_outgoing();
        if sealed.is_err() {
            self.fail();
        }
        bytes
    }

    /// Ends a connection that can be neither read nor written any more; an alert that is to be
    /// sent still is.
    pub fn fail(&mut self) {
        self.end();
        // What is in flight comes to nothing, and a stream is not to wait for more.
        self.peer_closed |= !self.slots.is_empty();
    }

    /// Whether the peer takes a streamed response slower than it must: what is sent of it
    /// keeps a file of the log open.
    fn is_slow_stream(&self, now_ms: u64) -> bool {
        let is_streaming = self.slots.front();
        let is_streaming =
            is_streaming.is_some_and(|slot| matches!(slot.state, SlotState::Streaming));
        let bytes = u64::try_from(self.clock.send_bytes).unwrap_or(u64::MAX);
        let due_ms = STREAM_SEND_MS_MAX + bytes.saturating_mul(1000) / STREAM_BYTES_PER_S_MIN;
        is_streaming && now_ms.saturating_sub(self.clock.send_began_ms) >= due_ms
    }

    fn body_is_slow(&mut self, limit: std::time::Duration, now_ms: u64) -> bool {
        let since_ms = now_ms.saturating_sub(self.clock.body_counted_ms);
        if u128::from(since_ms) < limit.as_millis() {
            return false;
        }
        let received = self.received_bytes();
        let arrived = received.saturating_sub(self.clock.body_counted_bytes);
        self.clock.body_counted_ms = now_ms;
        self.clock.body_counted_bytes = received;
        arrived < BODY_RATE_BYTES_MIN
    }

    fn push(&mut self, state: SlotState, persistence: Persistence) -> u32 {
        let number = self.next_number();
        self.slots.push_back(Slot {
            exchange: self.exchange.take(),
            persistence,
            state,
        });
        number
    }

    fn slot(&mut self, number: u32) -> &mut Slot {
        let index = usize::try_from(number.wrapping_sub(self.first)).expect("at least 32 bits");
        self.slots
            .get_mut(index)
            .expect("a slot stays until its outcome came")
    }
}

/// What a final `response` to `exchange` answers.
fn answered(exchange: Option<Exchange>, response: &[u8]) -> Option<Answered> {
    let status = final_status(response)?;
    exchange.map(|exchange| Answered {
        status,
        body_bytes: exchange.note.as_ref().map_or(0, |_| body_bytes(response)),
        exchange,
    })
}
