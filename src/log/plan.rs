//! Which segments to compact, decided from how much of each is live.
//!
//! Pure. A put is dead once its document was replaced or removed, and a removal is
//! needed as long as an older segment may hold a put of its document: without it
//! a restart would bring that back. A segment can hold one only if it has dead
//! puts and was not compacted since the removal was settled.

use std::cmp::Ordering;

use super::{
    live::LiveBytes, position::Lsn, recovery::SegmentUse, roll::segment_length,
    segment::SEGMENT_HEADER_BYTES,
};

/// A run has no more segments than this.
const RUN_SEGMENTS_MAX: usize = 64;
/// Nor does more than this many segments' space belong to it, so that space comes back soon.
const RUN_BYTES_MAX_IN_SEGMENTS: u64 = 4;

/// Segments next to each other that become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The segments, oldest first; at least one.
    pub segments: Vec<SegmentUse>,
    /// No more bytes of records than these are kept.
    pub kept_bytes_max: u32,
    /// Removals up to this record hide nothing that lies before the run.
    pub hides_nothing_through: Lsn,
}

/// What compaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To keep the disk use within its bound, at little cost.
    Tidiness,
    /// To make any room: the disk is full.
    Room,
}

/// How long the new segment may be.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The length of a segment.
    pub segment_bytes: u32,
    /// The space that there is for it.
    pub bytes_max: u32,
}

/// Chooses the run that gives most space for what must be copied; `None`: none is worth it.
///
/// `sealed` are the segments before the current one, whose records are all settled, `next`
/// the record after them, and `live` was told by every shard after it had applied them.
#[must_use]
pub fn choose(
    sealed: &[SegmentUse],
    next: Lsn,
    live: &LiveBytes,
    output: Output,
    need: Need,
) -> Option<Run> {
    let parts = parts(sealed, next, live);
    let best = (0..parts.len())
        .map(|start| grow(&parts, start, output))
        .filter(|span| span.is_worth(need) && span.fits(output))
        .min_by(Span::compare);
    let span = match best {
        Some(span) => span,
        None => Span::new(&parts, oldest_in_the_way(&parts)?),
    };
    span.fits(output).then(|| span.run(sealed))
}

/// The run of the `count` segments from the one at `first` on, whatever it would give; `None`:
/// its output has no room. For tests: the cheapest runs are rarely the dangerous ones.
#[cfg(test)]
pub(crate) fn any_run(
    sealed: &[SegmentUse],
    next: Lsn,
    live: &LiveBytes,
    output: Output,
    first: usize,
    count: usize,
) -> Option<Run> {
    let parts = parts(sealed, next, live);
    let span = (1..count).try_fold(Span::new(&parts, first), |span, _| span.to_the_right())?;
    span.fits(output).then(|| span.run(sealed))
}

/// What is known of one segment.
#[derive(Clone, Copy, Debug)]
struct Part {
    disk_bytes: u64,
    live_bytes: u64,
    dead_put_bytes: u64,
    /// Removals and marks.
    other_bytes: u64,
    last: Lsn,
    purged_through: Lsn,
    /// Removals in it up to this record hide nothing before it.
    hides_nothing_through: Lsn,
}

impl Part {
    /// Bytes that are kept of it in a run whose removals hide nothing up to this record.
    fn kept_bytes(&self, hides_nothing_through: Lsn) -> u64 {
        self.live_bytes + self.stuck_bytes(hides_nothing_through)
    }

    fn stuck_bytes(&self, hides_nothing_through: Lsn) -> u64 {
        match self.last <= hides_nothing_through {
            true => 0,
            false => self.other_bytes,
        }
    }
}

fn parts(sealed: &[SegmentUse], next: Lsn, live: &LiveBytes) -> Vec<Part> {
    let mut hides_nothing_through = Lsn(u64::MAX);
    let mut parts = Vec::with_capacity(sealed.len());
    for (position, segment) in sealed.iter().enumerate() {
        let live_bytes = live.within(segment.number, segment.through());
        let put_bytes = u64::from(segment.put_bytes);
        let record_bytes = u64::from(segment.used_bytes - SEGMENT_HEADER_BYTES);
        let after = sealed.get(position + 1).map_or(next, |next| next.first_lsn);
        let part = Part {
            disk_bytes: segment_length(segment.bytes).into(),
            live_bytes,
            dead_put_bytes: put_bytes.saturating_sub(live_bytes),
            other_bytes: record_bytes - put_bytes,
            last: Lsn(after.0 - 1),
            purged_through: segment.compacted.map_or(Lsn::NONE, |c| c.purged_through),
            hides_nothing_through,
        };
        if part.dead_put_bytes > 0 {
            hides_nothing_through = hides_nothing_through.min(part.purged_through);
        }
        parts.push(part);
    }
    parts
}

/// Some parts next to each other, and what a run of them would come to.
#[derive(Clone, Copy, Debug)]
struct Span<'a> {
    parts: &'a [Part],
    first: usize,
    last: usize,
    disk_bytes: u64,
    kept_bytes: u64,
}

impl<'a> Span<'a> {
    fn new(parts: &'a [Part], only: usize) -> Span<'a> {
        let part = parts[only];
        Span {
            parts,
            first: only,
            last: only,
            disk_bytes: part.disk_bytes,
            kept_bytes: part.kept_bytes(part.hides_nothing_through),
        }
    }

    /// With the part before it.
    fn to_the_left(mut self) -> Option<Span<'a>> {
        let through = self.hides_nothing_through();
        self.first = self.first.checked_sub(1)?;
        let part = self.parts[self.first];
        self.disk_bytes += part.disk_bytes;
        self.kept_bytes += part.kept_bytes(part.hides_nothing_through);
        if self.hides_nothing_through() != through {
            let within = &self.parts[self.first..=self.last];
            let through = self.hides_nothing_through();
            self.kept_bytes = within.iter().map(|part| part.kept_bytes(through)).sum();
        }
        Some(self)
    }

    /// With the part after it.
    fn to_the_right(mut self) -> Option<Span<'a>> {
        self.last += 1;
        let part = self.parts.get(self.last)?;
        self.disk_bytes += part.disk_bytes;
        self.kept_bytes += part.kept_bytes(self.hides_nothing_through());
        Some(self)
    }

    fn hides_nothing_through(&self) -> Lsn {
        self.parts[self.first].hides_nothing_through
    }

    /// The space that its output takes.
    fn output_bytes(&self) -> u64 {
        (u64::from(SEGMENT_HEADER_BYTES) + self.kept_bytes).next_multiple_of(4096)
    }

    /// Whether it gives more space for each byte that it has now than `other`.
    fn compare(&self, other: &Span<'_>) -> Ordering {
        let cross = |output: u64, disk: u64| u128::from(output) * u128::from(disk);
        cross(self.output_bytes(), other.disk_bytes)
            .cmp(&cross(other.output_bytes(), self.disk_bytes))
    }

    fn is_worth(&self, need: Need) -> bool {
        match need {
            Need::Tidiness => self.output_bytes() * 4 <= self.disk_bytes * 3,
            // Less is not worth that writers wait for it.
            Need::Room => self.output_bytes() * 16 <= self.disk_bytes * 15,
        }
    }

    fn is_within(&self, output: Output) -> bool {
        let segment_bytes = u64::from(output.segment_bytes);
        self.last - self.first < RUN_SEGMENTS_MAX
            && self.disk_bytes <= segment_bytes.saturating_mul(RUN_BYTES_MAX_IN_SEGMENTS)
            && self.output_bytes() <= segment_bytes
            && self.fits(output)
    }

    fn fits(&self, output: Output) -> bool {
        self.output_bytes() <= u64::from(output.bytes_max)
    }

    fn run(&self, sealed: &[SegmentUse]) -> Run {
        Run {
            segments: sealed[self.first..=self.last].to_vec(),
            kept_bytes_max: u32::try_from(self.kept_bytes).expect("no more than one segment has"),
            hides_nothing_through: self.hides_nothing_through(),
        }
    }
}

/// The span from `start` on in both directions, as far as a run may reach, but to no
/// neighbour of which more must be copied than of all before it, unless that gives space
/// of its own. So each byte is copied only a few times until its segment is full.
fn grow(parts: &[Part], start: usize, output: Output) -> Span<'_> {
    let mut span = Span::new(parts, start);
    loop {
        let small = span.kept_bytes.max(u64::from(output.segment_bytes) / 64);
        let left = span.to_the_left().map(|grown| (grown, grown.first));
        let right = span.to_the_right().map(|grown| (grown, grown.last));
        let grown = [left, right]
            .into_iter()
            .flatten()
            .map(|(grown, neighbour)| (grown, Span::new(parts, neighbour)))
            .filter(|(grown, neighbour)| {
                let cheap = neighbour.kept_bytes <= small || neighbour.is_worth(Need::Tidiness);
                cheap && grown.is_within(output)
            })
            .min_by_key(|(_, neighbour)| neighbour.kept_bytes);
        match grown {
            Some((grown, _)) => span = grown,
            None => return span,
        }
    }
}

/// The oldest segment whose dead puts keep removals from being left out.
fn oldest_in_the_way(parts: &[Part]) -> Option<usize> {
    let stuck = |part: &Part| part.stuck_bytes(part.hides_nothing_through);
    let most = parts.iter().max_by_key(|part| stuck(part))?;
    if stuck(most) == 0 {
        return None;
    }
    parts
        .iter()
        .position(|part| part.dead_put_bytes > 0 && part.purged_through < most.last)
}

#[cfg(test)]
mod tests;
