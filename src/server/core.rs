//! One core's loop: sockets in, parcels in, answers out, until it is told to end.
//!
//! This is the only place with the loop, the order of things within a turn, and
//! the wait between turns. A turn takes everything that has arrived, and only
//! then hands on what it led to: one batch of records to the log, one parcel to
//! each peer, one send to each connection, one system call for all of them.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use rustix::io::Errno;
use slab::Slab;

use super::{
    addresses::Subscriber,
    connection::Stage,
    coordinator::Coordinator,
    desk::{Crowd, Desk, Reading, Seat},
    gate::Gate,
    gather::{Gather, Waiting},
    lanes::Lanes,
    log_core::LogPort,
    process::Process,
    records::Records,
    reporter::{Reporter, Reports},
    rest::Rest,
    ring::{Event, ReceiveEnd, Ring},
    share::{Asker, Share},
    slicer::Slicer,
    streams::Streaming,
    suspects::Suspects,
    tally::{Tally, micros},
    witness::Witness,
};
use glommio::timer::sleep;

use crate::{
    api::{BodyMode, CorsRules},
    config::Config,
    http::Cors,
    id::CoreId,
    journal::Journal,
    limits::DRAIN_TIMEOUT_MS,
    log::Directory,
    mesh::{Alarm, Ask, Call, CallId, Mesh, Parcel},
    op::AtomicKey,
    shard::{IdSource, Shard},
};

const RING_WORKS: &str = "io_uring_enter works for a ring in use";

/// How often connections are looked at for timeouts.
pub const TICK: Duration = Duration::from_millis(250);

/// The pause between two complaints about the same.
const COMPLAINT: Duration = Duration::from_secs(10);

/// How long a core with nothing to do rests in its ring before it sleeps in glommio, and how
/// long the executor's other tasks may have to wait for a busy core.
///
/// To rest is one system call, to sleep about eight and a barrier on all cores; but only a
/// core that sleeps costs nothing.
const REST: Duration = Duration::from_millis(1);
/// A pause that makes the executor look at its timers and threads: as long as a task can run,
/// as one that only yields can, glommio 0.9 looks at neither before its preempt timer expires.
const MOMENT: Duration = Duration::from_micros(10);

/// Who waits for the outcome of an operation on this core's shard.
#[derive(Clone, Copy, Debug)]
pub enum Waiter {
    /// A request of a connection of this core.
    Seat(Seat),
    /// A call of another core.
    Peer(CoreId, CallId),
    /// An operation of a share, both by their index.
    Share { share: usize, index: usize },
    /// The coordinator of this core, for the vote on a part.
    Coordinator(AtomicKey),
}

/// Who made a call, at the core that made it.
#[derive(Clone, Copy, Debug)]
pub enum Caller {
    /// A request that one core answers.
    Seat(Seat),
    /// A request that several cores answer together, by its index.
    Gather(usize),
    /// The coordinator of atomic batches.
    Coordinator(AtomicKey),
    /// The log, which compacts.
    Log(CoreId),
}

/// A core and everything it owns.
pub struct Core {
    pub(super) id: CoreId,
    pub(super) config: Config,
    pub(super) process: Arc<Process>,
    pub(super) shard: Shard<Waiter>,
    pub(super) mesh: Mesh,
    /// What peers are asked for requests of this core.
    pub(super) calls: Slab<Caller>,
    /// What peers asked of this core and was not done.
    pub(super) lanes: Lanes<Call>,
    /// Who has to wait for others.
    pub(super) rest: Rest,
    /// Whose next connections have to wait.
    pub(super) suspects: Suspects,
    /// Whether something was put off in the turn under way that could have been done.
    pub(super) puts_off: bool,
    /// Requests of this core that several cores answer together.
    pub(super) gathers: Slab<Gather>,
    /// As before, and their turn has not come.
    pub(super) waiting: VecDeque<Waiting>,
    /// What this core executes for such requests, its own and those of peers.
    pub(super) shares: Slab<Share>,
    /// Atomic batches of all cores, on the core that runs the log.
    pub(super) coordinator: Coordinator<Asker>,
    /// Streamed responses of this core.
    pub(super) streams: Slab<Streaming>,
    /// Where what they consist of is made.
    pub(super) slicer: Slicer,
    /// Figures that were asked for, and where they are asked for.
    pub(super) reports: Reports,
    pub(super) desk: Desk,
    witness: Witness,
    /// Who may come in.
    pub(super) gate: Gate,
    /// Origins whose pages may; `None`: that of the server alone.
    pub(super) cors: Option<CorsRules>,
    pub(super) records: Records,
    /// The log, on the core that runs it.
    pub(super) log: Option<Rc<LogPort>>,
    /// The source of ids, on the core that runs the log.
    pub(super) ids: Option<IdSource>,
    pub(super) alarm: Rc<Alarm>,
    /// The files of the log, to be read.
    pub(super) disk: Arc<Directory>,
    listener: TcpListener,
    accepting: Accepting,
    /// When it was last said that connections are not accepted, or ended.
    complained: Option<Instant>,
    inbox: Vec<(CoreId, Parcel)>,
    started: Instant,
    /// When the turn under way began.
    pub(super) now: Instant,
    /// When the executor's other tasks last had their turn.
    yielded: Instant,
    ticked: Instant,
    pub(super) drain_until: Option<Instant>,
    /// Whether this core told the process that it is drained.
    counted_as_drained: bool,
}

/// Whether the ring reports new connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepting {
    On,
    /// No descriptor is free, or no memory; tried again once a connection has ended, and with
    /// the next tick.
    Failed,
    Off,
}

/// What a core starts with.
pub struct Parts {
    pub id: CoreId,
    pub config: Config,
    pub process: Arc<Process>,
    pub shard: Shard<Waiter>,
    pub mesh: Mesh,
    pub log: Option<Rc<LogPort>>,
    pub ids: Option<IdSource>,
    pub alarm: Rc<Alarm>,
    pub disk: Arc<Directory>,
    pub reporter: Reporter,
    pub slicer: Slicer,
    pub access: Option<Journal>,
    pub cors: Option<CorsRules>,
    pub listener: TcpListener,
}

impl Core {
    pub fn new(parts: Parts) -> Core {
        let now = Instant::now();
        let unix_second = unix_ms() / 1000;
        let witness = Witness::new(parts.id, &parts.config, parts.access, unix_second);
        let mut desk = Desk::new(parts.config.body_bytes_max, unix_second);
        desk.takes_notes = witness.takes_notes();
        let cors = parts.cors.as_ref();
        desk.plain = BodyMode::plain(cors.map_or(Cors::Off, CorsRules::of_unread));
        desk.speaks_tls = parts.process.identity.is_some();
        let coordinator = Coordinator::new(parts.config.cores);
        Core {
            desk,
            witness,
            gate: Gate::new(&parts.config.access),
            cors: parts.cors,
            records: Records::default(),
            id: parts.id,
            config: parts.config,
            process: parts.process,
            shard: parts.shard,
            mesh: parts.mesh,
            calls: Slab::new(),
            lanes: Lanes::new(),
            rest: Rest::new(now),
            suspects: Suspects::default(),
            puts_off: false,
            gathers: Slab::new(),
            waiting: VecDeque::new(),
            shares: Slab::new(),
            coordinator,
            streams: Slab::new(),
            slicer: parts.slicer,
            reports: Reports::new(parts.reporter),
            log: parts.log,
            ids: parts.ids,
            alarm: parts.alarm,
            disk: parts.disk,
            listener: parts.listener,
            accepting: Accepting::Off,
            complained: None,
            inbox: Vec::new(),
            started: now,
            now,
            yielded: now,
            ticked: now,
            drain_until: None,
            counted_as_drained: false,
        }
    }

    /// Serves until the process drains and every core has.
    pub async fn run(mut self, mut ring: Ring) {
        // Recovery's documents are there before the first turn that has anything to do.
        self.count_turn();
        ring.accept(self.listener.as_fd());
        ring.watch(self.mesh.bell());
        self.accepting = Accepting::On;
        let mut in_vain = false;
        loop {
            let worked = self.turn(&mut ring);
            if self.process.draining.load(Ordering::Relaxed) && self.drain(&mut ring) {
                return;
            }
            let is_awake = worked || self.puts_off;
            if !is_awake && (in_vain || self.waits_for_executor()) {
                self.sleep(&mut ring).await;
                in_vain = false;
            } else if is_awake && (self.waits_for_executor() || self.executor_is_due()) {
                ring.submit().expect(RING_WORKS);
                let waits_for_thread = self.log.as_ref().is_some_and(|log| log.waits_for_thread());
                match !worked || waits_for_thread {
                    true => sleep(MOMENT).await,
                    false => glommio::executor().yield_task_queue_now().await,
                }
                self.yielded = Instant::now();
            } else {
                in_vain = !self.rest(&mut ring);
            }
        }
    }

    /// Whether other tasks of this executor have something to do, so that waiting for the
    /// ring alone would keep them from it.
    fn waits_for_executor(&self) -> bool {
        self.mesh.is_stalled() || self.log.as_ref().is_some_and(|log| log.needs_executor())
    }

    /// Whether other tasks, whatever they do, were kept waiting long enough.
    fn executor_is_due(&self) -> bool {
        self.now - self.yielded >= REST
    }

    /// Waits a moment for the ring or a peer; whether one of them had something.
    fn rest(&self, ring: &mut Ring) -> bool {
        if !self.mesh.begin_rest() {
            ring.submit().expect(RING_WORKS);
            return true;
        }
        let happened = ring.rest(REST).expect(RING_WORKS);
        self.mesh.end_rest();
        happened || self.mesh.has_mail()
    }

    /// Waits for anything at all, in glommio.
    async fn sleep(&mut self, ring: &mut Ring) {
        if !self.mesh.has_mail() && ring.prepare_to_sleep().expect(RING_WORKS) {
            self.alarm.wait().await;
            ring.wake_up();
            self.yielded = Instant::now();
        }
    }

    /// Takes what has arrived and hands on what it led to; whether there was anything.
    ///
    /// What it asks of the ring reaches the kernel with the call that waits for more.
    fn turn(&mut self, ring: &mut Ring) -> bool {
        let now = Instant::now();
        self.now = now;
        let unix_ms = unix_ms();
        self.desk.set_time(now - self.started, unix_ms / 1000);
        if let Some(log) = &self.log {
            log.look_at_clock(now);
        }
        self.records.begin_turn();
        self.puts_off = false;
        let mut worked = false;
        while let Some(event) = ring.next_event() {
            worked = true;
            self.on_event(event, ring);
        }
        worked |= self.take_parcels();
        worked |= self.take_lanes();
        worked |= self.take_settled();
        worked |= self.take_inquiries();
        worked |= self.render_large();
        worked |= self.resume_parked();
        while self.begin_gathers() | self.run_atomics() {
            // Some may be answered already, and more was pipelined behind them.
            self.resume_parked();
        }
        worked |= self.step_streams();
        worked |= self.take_reports();
        if self.drain_until.is_none() {
            worked |= self.shard.sweep(unix_ms);
        }
        worked |= self.resume_handshakes();
        self.hand_over_records();
        if let Some(file) = self.log.as_ref().and_then(|log| log.begin_sync()) {
            ring.sync(file);
        }
        self.mesh.flush();
        self.flush_connections(ring);
        self.relieve();
        if now - self.ticked >= TICK {
            self.ticked = now;
            self.tick(ring);
        }
        if worked {
            self.count_turn();
        }
        worked
    }

    /// Counts what was answered in this turn, and what there is at its end.
    fn count_turn(&mut self) {
        let tally = self.process.tally(self.id);
        let end_us = micros(self.started.elapsed());
        for answered in self.desk.answered.drain(..) {
            let took_us = end_us.saturating_sub(answered.exchange.began_us);
            tally.answered(answered.exchange.label, answered.status, took_us);
            self.witness.see(&answered, took_us);
        }
        tally.busy_us.add(micros(self.now.elapsed()));
        tally.connections.set_count(self.desk.connections.len());
        tally.parked.set_count(self.desk.parked.len());
        tally.documents.set_count(self.shard.document_count());
        tally.live_bytes.set(self.shard.live_bytes());
        tally
            .unsettled_bytes
            .set_count(self.shard.unsettled_bytes());
        tally.calls.set_count(self.calls.len());
        tally
            .gathers
            .set_count(self.gathers.len() + self.waiting.len());
        tally.streams.set_count(self.streams.len());
    }

    /// What this core counts.
    pub(super) fn tally(&self) -> &Tally {
        self.process.tally(self.id)
    }

    fn on_event(&mut self, event: Event, ring: &mut Ring) {
        match event {
            Event::Accepted { socket, more } => {
                match socket {
                    Ok(socket) => self.welcome(socket, ring),
                    // Draining stopped the listener.
                    Err(_) if self.accepting == Accepting::Off => {}
                    Err(error) => self.not_accepted(&error),
                }
                if !more && self.accepting == Accepting::On {
                    ring.accept(self.listener.as_fd());
                }
            }
            Event::Received { token, data, end } => {
                if let Some(data) = data {
                    let bytes = ring.received(&data);
                    match self.desk.connection(token).tls {
                        None => self.on_bytes(token, bytes),
                        Some(_) => self.on_records(token, bytes),
                    }
                    ring.recycle(data);
                    self.relieve();
                }
                match end {
                    Some(ReceiveEnd::Paused) => self.desk.receiving_paused(token),
                    Some(ReceiveEnd::PeerClosed) => self.desk.peer_closed(token),
                    Some(ReceiveEnd::Broken) => self.desk.broken(token),
                    None => {}
                }
            }
            Event::Sent {
                token,
                result,
                buffer,
            } => self.desk.sent(token, result, buffer),
            Event::Sending { token } => self.desk.sending(token),
            Event::Synced(result) => {
                let log = self.log.as_ref().expect("this core asked for the sync");
                log.finish_sync(result);
            }
        }
    }

    fn welcome(&mut self, socket: OwnedFd, ring: &mut Ring) {
        // One that has gone already is let go of.
        let Some(peer) = peer_of(&socket) else {
            return;
        };
        let subscriber = Subscriber::of(peer.ip());
        if subscriber.is_some_and(|subscriber| !self.process.addresses.enter(subscriber)) {
            self.tally().turned_away_by_address.add(1);
            return self.desk.turn_away(&socket, Crowd::Address);
        }
        let open = self.process.connections.fetch_add(1, Ordering::Relaxed);
        if open >= self.config.connections_max {
            if !self.desk.make_room() {
                self.desk.left.extend(subscriber);
                self.count_out(1);
                self.tally().turned_away.add(1);
                return self.desk.turn_away(&socket, Crowd::Process);
            }
            self.tally().closed_for_others.add(1);
        }
        self.tally().accepted.add(1);
        let reading = match self.suspects.has(subscriber) && self.rest.anyone_about(self.now) {
            true => Reading::AfterTick,
            false => Reading::AtOnce,
        };
        if reading == Reading::AfterTick {
            self.tally().kept_waiting.add(1);
        }
        let identity = self.process.identity.as_ref();
        let tls = identity.map(|identity| Box::new(identity.begin()));
        let guard = self.gate.guard(peer.ip());
        self.desk
            .seat_connection(socket, peer, guard, tls, reading, ring);
    }

    fn not_accepted(&mut self, error: &io::Error) {
        if self.may_complain() {
            tracing::warn!(core = self.id.0, %error, "connections are not accepted");
        }
        let spent = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        if spent
            .map(|errno| Some(errno.raw_os_error()))
            .contains(&error.raw_os_error())
        {
            self.accepting = Accepting::Failed;
        }
    }

    /// Counts connections out that have ended.
    fn count_out(&mut self, ended: usize) {
        self.process.connections.fetch_sub(ended, Ordering::Relaxed);
        for subscriber in self.desk.left.drain(..) {
            self.process.addresses.leave(subscriber);
        }
    }

    fn take_parcels(&mut self) -> bool {
        let mut inbox = std::mem::take(&mut self.inbox);
        self.mesh.take_inbox(&mut inbox);
        let any = !inbox.is_empty();
        for (peer, parcel) in inbox.drain(..) {
            self.on_parcel(peer, parcel);
        }
        self.inbox = inbox;
        any
    }

    /// Applies what the log of this core did with the records of this core.
    fn take_settled(&mut self) -> bool {
        let Some(log) = self.log.clone() else {
            return false;
        };
        let settled = log.take_settled();
        let news = log.take_group_news();
        let any = !settled.is_empty() || !news.is_empty();
        for (core, settled) in settled {
            if core == self.id {
                self.on_settled(settled);
            } else {
                self.mesh.to(core).settled.push(settled);
            }
        }
        for (key, news) in news {
            self.coordinator.hear(key, news);
        }
        // Parts are concluded before compaction asks for what was settled.
        self.run_atomics();
        any
    }

    /// Asks the shards what the log of this core wants to know, behind what it settled.
    fn take_inquiries(&mut self) -> bool {
        let Some(log) = self.log.clone() else {
            return false;
        };
        let asked = log.inquiries().take_asked();
        let any = !asked.is_empty();
        for (core, inquiry) in asked {
            if core == self.id {
                let finding = self.shard.look_up(inquiry);
                log.inquiries().answer(core, finding);
            } else {
                self.call(core, Ask::Examine(inquiry), Caller::Log(core));
            }
        }
        any
    }

    fn hand_over_records(&mut self) {
        let Some(batch) = self.shard.take_batch() else {
            return;
        };
        match &self.log {
            Some(log) => log.submit(self.id, batch),
            None => self
                .mesh
                .to(CoreId(self.config.log_core))
                .batches
                .push(batch),
        }
    }

    fn flush_connections(&mut self, ring: &mut Ring) {
        let ended = self.desk.flush(ring);
        if ended > 0 {
            self.count_out(ended);
            self.accept_again(ring);
        }
    }

    /// Has connections hold no more for their peers than they may.
    fn relieve(&mut self) {
        if !self.desk.is_full() {
            return;
        }
        let ended = self.desk.relieve();
        self.tally().closed_for_memory.add(ended);
        if ended > 0 && self.may_complain() {
            tracing::warn!(
                core = self.id.0,
                ended,
                "requests that are not whole and responses that are not read filled their memory; \
                 the connections that had kept the core waiting the longest were ended",
            );
        }
    }

    /// Whether it is time to say again what cannot be helped.
    fn may_complain(&mut self) -> bool {
        let last = self.complained.replace(self.now);
        let may = last.is_none_or(|last| self.now - last >= COMPLAINT);
        if !may {
            self.complained = last;
        }
        may
    }

    fn accept_again(&mut self, ring: &mut Ring) {
        if self.accepting == Accepting::Failed {
            self.accepting = Accepting::On;
            ring.accept(self.listener.as_fd());
        }
    }

    fn tick(&mut self, ring: &mut Ring) {
        let handshakes = self.desk.end_overdue(&self.config.timeouts);
        self.tally().tls_faults.add(handshakes);
        self.accept_again(ring);
        self.suspects.tick();
        self.desk.read_late();
        self.flush_connections(ring);
        self.witness.tick(self.now);
    }

    /// One step towards the end; whether it is reached.
    fn drain(&mut self, ring: &mut Ring) -> bool {
        let now = Instant::now();
        let until = *self.drain_until.get_or_insert_with(|| {
            ring.stop_accepting();
            now + Duration::from_millis(DRAIN_TIMEOUT_MS)
        });
        self.accepting = Accepting::Off;
        self.desk.begin_draining(now >= until);
        self.flush_connections(ring);
        ring.submit().expect(RING_WORKS);
        if !self.counted_as_drained && self.desk.is_empty() {
            self.counted_as_drained = true;
            self.witness.tick(now);
            self.process.drained.fetch_add(1, Ordering::AcqRel);
            self.process.wake_all();
        }
        // Until all connections of all cores have ended, peers may still call.
        let all = usize::from(self.config.cores);
        self.process.drained.load(Ordering::Acquire) == all
            && self.mesh.is_flushed()
            && self.log.as_ref().is_none_or(|log| log.is_synced())
    }
}

impl Stage {
    /// Whether further requests are read.
    pub(super) fn is_open(self) -> bool {
        self == Stage::Open
    }
}

/// The other end of a connection; `None`: it is gone already.
fn peer_of(socket: &OwnedFd) -> Option<SocketAddr> {
    let address = rustix::net::getpeername(socket).ok()??;
    SocketAddr::try_from(address).ok()
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unix_ms() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, millis)
}
