//! How cores talk: one parcel a peer and loop turn, over glommio's channels.
//!
//! What stays true:
//! - Nobody waits for room. A parcel that does not fit the channel is sent by a
//!   task of its own while the core goes on receiving, so two cores whose
//!   channels to each other are full never wait for one another.
//! - What gathers meanwhile is bounded: calls by the sender's
//!   [`CALLS_MAX`](crate::limits::CALLS_MAX), replies by its peers' calls,
//!   records by the shard's unsettled bytes.
//! - Parcels between two cores arrive in the order in which they were sent, and
//!   so do the calls in them.

mod bell;

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    os::fd::BorrowedFd,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use glommio::channels::{
    channel_mesh::{Full, MeshBuilder, Senders},
    shared_channel::ConnectedReceiver,
};

use self::bell::Bell;

use crate::{
    id::CoreId,
    listing::{Listing, Page},
    op::{AtomicFailure, AtomicKey, AtomicOp, Durability, Op, Outcome},
    shard::{Batch, Conclusion, Finding, Inquiry, Settled, Vote},
};

/// Names a call at the core that made it.
pub type CallId = u32;

/// What one core has for another after a turn of its loop.
#[derive(Debug, Default)]
pub struct Parcel {
    /// What the receiver is asked.
    pub calls: Vec<Call>,
    /// Answers to calls of the receiver.
    pub replies: Vec<(CallId, Answer)>,
    /// Records of the sender's shard, for the receiver's log.
    pub batches: Vec<Batch>,
    /// What the sender's log did with records of the receiver's shard.
    pub settled: Vec<Settled>,
}

impl Parcel {
    fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.replies.is_empty()
            && self.batches.is_empty()
            && self.settled.is_empty()
    }
}

/// A call of a peer.
#[derive(Debug)]
pub struct Call {
    /// Its name at the core that made it.
    pub id: CallId,
    /// The connection there that it is made for; calls for the same one are done in order.
    pub connection: u32,
    /// Whether that connection has asked for nothing costly of late.
    pub is_light: bool,
    /// What is asked.
    pub ask: Ask,
}

/// What a core can ask of a peer.
#[derive(Debug)]
pub enum Ask {
    /// To execute an operation on a document that it owns.
    Run(Op, Durability),
    /// To execute operations on documents that it owns, in order.
    RunAll(Vec<Op>, Durability),
    /// To execute operations that take effect together or not at all; it runs the log.
    Atomic(Vec<AtomicOp>, Durability),
    /// To prepare its part of such a batch and to vote on it.
    Prepare(AtomicKey, Vec<AtomicOp>),
    /// To apply or drop what it prepared.
    Conclude(AtomicKey, Conclusion),
    /// For the next ids of its shard.
    List(Listing),
    /// What the log wants to know of its shard.
    Examine(Inquiry),
    /// For an id that was never used; it holds the source of ids.
    NextId {
        /// How many ids that it gave for this document were taken.
        taken_in_a_row: u32,
    },
    /// The same for several documents.
    NextIds {
        /// How many ids.
        count: usize,
        /// How many ids in a row that it gave for each of them were taken.
        taken_in_a_row: u32,
    },
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// What came of the operation.
    Outcome(Outcome),
    /// What came of the operations, in their order.
    Outcomes(Vec<Outcome>),
    /// What came of a batch that takes effect whole or not at all.
    Atomic(Result<Vec<Outcome>, AtomicFailure>),
    /// Whether its part can be applied.
    Vote(Vote),
    /// Its part is applied or dropped.
    Concluded,
    /// The ids.
    Listed(Page),
    /// What the shard found.
    Found(Finding),
    /// The id; `None`: there is none left.
    NextId(Option<i64>),
    /// The ids; when there are fewer than asked for, there are none left.
    NextIds(Vec<i64>),
}

/// One core's end of the channels to all others.
pub struct Mesh {
    shared: Rc<Shared>,
    outgoing: Vec<Parcel>,
    /// For each peer, whether a task is waiting for room in the channel to it.
    stalled: Vec<Rc<Cell<bool>>>,
}

struct Shared {
    core: CoreId,
    senders: Senders<Parcel>,
    incoming: Vec<Incoming>,
    inbox: RefCell<Vec<(CoreId, Parcel)>>,
    /// One for each core, this one included.
    bells: Arc<[Bell]>,
    alarm: Rc<Alarm>,
}

/// The channel from one peer.
struct Incoming {
    peer: CoreId,
    channel: ConnectedReceiver<Parcel>,
    /// Parcels taken from it, ever; wraps.
    taken: Cell<u32>,
}

/// Builds the channels; each core calls [`Mesh::join`] with a copy.
#[derive(Clone)]
pub struct Builder {
    channels: MeshBuilder<Parcel, Full>,
    bells: Arc<[Bell]>,
}

impl Mesh {
    /// Channels for `cores` cores of `parcels_max` parcels each.
    ///
    /// # Errors
    /// When the process has no file descriptor left for each core.
    pub fn builder(cores: u16, parcels_max: usize) -> io::Result<Builder> {
        Ok(Builder {
            channels: MeshBuilder::full(usize::from(cores), parcels_max),
            bells: (0..cores)
                .map(|_| Bell::new(cores))
                .collect::<io::Result<_>>()?,
        })
    }

    /// Connects this core with all others, and returns once they did the same.
    ///
    /// `alarm` is raised whenever there is something to take from the inbox.
    ///
    /// # Panics
    /// Panics when the executors were not started in the order of their cores,
    /// because glommio numbers peers by that.
    pub async fn join(builder: Builder, core: CoreId, alarm: Rc<Alarm>) -> Mesh {
        let Builder { channels, bells } = builder;
        let cores = channels.nr_peers();
        let (senders, mut receivers) = channels.join().await.expect("each core joins once");
        assert_eq!(
            senders.peer_id(),
            core.index(),
            "executors start in the order of their cores"
        );
        let incoming = receivers
            .streams()
            .into_iter()
            .map(|(peer, channel)| Incoming {
                peer: CoreId(u16::try_from(peer).expect("CORES_MAX fits 16 bits")),
                channel,
                taken: Cell::new(0),
            });
        let shared = Rc::new(Shared {
            core,
            senders,
            incoming: incoming.collect(),
            inbox: RefCell::new(Vec::new()),
            bells,
            alarm,
        });
        for channel in 0..shared.incoming.len() {
            let shared = Rc::clone(&shared);
            glommio::spawn_local(async move {
                let incoming = &shared.incoming[channel];
                while let Some(parcel) = incoming.channel.recv().await {
                    shared.take_in(incoming, parcel);
                    shared.alarm.raise();
                }
            })
            .detach();
        }
        Mesh {
            shared,
            outgoing: (0..cores).map(|_| Parcel::default()).collect(),
            stalled: (0..cores).map(|_| Rc::default()).collect(),
        }
    }

    /// What will be sent to `peer` with the next [`Mesh::flush`].
    pub fn to(&mut self, peer: CoreId) -> &mut Parcel {
        &mut self.outgoing[peer.index()]
    }

    /// Sends each peer what gathered for it, unless the channel to it is full.
    pub fn flush(&mut self) {
        for peer in 0..self.outgoing.len() {
            if self.outgoing[peer].is_empty() || self.stalled[peer].get() {
                continue;
            }
            let parcel = std::mem::take(&mut self.outgoing[peer]);
            match self.shared.senders.try_send_to(peer, parcel) {
                Ok(()) => self.shared.bells[peer].ring(self.shared.core),
                Err(error) => {
                    let Some(parcel) = parcel_of(error) else {
                        continue;
                    };
                    self.stalled[peer].set(true);
                    self.send_when_there_is_room(peer, parcel);
                }
            }
        }
    }

    /// Takes what has arrived, oldest first.
    pub fn take_inbox(&mut self, into: &mut Vec<(CoreId, Parcel)>) {
        self.shared.take_delivered();
        into.append(&mut self.shared.inbox.borrow_mut());
    }

    /// Whether something waits to be taken.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        !self.shared.inbox.borrow().is_empty() || self.shared.has_deliveries()
    }

    /// Makes the next parcel signal [`Mesh::bell`]; whether nothing has arrived yet, so that
    /// the caller may wait for that signal.
    #[must_use]
    pub fn begin_rest(&self) -> bool {
        let bell = &self.shared.bells[self.shared.core.index()];
        bell.begin_rest();
        if self.has_mail() {
            bell.end_rest();
            return false;
        }
        true
    }

    /// Ends what [`Mesh::begin_rest`] began.
    pub fn end_rest(&self) {
        self.shared.bells[self.shared.core.index()].end_rest();
    }

    /// The descriptor that is signalled when a parcel arrives while the core rests.
    #[must_use]
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.shared.bells[self.shared.core.index()].descriptor()
    }

    /// Whether a parcel waits for room in its channel, which the executor's tasks see.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled.iter().any(|stalled| stalled.get())
    }

    /// Whether nothing waits to be sent.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.outgoing.iter().all(Parcel::is_empty) && !self.is_stalled()
    }

    fn send_when_there_is_room(&self, peer: usize, parcel: Parcel) {
        let shared = Rc::clone(&self.shared);
        let stalled = Rc::clone(&self.stalled[peer]);
        glommio::spawn_local(async move {
            // An error means that the peer has ended, and then nobody waits for this.
            if shared.senders.send_to(peer, parcel).await.is_ok() {
                shared.bells[peer].ring(shared.core);
            }
            stalled.set(false);
            // What gathered meanwhile goes with the next turn.
            shared.alarm.raise();
        })
        .detach();
    }
}

impl Shared {
    /// Takes what is in the channels, without waiting for the executor's tasks to do it.
    fn take_delivered(&self) {
        let bell = &self.bells[self.core.index()];
        let mut context = Context::from_waker(Waker::noop());
        for incoming in &self.incoming {
            while incoming.is_behind(bell.delivered(incoming.peer)) {
                // Polled only when a parcel is there: the waker of an empty channel is its task's.
                let parcel = pin!(incoming.channel.recv()).poll(&mut context);
                let Poll::Ready(Some(parcel)) = parcel else {
                    break;
                };
                self.take_in(incoming, parcel);
            }
        }
    }

    fn has_deliveries(&self) -> bool {
        let bell = &self.bells[self.core.index()];
        self.incoming
            .iter()
            .any(|incoming| incoming.is_behind(bell.delivered(incoming.peer)))
    }

    fn take_in(&self, incoming: &Incoming, parcel: Parcel) {
        incoming.taken.set(incoming.taken.get().wrapping_add(1));
        self.inbox.borrow_mut().push((incoming.peer, parcel));
    }
}

impl Incoming {
    /// Whether fewer parcels were taken than delivered. The task of the channel may have taken
    /// one that is not counted yet, so the difference can be negative.
    fn is_behind(&self, delivered: u32) -> bool {
        delivered.wrapping_sub(self.taken.get()).cast_signed() > 0
    }
}

/// The parcel that did not fit; `None`: the peer has ended.
fn parcel_of(error: glommio::GlommioError<Parcel>) -> Option<Parcel> {
    match error {
        glommio::GlommioError::WouldBlock(glommio::ResourceType::Channel(parcel)) => Some(parcel),
        _ => None,
    }
}

/// Wakes the one task of this core that waits for work.
#[derive(Default)]
pub struct Alarm {
    raised: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Alarm {
    /// Ends the current wait, or the next one at once.
    pub fn raise(&self) {
        self.raised.set(true);
        // The waker is taken out first: waking may poll the task, which comes back here.
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Waits until the alarm was raised since the last wait.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if self.raised.replace(false) {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use glommio::{LocalExecutorBuilder, Placement};

    use super::*;
    use crate::id::Id;

    fn call(id: CallId, ask: Ask) -> Call {
        Call {
            id,
            connection: 0,
            is_light: true,
            ask,
        }
    }

    /// Two cores that call each other as fast as they can; each answers all calls.
    async fn call_back_and_forth(
        builder: Builder,
        core: CoreId,
        calls_max: u32,
        total: u32,
    ) -> u32 {
        let alarm = Rc::new(Alarm::default());
        let mut mesh = Mesh::join(builder, core, Rc::clone(&alarm)).await;
        let peer = CoreId(1 - core.0);
        let (mut made, mut answered, mut served) = (0, 0, 0);
        let mut inbox = Vec::new();
        while answered < total || served < total || !mesh.is_flushed() {
            mesh.take_inbox(&mut inbox);
            for (from, parcel) in inbox.drain(..) {
                for Call { id: call, .. } in parcel.calls {
                    served += 1;
                    mesh.to(from)
                        .replies
                        .push((call, Answer::Outcome(Outcome::Missing)));
                    mesh.flush();
                }
                for (call, _) in parcel.replies {
                    assert_eq!(call, answered, "calls are answered in order");
                    answered += 1;
                }
            }
            while made < total && made - answered < calls_max {
                let op = Op::Get {
                    id: Id::Integer(i64::from(made)),
                };
                mesh.to(peer)
                    .calls
                    .push(call(made, Ask::Run(op, Durability::AsConfigured)));
                made += 1;
                mesh.flush();
            }
            mesh.flush();
            if !mesh.has_mail() && (answered < total || served < total || !mesh.is_flushed()) {
                alarm.wait().await;
            }
        }
        answered
    }

    #[test]
    fn a_resting_core_is_told_of_a_parcel_and_takes_it_without_its_executor() {
        let builder = Mesh::builder(2, 4).expect("descriptors are free");
        let (resting, rests) = std::sync::mpsc::channel();
        let other = builder.clone();
        let executor = |name: &str| {
            LocalExecutorBuilder::new(Placement::Unbound)
                .name(name)
                .io_memory(1 << 20)
        };
        let receiver = executor("receiver").spawn(move || async move {
            let mut mesh = Mesh::join(builder, CoreId(0), Rc::default()).await;
            assert!(mesh.begin_rest(), "nothing was sent yet");
            resting.send(()).expect("the sender waits");
            let bell =
                rustix::event::PollFd::from_borrowed_fd(mesh.bell(), rustix::event::PollFlags::IN);
            let deadline = Duration::from_secs(10).try_into().expect("a short time");
            // Blocks the thread: no task of this executor runs meanwhile.
            let rung = rustix::event::poll(&mut [bell], Some(&deadline));
            assert_eq!(rung, Ok(1), "the bell is rung");
            mesh.end_rest();
            let mut inbox = Vec::new();
            mesh.take_inbox(&mut inbox);
            inbox.len()
        });
        let sender = executor("sender").spawn(move || async move {
            let mut mesh = Mesh::join(other, CoreId(1), Rc::default()).await;
            rests.recv().expect("the receiver rests");
            let id = Id::Integer(1);
            let get = Ask::Run(Op::Get { id }, Durability::AsConfigured);
            mesh.to(CoreId(0)).calls.push(call(7, get));
            mesh.flush();
        });
        let taken = receiver.expect("it starts").join().expect("no panic");
        assert_eq!(taken, 1);
        sender.expect("it starts").join().expect("no panic");
    }

    #[test]
    fn crossed_full_channels_never_deadlock() {
        for parcels_max in [1, 2] {
            for calls_max in [1, 3, 1000] {
                let builder = Mesh::builder(2, parcels_max).expect("descriptors are free");
                let (done, result) = std::sync::mpsc::channel();
                let executors = [CoreId(0), CoreId(1)].map(|core| {
                    let (builder, done) = (builder.clone(), done.clone());
                    LocalExecutorBuilder::new(Placement::Unbound)
                        .io_memory(1 << 20)
                        .spawn(move || async move {
                            let answered =
                                call_back_and_forth(builder, core, calls_max, 5_000).await;
                            done.send(answered).expect("the test waits");
                        })
                        .expect("an executor starts")
                });
                let deadline = Instant::now() + Duration::from_secs(10);
                for _ in 0..2 {
                    let left = deadline.saturating_duration_since(Instant::now());
                    assert_eq!(
                        result.recv_timeout(left),
                        Ok(5_000),
                        "capacity {parcels_max}"
                    );
                }
                for executor in executors {
                    executor.join().expect("the executor ends in peace");
                }
            }
        }
    }
}
