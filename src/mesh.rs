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

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use futures_lite::StreamExt;
use glommio::channels::channel_mesh::{Full, MeshBuilder, Senders};

use crate::{
    id::CoreId,
    listing::{Listing, Page},
    op::{Op, Outcome},
    shard::{Batch, Settled},
};

/// Names a call at the core that made it.
pub type CallId = u32;

/// What one core has for another after a turn of its loop.
#[derive(Debug, Default)]
pub struct Parcel {
    /// What the receiver is asked.
    pub calls: Vec<(CallId, Ask)>,
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

/// What a core can ask of a peer.
#[derive(Debug)]
pub enum Ask {
    /// To execute an operation on a document that it owns.
    Run(Op),
    /// For the next ids of its shard.
    List(Listing),
    /// For an id that was never used; it holds the source of ids.
    NextId {
        /// How many ids that it gave for this document were taken.
        taken_in_a_row: u32,
    },
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// What came of the operation.
    Outcome(Outcome),
    /// The ids.
    Listed(Page),
    /// The id; `None`: there is none left.
    NextId(Option<i64>),
}

/// One core's end of the channels to all others.
pub struct Mesh {
    shared: Rc<Shared>,
    outgoing: Vec<Parcel>,
    /// For each peer, whether a task is waiting for room in the channel to it.
    stalled: Vec<Rc<Cell<bool>>>,
}

struct Shared {
    senders: Senders<Parcel>,
    inbox: RefCell<Vec<(CoreId, Parcel)>>,
    alarm: Rc<Alarm>,
}

/// Builds the channels; each core calls [`Mesh::join`] with a copy.
pub type Builder = MeshBuilder<Parcel, Full>;

impl Mesh {
    /// Channels for `cores` cores of `parcels_max` parcels each.
    #[must_use]
    pub fn builder(cores: u16, parcels_max: usize) -> Builder {
        MeshBuilder::full(usize::from(cores), parcels_max)
    }

    /// Connects this core with all others, and returns once they did the same.
    ///
    /// `alarm` is raised whenever there is something to take from the inbox.
    ///
    /// # Panics
    /// Panics when the executors were not started in the order of their cores,
    /// because glommio numbers peers by that.
    pub async fn join(builder: Builder, core: CoreId, alarm: Rc<Alarm>) -> Mesh {
        let cores = builder.nr_peers();
        let (senders, mut receivers) = builder.join().await.expect("each core joins once");
        assert_eq!(
            senders.peer_id(),
            core.index(),
            "executors start in the order of their cores"
        );
        let shared = Rc::new(Shared {
            senders,
            inbox: RefCell::new(Vec::new()),
            alarm,
        });
        for (peer, mut stream) in receivers.streams() {
            let peer = CoreId(u16::try_from(peer).expect("CORES_MAX fits 16 bits"));
            let shared = Rc::clone(&shared);
            glommio::spawn_local(async move {
                while let Some(parcel) = stream.next().await {
                    shared.inbox.borrow_mut().push((peer, parcel));
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
            if let Err(error) = self.shared.senders.try_send_to(peer, parcel) {
                let Some(parcel) = parcel_of(error) else {
                    continue;
                };
                self.stalled[peer].set(true);
                self.send_when_there_is_room(peer, parcel);
            }
        }
    }

    /// Takes what has arrived, oldest first.
    pub fn take_inbox(&mut self, into: &mut Vec<(CoreId, Parcel)>) {
        into.append(&mut self.shared.inbox.borrow_mut());
    }

    /// Whether something waits to be taken.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        !self.shared.inbox.borrow().is_empty()
    }

    /// Whether nothing waits to be sent.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.outgoing.iter().all(Parcel::is_empty)
            && self.stalled.iter().all(|stalled| !stalled.get())
    }

    fn send_when_there_is_room(&self, peer: usize, parcel: Parcel) {
        let shared = Rc::clone(&self.shared);
        let stalled = Rc::clone(&self.stalled[peer]);
        glommio::spawn_local(async move {
            // An error means that the peer has ended, and then nobody waits for this.
            drop(shared.senders.send_to(peer, parcel).await);
            stalled.set(false);
            // What gathered meanwhile goes with the next turn.
            shared.alarm.raise();
        })
        .detach();
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
                for (call, _) in parcel.calls {
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
                mesh.to(peer).calls.push((made, Ask::Run(op)));
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
    fn crossed_full_channels_never_deadlock() {
        for parcels_max in [1, 2] {
            for calls_max in [1, 3, 1000] {
                let builder = Mesh::builder(2, parcels_max);
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
