//! From bytes to operations, from outcomes to responses: the part of a core that
//! deals with requests and with what its peers answer.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use slab::Slab;

use super::{
    addresses::Subscriber,
    connection::{Exchange, Stage, Unplaced},
    core::{Caller, Core, Waiter, millis},
    desk::{Desk, Seat},
    gate::Guard,
    gather::Waiting,
    process::Process,
    rest::Client,
    ring::Token,
    share::{Asker, Share},
    witness::Note,
};
use crate::{
    api::{self, BodyMode, Label, Need, Plan, Problem, Render, ReplyContext, Report},
    http::{CONTINUE, Field, Method, Persistence, Phase, Request, Step, Transfer},
    id::{CoreId, Id},
    limits::{
        CALLS_MAX, COSTLY_BYTES, COSTLY_GZIP_BYTES, COSTLY_MEMORY_MS, COSTLY_UNSETTLED_BYTES,
        COSTLY_US, OUTPUT_BYTES_MAX, PIPELINE_MAX, PIPELINED_COSTLY_MIN, REST, SENT_BYTES_PER_US,
        TURN_MS, TURN_REQUESTS_MIN, WEIGHTY_BYTES,
    },
    mesh::{Answer, Ask, Call, CallId, Mesh, Parcel},
    op::{Chosen, Condition, Durability, Op, Outcome, Refusal},
    shard::{Settled, Shard},
};

/// Outcomes on their way to those who waited for them.
pub(super) struct Answers<'a> {
    process: &'a Process,
    mesh: &'a mut Mesh,
    desk: &'a mut Desk,
    shares: &'a mut Slab<Share>,
    /// Documents whose chosen id is in use, and how many ids in a row were.
    taken: Vec<(Seat, u32)>,
    finished: Vec<(Asker, Vec<Outcome>)>,
}

impl Answers<'_> {
    pub(super) fn give(&mut self, waiter: Waiter, outcome: Outcome) {
        match waiter {
            Waiter::Seat(seat) => {
                if let Some(tries) = self.desk.settle(seat, outcome) {
                    self.taken.push((seat, tries));
                }
            }
            Waiter::Peer(peer, call) => {
                self.process.note_answer(peer, &outcome);
                let answer = Answer::Outcome(outcome);
                self.mesh.to(peer).replies.push((call, answer));
            }
            Waiter::Share { share, index } => {
                if let Some(told) = self.shares[share].finish_one(index, outcome) {
                    self.shares.remove(share);
                    self.finished.push(told);
                }
            }
            Waiter::Coordinator(_) => unreachable!("it waits for a vote"),
        }
    }
}

impl Core {
    /// Takes in bytes of a peer and executes the requests that are whole.
    pub(super) fn on_bytes(&mut self, token: Token, bytes: &[u8]) {
        let now_ms = self.desk.now_ms();
        let connection = self.desk.connection(token);
        if connection.stage != Stage::Open {
            return;
        }
        connection.heard(now_ms);
        let began = (connection.decoder.phase() == Phase::Body).then(Instant::now);
        if !connection.parked && connection.is_costly(now_ms) && self.others_about(token) {
            // Behind the light requests that have arrived.
            self.desk.park(token);
        }
        let connection = self.desk.connection(token);
        if connection.parked {
            connection.input.extend_from_slice(bytes);
            self.desk.list(token);
        } else if connection.input.is_empty() {
            let consumed = self.serve(token, bytes);
            self.keep(token, &bytes[consumed..]);
            self.desk.count_held(token);
        } else {
            connection.input.extend_from_slice(bytes);
            self.serve_input(token);
            self.desk.count_held(token);
        }
        if let Some(began) = began {
            self.charge_part(token, began);
        }
    }

    /// Goes on with connections that waited for room or time; whether there was some.
    pub(super) fn resume_parked(&mut self) -> bool {
        if self.desk.parked.is_empty() {
            return false;
        }
        if self.turn_is_long() {
            // They go on in the next turn, which there must be.
            return true;
        }
        let (mut any, mut resting) = (false, Vec::new());
        for token in std::mem::take(&mut self.desk.parked) {
            let Some(connection) = self.desk.connections.get_mut(to_index(token)) else {
                continue;
            };
            if !connection.parked {
                continue;
            }
            if self.is_put_off(token) {
                resting.push(token);
                continue;
            }
            let connection = self.desk.connection(token);
            connection.parked = false;
            if connection.stage.is_open() {
                any |= self.serve_input(token) > 0;
                self.desk.list(token);
            }
        }
        // Those that were served are last now.
        resting.append(&mut self.desk.parked);
        self.desk.parked = resting;
        any
    }

    /// Answers the calls of a peer and takes in its answers to ours.
    pub(super) fn on_parcel(&mut self, peer: CoreId, parcel: Parcel) {
        for settled in parcel.settled {
            self.on_settled(settled);
        }
        for batch in parcel.batches {
            let log = self
                .log
                .as_ref()
                .expect("records are sent to the core that runs the log");
            log.submit(peer, batch);
        }
        self.take_calls(peer, parcel.calls);
        for (call, answer) in parcel.replies {
            match (self.calls.remove(to_index(call)), answer) {
                (Caller::Seat(seat), Answer::Outcome(outcome)) => {
                    self.process.note_taken(self.id, &outcome);
                    self.settle(seat, outcome);
                }
                (Caller::Seat(seat), Answer::NextId(id)) => self.store_under(seat, id),
                (Caller::Gather(gather), Answer::Listed(page)) => self.on_listed(gather, page),
                (Caller::Gather(gather), Answer::NextIds(ids)) => self.on_ids(gather, ids),
                (Caller::Gather(gather), Answer::Outcomes(outcomes)) => {
                    self.on_outcomes(gather, peer, outcomes);
                }
                (Caller::Gather(gather), Answer::Atomic(result)) => {
                    self.end_atomic(gather, result);
                }
                (Caller::Coordinator(key), Answer::Vote(vote)) => {
                    self.coordinator.vote(key, peer, vote);
                }
                (Caller::Coordinator(key), Answer::Concluded) => self.coordinator.concluded(key),
                (Caller::Log(core), Answer::Found(finding)) => {
                    let log = self.log.as_ref().expect("it asked");
                    log.inquiries().answer(core, finding);
                }
                (caller, answer) => unreachable!("{answer:?} is no answer to {caller:?}"),
            }
        }
    }

    /// Answers everyone who waited for these records.
    pub(super) fn on_settled(&mut self, settled: Settled) {
        self.answer_all(|shard, answers| {
            shard.settle(settled, |waiter, outcome| answers.give(waiter, outcome));
        });
        self.cast_votes();
    }

    /// Has the shard do something of which it tells outcomes, and passes them on.
    pub(super) fn answer_all(&mut self, act: impl FnOnce(&mut Shard<Waiter>, &mut Answers<'_>)) {
        let mut answers = Answers {
            process: &self.process,
            mesh: &mut self.mesh,
            desk: &mut self.desk,
            shares: &mut self.shares,
            taken: Vec::new(),
            finished: Vec::new(),
        };
        act(&mut self.shard, &mut answers);
        let Answers {
            taken, finished, ..
        } = answers;
        for (asker, outcomes) in finished {
            self.tell(asker, outcomes);
        }
        for (seat, tries) in taken {
            self.ask_for_id(seat, tries);
        }
    }

    pub(super) fn reply(&mut self, peer: CoreId, call: CallId, answer: Answer) {
        self.mesh.to(peer).replies.push((call, answer));
    }

    pub(super) fn settle(&mut self, seat: Seat, outcome: Outcome) {
        if let Some(tries) = self.desk.settle(seat, outcome) {
            self.ask_for_id(seat, tries);
        }
    }

    /// Returns how many bytes of the input were served.
    fn serve_input(&mut self, token: Token) -> usize {
        let mut input = std::mem::take(&mut self.desk.connection(token).input);
        let consumed = self.serve(token, &input);
        let connection = self.desk.connection(token);
        if connection.stage.is_open() && consumed < input.len() {
            input.drain(..consumed);
            connection.input = input;
        }
        consumed
    }

    fn keep(&mut self, token: Token, rest: &[u8]) {
        let connection = self.desk.connection(token);
        if connection.stage.is_open() && !rest.is_empty() {
            connection.input.extend_from_slice(rest);
        }
    }

    /// Executes the whole requests of `input`, as far as the bounds on what is in
    /// flight and on time allow; returns how many bytes they had.
    fn serve(&mut self, token: Token, input: &[u8]) -> usize {
        let (mut consumed, mut served) = (0, 0);
        let mut has_time = true;
        // When some of the requests so far were behind it.
        let mut looked = self.now;
        while consumed < input.len() {
            if served > 0 && served % TURN_REQUESTS_MIN == 0 {
                let now = Instant::now();
                has_time &= now - self.now < TURN;
                if served == TURN_REQUESTS_MIN {
                    looked = now;
                } else if served % PIPELINED_COSTLY_MIN == 0 {
                    self.note_costly(token, now - looked, now);
                    has_time &= !self.others_about(token);
                    looked = now;
                }
            }
            let connection = self.desk.connection(token);
            let room = has_time
                && !connection.is_gathering()
                && connection.in_flight() < PIPELINE_MAX
                && connection.output.len() < OUTPUT_BYTES_MAX
                && connection.ready_bytes < OUTPUT_BYTES_MAX
                && self.calls.len() < CALLS_MAX;
            if !room {
                self.desk.park(token);
                break;
            }
            match connection.decoder.next(&input[consumed..]) {
                Ok(step @ (Step::NeedMore | Step::Continue)) => {
                    let is_refused = self.refuse_body(token, &input[consumed..]);
                    if step == Step::Continue && !is_refused {
                        self.respond(token, CONTINUE, Persistence::KeepAlive);
                    }
                    break;
                }
                Ok(Step::Request {
                    mut request,
                    consumed: bytes,
                }) => {
                    let began = may_be_costly(&request).then(Instant::now);
                    let rests = began.is_some()
                        && is_large(&request)
                        && (self.must_rest(self.client(token)) || self.waits_for_logs(token));
                    if rests {
                        // It is decoded again when its time has come.
                        self.remember_costly(token);
                        self.puts_off = true;
                        self.desk.park(token);
                        break;
                    }
                    consumed += bytes;
                    served += 1;
                    if let Some(cors) = &self.cors {
                        request.cors = cors.of(&request.fields);
                    }
                    self.execute(token, &request);
                    // What is behind a costly one waits, however it is pipelined.
                    has_time &= began.is_none_or(|began| !self.charge(token, began));
                    if !self.desk.connection(token).stage.is_open() {
                        break;
                    }
                }
                Err(fault) => {
                    let peer = self.desk.connection(token).peer;
                    self.suspects.note(Subscriber::of(peer.ip()));
                    self.desk.end_with(token, &fault.into());
                    break;
                }
            }
        }
        if served > 0 && !self.is_costly(token) {
            self.rest.saw_light(self.client(token), self.now);
        }
        consumed
    }

    /// Whether a turn has taken long enough for connections to give way to others.
    pub(super) fn turn_is_long(&self) -> bool {
        self.now.elapsed() >= TURN
    }

    /// Notes what was done for a connection since `began`; whether that was costly.
    pub(super) fn charge(&mut self, token: Token, began: Instant) -> bool {
        let now = Instant::now();
        let took = now - began;
        let is_costly = took >= COSTLY;
        if is_costly {
            self.note_costly(token, took, now);
        }
        is_costly
    }

    /// The same of a part of what is costly as a whole: it is noted once there is enough of it.
    pub(super) fn charge_part(&mut self, token: Token, began: Instant) {
        let now = Instant::now();
        let connection = self.desk.connection(token);
        connection.uncharged += now - began;
        if connection.uncharged >= COSTLY {
            let took = std::mem::take(&mut connection.uncharged);
            self.note_costly(token, took, now);
        }
    }

    /// The same of what is done for a connection of another core, or for several.
    pub(super) fn charge_anyone(&mut self, began: Instant) {
        let now = Instant::now();
        if now - began >= COSTLY {
            self.rest.charge(now - began, now);
        }
    }

    /// The same of a slice that a thread made, and of sending it.
    pub(super) fn charge_slice(&mut self, token: Token, took: Duration, bytes: usize) {
        let took = took + sending(bytes);
        if took >= COSTLY {
            self.note_costly(token, took, Instant::now());
        }
    }

    fn note_costly(&mut self, token: Token, took: Duration, now: Instant) {
        self.rest.charge(took, now);
        let until = now - self.now + REST * took;
        let until_ms = self.desk.now_ms() + millis(until) + COSTLY_MEMORY_MS;
        let connection = self.desk.connection(token);
        connection.costly_until_ms = connection.costly_until_ms.max(until_ms);
    }

    /// Renders large responses whose turn has come, one of each connection; whether there was one.
    pub(super) fn render_large(&mut self) -> bool {
        let (mut any, mut resting) = (false, Vec::new());
        for token in std::mem::take(&mut self.desk.large) {
            let connection = self.desk.connections.get(to_index(token));
            if !connection.is_some_and(|connection| connection.awaits_rendering) {
                continue;
            }
            if self.is_put_off(token) {
                resting.push(token);
                continue;
            }
            let began = Instant::now();
            let rendered_bytes = self.desk.render_large(token);
            self.charge_slice(token, began.elapsed(), rendered_bytes);
            any = true;
        }
        resting.append(&mut self.desk.large);
        self.desk.large = resting;
        any
    }

    pub(super) fn client(&self, token: Token) -> Client {
        Client {
            core: self.id,
            token,
        }
    }

    fn is_costly(&mut self, token: Token) -> bool {
        let now_ms = self.desk.now_ms();
        self.desk.connection(token).is_costly(now_ms)
    }

    /// Whether anyone but this connection asks for light work.
    pub(super) fn others_about(&self, token: Token) -> bool {
        self.rest.others_about(self.client(token), self.now)
    }

    /// Whether costly work for this client has to wait.
    pub(super) fn must_rest(&self, client: Client) -> bool {
        self.drain_until.is_none() && self.rest.must_wait(client, self.now)
    }

    /// Whether a costly write of this client has to wait until there are fewer on their way to
    /// disk.
    pub(super) fn waits_for_log(&self, client: Client) -> bool {
        self.drain_until.is_none()
            && self.shard.unsettled_bytes() > COSTLY_UNSETTLED_BYTES
            && self.rest.had_turn(self.now)
            && self.rest.others_about(client, self.now)
    }

    /// The same of a write whose owner is not known yet.
    fn waits_for_logs(&self, token: Token) -> bool {
        let is_behind = |core| {
            let unsettled_bytes = self.process.tally(core).unsettled_bytes.get();
            usize::try_from(unsettled_bytes).is_ok_and(|bytes| bytes > COSTLY_UNSETTLED_BYTES)
        };
        self.drain_until.is_none()
            && self.others_about(token)
            && self.rest.had_turn(self.now)
            && (0..self.config.cores).map(CoreId).any(is_behind)
    }

    /// Takes what the connection asks next to be costly.
    fn remember_costly(&mut self, token: Token) {
        let memory_ms = self.desk.now_ms() + COSTLY_MEMORY_MS;
        let connection = self.desk.connection(token);
        connection.costly_until_ms = connection.costly_until_ms.max(memory_ms);
    }

    /// Whether what a connection asks has to wait, because it is taken to be costly or because
    /// the turn is long.
    pub(super) fn is_put_off(&mut self, token: Token) -> bool {
        let waits = self.is_costly(token) && self.must_rest(self.client(token));
        if waits {
            self.remember_costly(token);
        }
        let waits = waits || self.turn_is_long();
        self.puts_off |= waits;
        waits
    }

    fn execute(&mut self, token: Token, request: &Request<'_>) {
        let mut persistence = match self.desk.draining {
            true => Persistence::Close,
            false => request.persistence,
        };
        let began_us = self.desk.now_us();
        let takes_notes = self.desk.takes_notes;
        let connection = self.desk.connection(token);
        connection.begin_exchange(Exchange {
            label: Label::of(request),
            began_us,
            note: takes_notes.then(|| Note::of(request, connection.peer)),
        });
        let planned = self.plan(token, request);
        let (planned, durability) = match planned {
            Ok((plan, durability)) => (Ok(plan), durability),
            Err(problem) => (Err(problem), Durability::AsConfigured),
        };
        match planned {
            Ok(Plan::Run { op, render }) => {
                self.run_op(token, (op, durability), render, persistence);
            }
            Ok(Plan::Create {
                document,
                expires,
                render,
            }) => {
                let number = self.desk.connection(token).await_choice(
                    render,
                    persistence,
                    Unplaced {
                        document,
                        expires,
                        durability,
                    },
                );
                self.ask_for_id(Seat { token, number }, 0);
            }
            Ok(Plan::Gather(gathering)) => {
                let number = self.desk.connection(token).await_gather(persistence);
                self.waiting.push_back(Waiting {
                    seat: Seat { token, number },
                    persistence,
                    durability,
                    gathering,
                });
            }
            Ok(Plan::Stream(stream)) => {
                if stream.transfer == Transfer::UntilClose {
                    persistence = Persistence::Close;
                }
                self.await_stream(token, stream, persistence);
            }
            Ok(Plan::Figures { format, body_mode }) => {
                self.ask_for_figures(token, format, body_mode, persistence);
            }
            Ok(Plan::Report { report, body_mode }) => {
                let mut response = Vec::new();
                let context = ReplyContext {
                    persistence,
                    date: self.desk.date(),
                };
                match report {
                    Report::Health => api::render_health(body_mode, &context, &mut response),
                    Report::Readiness => {
                        let readiness = self.process.readiness();
                        api::render_readiness(readiness, body_mode, &context, &mut response);
                    }
                }
                self.respond(token, &response, persistence);
            }
            Ok(Plan::Answer(answer)) => {
                let mut response = Vec::new();
                let context = ReplyContext {
                    persistence,
                    date: self.desk.date(),
                };
                api::render_answer(&answer, &context, &mut response);
                self.respond(token, &response, persistence);
            }
            Err(problem) => {
                self.respond_problem(token, &problem, BodyMode::of(request), persistence);
            }
        }
        if persistence == Persistence::Close {
            self.desk.connection(token).end();
        }
    }

    /// Plans what to do for a request, if whoever asks may have it done.
    fn plan(&mut self, token: Token, request: &Request<'_>) -> Result<(Plan, Durability), Problem> {
        let guard = self.desk.connection(token).guard;
        let plan = match guard {
            Guard::Open => {
                let plan = api::plan(request)?;
                if request.fields.has(Field::Origin) {
                    api::admit_page(request, &plan)?;
                }
                plan
            }
            _ => {
                let grant = self.gate.admit(guard, request, Need::of(request))?;
                api::plan(request)?.granted(grant)?
            }
        };
        Ok((plan, api::durability(request)?))
    }

    /// Answers a request whose body is under way, and reads no further one, if it is refused
    /// anyway; whether it was. So nobody has a body kept here who may not come in.
    fn refuse_body(&mut self, token: Token, input: &[u8]) -> bool {
        let (began_us, takes_notes) = (self.desk.now_us(), self.desk.takes_notes);
        let connection = self.desk.connection(token);
        let guard = connection.guard;
        if guard == Guard::Open {
            return false;
        }
        let Some(mut request) = connection.decoder.announced(input) else {
            return false;
        };
        if let Some(cors) = &self.cors {
            request.cors = cors.of(&request.fields);
        }
        let need = Need::of(&request).with_body();
        let Err(problem) = self.gate.admit(guard, &request, need) else {
            return false;
        };
        let connection = self.desk.connection(token);
        connection.begin_exchange(Exchange {
            label: Label::of(&request),
            began_us,
            note: takes_notes.then(|| Note::of(&request, connection.peer)),
        });
        self.respond_problem(token, &problem, BodyMode::of(&request), Persistence::Close);
        self.desk.connection(token).end();
        true
    }

    /// Executes `op` at the owner of its id.
    fn run_op(
        &mut self,
        token: Token,
        (op, durability): (Op, Durability),
        render: Render,
        persistence: Persistence,
    ) {
        let owner = CoreId::owner(op.id().placement(), self.config.cores);
        if owner != self.id {
            let number = self
                .desk
                .connection(token)
                .await_outcome(render, persistence);
            let caller = Caller::Seat(Seat { token, number });
            self.tally().forwarded.add(1);
            self.call(owner, Ask::Run(op, durability), caller);
            return;
        }
        self.tally().local.add(1);
        let client = self.client(token);
        let is_costly = || self.shard.bytes_at_hand(&op) >= COSTLY_BYTES;
        let waits = self.must_rest(client) || self.waits_for_log(client);
        if self.lanes.has(client) || waits && is_costly() {
            let is_light = !self.is_costly(token);
            let id = self
                .desk
                .connection(token)
                .await_outcome(render, persistence);
            let ask = Ask::Run(op, durability);
            let call = Call {
                id,
                connection: token,
                is_light,
                ask,
            };
            return self.lanes.push(client, call);
        }
        let number = self.desk.connection(token).next_number();
        let waiter = Waiter::Seat(Seat { token, number });
        match self.shard.execute_as(op, durability, waiter) {
            None => {
                let awaited = self
                    .desk
                    .connection(token)
                    .await_outcome(render, persistence);
                assert_eq!(awaited, number, "the waiter names the slot that was taken");
            }
            Some(outcome) => {
                self.desk.lend_buffer(token);
                let (connection, date) = self.desk.connection_and_date(token);
                if connection.is_next() {
                    let context = ReplyContext { persistence, date };
                    let response_at = connection.output.len();
                    api::render(&render, &outcome, None, &context, &mut connection.output);
                    self.desk.end_exchange(token, response_at);
                } else {
                    connection.hold(render, persistence, outcome);
                }
                self.desk.list(token);
            }
        }
    }

    pub(super) fn respond(&mut self, token: Token, response: &[u8], persistence: Persistence) {
        let connection = self.desk.connection(token);
        if connection.is_next() {
            let response_at = connection.output.len();
            connection.output.extend_from_slice(response);
            self.desk.end_exchange(token, response_at);
        } else {
            connection.hold_rendered(response.to_vec(), persistence);
        }
        self.desk.list(token);
    }

    fn respond_problem(
        &mut self,
        token: Token,
        problem: &Problem,
        body_mode: BodyMode,
        persistence: Persistence,
    ) {
        let mut response = Vec::new();
        let context = ReplyContext {
            persistence,
            date: self.desk.date(),
        };
        api::render_problem(problem, body_mode, &context, &mut response);
        self.respond(token, &response, persistence);
    }

    fn ask_for_id(&mut self, seat: Seat, taken_in_a_row: u32) {
        match &mut self.ids {
            Some(ids) => {
                let id = ids.next_id(taken_in_a_row);
                self.store_under(seat, id);
            }
            None => self.call(
                CoreId(self.config.log_core),
                Ask::NextId { taken_in_a_row },
                Caller::Seat(seat),
            ),
        }
    }

    /// Stores the document of a request under an id that was just handed out.
    fn store_under(&mut self, seat: Seat, id: Option<i64>) {
        let Some(id) = id.map(Id::Integer) else {
            return self.settle(seat, Outcome::Refused(Refusal::IdsExhausted));
        };
        let Unplaced {
            document,
            expires,
            durability,
        } = self
            .desk
            .connection(seat.token)
            .try_id(seat.number, id.clone());
        let owner = CoreId::owner(id.placement(), self.config.cores);
        let condition = Some(Box::new(Condition::absent()));
        let op = Op::Put {
            id,
            document,
            condition,
            chosen: Chosen::ByServer,
            expires,
        };
        if owner != self.id {
            self.tally().forwarded.add(1);
            return self.call(owner, Ask::Run(op, durability), Caller::Seat(seat));
        }
        self.tally().local.add(1);
        if let Some(outcome) = self.shard.execute_as(op, durability, Waiter::Seat(seat)) {
            self.settle(seat, outcome);
        }
    }

    pub(super) fn call(&mut self, peer: CoreId, ask: Ask, caller: Caller) {
        let (connection, is_light) = match caller {
            Caller::Seat(Seat { token, .. }) => (token, !self.is_costly(token)),
            Caller::Gather(gather) => {
                let token = self.asked_by(gather);
                (token, !self.is_costly(token))
            }
            Caller::Coordinator(_) | Caller::Log(_) => (Token::MAX, false),
        };
        let id =
            CallId::try_from(self.calls.insert(caller)).expect("calls are bounded by CALLS_MAX");
        self.mesh.to(peer).calls.push(Call {
            id,
            connection,
            is_light,
            ask,
        });
    }
}

const TURN: Duration = Duration::from_millis(TURN_MS);
const COSTLY: Duration = Duration::from_micros(COSTLY_US);

/// How long it takes to send so many bytes, about: the ring does that later, for all together.
fn sending(bytes: usize) -> Duration {
    let us = bytes / SENT_BYTES_PER_US;
    Duration::from_micros(u64::try_from(us).expect("a length fits 64 bits"))
}

/// Whether it is worth two looks at the clock to know how long a request takes.
fn may_be_costly(request: &Request<'_>) -> bool {
    let is_plain = matches!(
        request.method,
        Method::Get | Method::Head | Method::Put | Method::Delete
    ) && request.query.is_none()
        || request.path == "/api";
    !is_plain
        || request.body.len() >= WEIGHTY_BYTES
        || request.fields.has(Field::ContentEncoding)
        || request.fields.has(Field::AcceptEncoding)
}

/// Whether a request is taken to be costly before it is looked at any further; it can be decoded
/// again.
fn is_large(request: &Request<'_>) -> bool {
    let bytes = request.body.len();
    let is_coded = request.fields.has(Field::ContentEncoding);
    let is_large = bytes >= COSTLY_BYTES || is_coded && bytes >= COSTLY_GZIP_BYTES;
    is_large && matches!(request.body, Cow::Borrowed(_))
}

fn to_index(number: u32) -> usize {
    usize::try_from(number).expect("usize has at least 32 bits on the platforms of io_uring")
}
