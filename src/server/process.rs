//! What all cores of a process share: counters and signals, no data.

use std::{
    os::fd::OwnedFd,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use super::addresses::Addresses;
use super::tally::{LogTally, Tally};
use crate::{
    api::NotReady, id::CoreId, limits::WEIGHTY_BYTES, log::Lsn, op::Outcome, tls::Identity,
};

/// The state that every core sees.
pub struct Process {
    /// Set once: accept no more, answer what is in flight, end.
    pub draining: AtomicBool,
    /// Set once: the log takes no more writes.
    pub log_failed: AtomicBool,
    /// Connections open in the whole process.
    pub connections: AtomicUsize,
    /// How many of them each address has.
    pub addresses: Addresses,
    /// Cores that have no connection left and will never have one again.
    pub drained: AtomicUsize,
    /// Every record up to this one may be shown to those who read the log: no crash takes it
    /// back, as far as `--fsync` says so.
    position: AtomicU64,
    /// The last record that is in the log.
    appended: AtomicU64,
    /// Whether a core waits for a later position.
    is_followed: AtomicBool,
    /// Whether a backup is under way.
    pub has_backup: AtomicBool,
    /// For each core, bytes of large documents that its peers have answered and it has not taken.
    under_way: Vec<AtomicUsize>,
    /// For each core, the descriptor that wakes it; set once all cores run.
    pub wakes: OnceLock<Vec<OwnedFd>>,
    /// Who the server says it is, if it speaks TLS.
    pub identity: Option<Identity>,
    /// What each core counts.
    pub tallies: Vec<Tally>,
    /// What the log counts.
    pub log_tally: LogTally,
}

impl Process {
    /// That of a server with so many cores, so many connections an address, and this certificate.
    pub fn new(
        cores: u16,
        connections_per_address_max: usize,
        identity: Option<Identity>,
    ) -> Process {
        Process {
            identity,
            draining: AtomicBool::new(false),
            log_failed: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            addresses: Addresses::new(connections_per_address_max),
            drained: AtomicUsize::new(0),
            position: AtomicU64::new(0),
            appended: AtomicU64::new(0),
            is_followed: AtomicBool::new(false),
            has_backup: AtomicBool::new(false),
            under_way: (0..cores).map(|_| AtomicUsize::new(0)).collect(),
            wakes: OnceLock::new(),
            tallies: (0..cores).map(|_| Tally::default()).collect(),
            log_tally: LogTally::default(),
        }
    }

    /// What `core` counts.
    pub fn tally(&self, core: CoreId) -> &Tally {
        &self.tallies[core.index()]
    }

    /// Whether all kinds of requests can be served.
    pub fn readiness(&self) -> Result<(), NotReady> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(NotReady::Draining);
        }
        match self.log_failed.load(Ordering::Relaxed) {
            true => Err(NotReady::LogFailed),
            false => Ok(()),
        }
    }

    /// Notes what a peer answers `core`.
    pub fn note_answer(&self, core: CoreId, outcome: &Outcome) {
        let bytes = outcome.document_bytes();
        if bytes >= WEIGHTY_BYTES {
            self.under_way(core).fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Notes that `core` has taken that.
    pub fn note_taken(&self, core: CoreId, outcome: &Outcome) {
        let bytes = outcome.document_bytes();
        if bytes >= WEIGHTY_BYTES {
            self.under_way(core).fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Bytes of large documents that are on their way to `core`.
    pub fn under_way(&self, core: CoreId) -> &AtomicUsize {
        &self.under_way[core.index()]
    }

    /// How far the log may be shown.
    pub fn position(&self) -> Lsn {
        Lsn(self.position.load(Ordering::SeqCst))
    }

    /// The last record that is in the log; it may not be on disk.
    pub fn appended(&self) -> Lsn {
        Lsn(self.appended.load(Ordering::SeqCst))
    }

    /// Has this core woken when the log may be shown further than up to `seen`; `Some`: it
    /// may be already.
    pub fn wake_beyond(&self, seen: Lsn) -> Option<Lsn> {
        // In this order, as the log does it the other way round: one of the two sees the other.
        self.is_followed.store(true, Ordering::SeqCst);
        let position = self.position();
        (position > seen).then_some(position)
    }

    /// Says how far the log is, and how far it may be shown.
    pub fn set_position(&self, appended: Lsn, position: Lsn) {
        self.appended.store(appended.0, Ordering::SeqCst);
        let before = self.position.swap(position.0, Ordering::SeqCst);
        if before != position.0 && self.is_followed.swap(false, Ordering::SeqCst) {
            self.wake_all();
        }
    }

    /// Makes every core go through a turn.
    pub fn wake_all(&self) {
        self.wakes.get().into_iter().flatten().for_each(wake);
    }

    /// Makes `core` go through a turn.
    pub fn wake(&self, core: CoreId) {
        let wakes = self.wakes.get();
        wakes.and_then(|wakes| wakes.get(core.index())).map(wake);
    }
}

fn wake(descriptor: &OwnedFd) {
    // Fails only when the counter is at its maximum, and then the core wakes anyway.
    let _ = rustix::io::write(descriptor, &1_u64.to_ne_bytes());
}
