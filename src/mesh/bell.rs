//! Bells: how a core is told of a parcel while it rests in its own socket ring.
//!
//! glommio wakes executors that sleep in glommio, at the price of a barrier on
//! all cores before each sleep and a few system calls around it. Between two
//! requests of a busy core that is most of the cost, so a core rests without
//! glommio first (`server/core.rs`), and its peers ring.
//!
//! What stays true: a parcel is in its channel before it is counted, it is counted
//! before the sender looks who rests, and who rests says so before it looks at the
//! counts. So one of the two sees the other, and no parcel waits for a later one.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use rustix::event::{EventfdFlags, eventfd};

use crate::id::CoreId;

/// What the peers of one core share with it.
pub(super) struct Bell {
    /// Whether the core waits for nothing but its ring.
    resting: AtomicBool,
    /// Parcels in the channel from each peer, ever; wraps.
    delivered: Box<[AtomicU32]>,
    descriptor: OwnedFd,
}

impl Bell {
    /// The bell of one of `cores` cores.
    pub(super) fn new(cores: u16) -> io::Result<Bell> {
        Ok(Bell {
            resting: AtomicBool::new(false),
            delivered: (0..cores).map(|_| AtomicU32::new(0)).collect(),
            descriptor: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Counts a parcel that `sender` put into its channel, and wakes the core if it rests.
    pub(super) fn ring(&self, sender: CoreId) {
        self.delivered[sender.index()].fetch_add(1, Ordering::SeqCst);
        if self.resting.load(Ordering::SeqCst) && self.resting.swap(false, Ordering::SeqCst) {
            // Fails only when the counter is at its maximum, 2^64 rings from now.
            let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
        }
    }

    /// Parcels that `sender` has put into its channel, ever; wraps.
    pub(super) fn delivered(&self, sender: CoreId) -> u32 {
        self.delivered[sender.index()].load(Ordering::SeqCst)
    }

    /// Makes peers ring from now on.
    pub(super) fn begin_rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
    }

    /// Spares peers the ringing.
    pub(super) fn end_rest(&self) {
        self.resting.store(false, Ordering::SeqCst);
    }

    /// Readable, and signalled again, each time it was rung.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
