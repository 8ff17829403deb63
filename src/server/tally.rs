//! What a core, and the log, count while they work.
//!
//! Each counter has one writer, the thread that owns it, and any number of readers: counting is
//! a load and a store without a lock, and a reader sees each counter as it was a moment ago.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    api::{Kind, Label, Latency},
    histogram::{BUCKETS, Histogram, bucket},
    http::Status,
};

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0
            .store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// Adds a number of things.
    pub fn add_count(&self, more: usize) {
        self.add(wide(more));
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn set_count(&self, value: usize) {
        self.set(wide(value));
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, with one writer.
#[derive(Debug)]
pub struct Timing {
    buckets: Box<[Count]>,
    sum_us: Count,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            buckets: counts(BUCKETS),
            sum_us: Count::default(),
        }
    }
}

impl Timing {
    /// Counts a duration in.
    pub fn add(&self, micros: u64) {
        self.buckets[bucket(micros)].add(1);
        self.sum_us.add(micros);
    }

    pub fn latency(&self) -> Latency {
        let counts = self.buckets.iter().map(Count::get).collect();
        Latency(Histogram::new(counts, self.sum_us.get()))
    }
}

/// What a core counts.
#[derive(Debug)]
pub struct Tally {
    /// By label, then by status.
    requests: Box<[Count]>,
    read: Timing,
    write: Timing,
    /// Operations of this core's requests on its own shard.
    pub local: Count,
    /// Operations of this core's requests that peers execute.
    pub forwarded: Count,
    /// Operations that this core executed for peers.
    pub served: Count,
    pub accepted: Count,
    pub turned_away: Count,
    pub turned_away_by_address: Count,
    pub kept_waiting: Count,
    pub closed_for_others: Count,
    pub closed_for_memory: Count,
    /// TLS handshakes that were completed.
    pub tls_handshakes: Count,
    /// Connections that TLS ended: nothing could be agreed on, a peer broke it or was too slow.
    pub tls_faults: Count,
    pub busy_us: Count,
    pub connections: Count,
    pub documents: Count,
    pub live_bytes: Count,
    pub calls: Count,
    pub gathers: Count,
    pub streams: Count,
    pub parked: Count,
    pub unsettled_bytes: Count,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            requests: counts(Label::COUNT * Status::ALL.len()),
            read: Timing::default(),
            write: Timing::default(),
            local: Count::default(),
            forwarded: Count::default(),
            served: Count::default(),
            accepted: Count::default(),
            turned_away: Count::default(),
            turned_away_by_address: Count::default(),
            kept_waiting: Count::default(),
            closed_for_others: Count::default(),
            closed_for_memory: Count::default(),
            tls_handshakes: Count::default(),
            tls_faults: Count::default(),
            busy_us: Count::default(),
            connections: Count::default(),
            documents: Count::default(),
            live_bytes: Count::default(),
            calls: Count::default(),
            gathers: Count::default(),
            streams: Count::default(),
            parked: Count::default(),
            unsettled_bytes: Count::default(),
        }
    }
}

impl Tally {
    /// Counts a request that was answered with the status of this code, `micros` after it was
    /// received.
    pub fn answered(&self, label: Label, code: u16, micros: u64) {
        let status = STATUS_INDEX[usize::from(code)];
        self.requests[label.index() * Status::ALL.len() + usize::from(status)].add(1);
        match label.kind() {
            Some(Kind::Read) => self.read.add(micros),
            Some(Kind::Write) => self.write.add(micros),
            None => {}
        }
    }

    /// The requests that were answered: path, method, status and how many, without those that
    /// were never.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u16, u64)> + '_ {
        let counts = self.requests.iter().map(Count::get).enumerate();
        counts
            .filter(|(_, count)| *count > 0)
            .map(|(index, count)| {
                let (label, status) = (index / Status::ALL.len(), index % Status::ALL.len());
                let (path, method) = Label::texts(label);
                (path, method, Status::ALL[status].code(), count)
            })
    }

    pub fn read_latency(&self) -> Latency {
        self.read.latency()
    }

    pub fn write_latency(&self) -> Latency {
        self.write.latency()
    }
}

/// What the log counts.
#[derive(Debug, Default)]
pub struct LogTally {
    pub syncs: Timing,
    pub appended_bytes: Count,
    pub segments: Count,
    pub held_bytes: Count,
    pub rolls: Count,
    /// 1 while segments are rewritten.
    pub compacting: Count,
    pub compactions: Count,
    pub failed_compactions: Count,
}

fn counts(count: usize) -> Box<[Count]> {
    (0..count).map(|_| Count::default()).collect()
}

/// Where in [`Status::ALL`] each code is.
const STATUS_INDEX: [u8; 600] = status_index();

#[expect(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "a constant: conversions with a check do not work there; a test looks at each"
)]
const fn status_index() -> [u8; 600] {
    let mut table = [0; 600];
    let mut index = 0;
    while index < Status::ALL.len() {
        table[Status::ALL[index].code() as usize] = index as u8;
        index += 1;
    }
    table
}

/// The code of a response, from its status line; `None`: it is not final (RFC 9110, 15.2).
pub fn final_status(response: &[u8]) -> Option<u16> {
    let digits = response.get(9..12)?;
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    (code >= 200).then_some(code)
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("usize has at most 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_label_and_status() {
        let tally = Tally::default();
        for status in Status::ALL {
            assert_eq!(final_status(status.line()), Some(status.code()));
            tally.answered(Label::UNREAD, status.code(), 5);
        }
        tally.answered(Label::UNREAD, 431, 5);
        let counted: Vec<_> = tally.requests().collect();
        assert_eq!(counted.len(), Status::ALL.len());
        for (path, method, status, count) in counted {
            let expected = 1 + u64::from(status == 431);
            assert_eq!(
                (path, method, count),
                ("none", "none", expected),
                "{status}"
            );
        }
        assert_eq!(tally.read_latency().0.count(), 0, "no request reads");
        assert_eq!(final_status(crate::http::CONTINUE), None);
    }
}
