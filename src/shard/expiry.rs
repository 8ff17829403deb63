//! The end of documents whose time has come.
//!
//! An operation that meets such a document queues its removal first and then goes on
//! without the document, so its answer rests on the removal and is given when that is
//! as durable as any write: a clock that is set back does not bring back what was
//! answered to be gone. Documents that nobody asks for are removed by [`Shard::sweep`].
//! A removal is a record like that of a DELETE.

use std::time::SystemTime;

use super::Shard;
use crate::{
    id::Id,
    limits::{EXPIRY_RETRY_MS, EXPIRY_SWEEP_MAX},
    op::Version,
};

/// Where the removal of documents that nobody asks for stands.
#[derive(Default)]
pub(super) struct Sweep {
    /// The last removal of the sweep under way.
    last: Option<Version>,
    /// After the log refused a removal: until then no other one is tried for its own sake.
    paused_until_ms: u64,
}

impl Sweep {
    /// Takes in that the write which made `version` is settled.
    pub(super) fn settled(&mut self, version: Version) {
        if self.last == Some(version) {
            self.last = None;
        }
    }

    /// Takes in that the log took no more at `unix_ms`.
    pub(super) fn refused(&mut self, unix_ms: u64) {
        self.last = None;
        self.paused_until_ms = unix_ms.saturating_add(EXPIRY_RETRY_MS);
    }

    /// Whether the log may take removals at `unix_ms`. A pause that the clock's being set
    /// back would prolong ends.
    pub(super) fn is_paused(&self, unix_ms: u64) -> bool {
        let left_ms = self.paused_until_ms.saturating_sub(unix_ms);
        (1..=EXPIRY_RETRY_MS).contains(&left_ms)
    }
}

impl<W> Shard<W> {
    /// Removes documents whose time has come at `unix_ms`, a bounded number at a time;
    /// whether there were some.
    ///
    /// Costs a look at the first one when there is nothing to do.
    pub fn sweep(&mut self, unix_ms: u64) -> bool {
        if self.sweep.last.is_some() || self.sweep.is_paused(unix_ms) {
            return false;
        }
        let due = self.index.due(unix_ms).take(EXPIRY_SWEEP_MAX);
        let due = due.map(|entry| entry.key().to_id());
        // A queued write decides over the others when it is settled, as an atomic batch does.
        let is_free = |id: &Id| !self.is_queued(id) && !self.parts.hold(id);
        let due: Vec<Id> = due.filter(is_free).collect();
        let any = !due.is_empty();
        for id in due {
            self.remove_expired(id);
        }
        if any {
            self.sweep.last = Some(self.last_version());
        }
        any
    }
}

/// Milliseconds since 1970 by the system's clock.
pub(super) fn system_unix_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;

    use super::*;
    use crate::{
        log::{Kind, Location, Lsn, SegmentNumber, draft_fields, drafts},
        op::{
            Absent, Attempt, Chosen, Condition, Edit, Edited, Expires, Expiry, Match, Op, Outcome,
            Refusal, Shows, Ttl,
        },
        shard::{Place, Rules, Settled},
    };

    thread_local! {
        static UNIX_MS: Cell<u64> = const { Cell::new(0) };
    }

    /// A shard at 1000 ms in which edits put an x behind a document.
    fn shard() -> Shard<u32> {
        UNIX_MS.set(1_000);
        let rules = Rules {
            same_document: |a, b| a == b,
            edit: |edit, document, _| {
                let document = match (edit, document) {
                    (Edit::Replace { document, .. }, _) => document.to_vec(),
                    (_, document) => [document.unwrap_or_default(), b"x"].concat(),
                };
                Attempt {
                    result: Ok(Some(Edited {
                        document: document.into(),
                        shown: Bytes::new(),
                    })),
                    work_bytes: 0,
                }
            },
            document_bytes_max: 100,
        };
        Shard::new(rules).with_clock(|| UNIX_MS.get())
    }

    fn id(n: i64) -> Id {
        Id::Integer(n)
    }

    fn ms(ms: u64) -> Expires {
        Expires::In(Ttl::asked(ms).expect("in bounds"))
    }

    fn put_if(n: i64, document: &'static str, expires: Expires, if_match: Option<Match>) -> Op {
        let condition = if_match.map(|if_match| {
            Box::new(Condition {
                if_match: Some(if_match),
                if_none_match: None,
            })
        });
        Op::Put {
            id: id(n),
            document: document.into(),
            condition,
            chosen: Chosen::ByClient,
            expires,
        }
    }

    fn put(n: i64, document: &'static str, expires: Expires) -> Op {
        put_if(n, document, expires, None)
    }

    fn get(n: i64) -> Op {
        Op::Get { id: id(n) }
    }

    fn edit(n: i64, edit: Edit) -> Op {
        Op::Edit {
            id: id(n),
            edit,
            condition: None,
            shows: Shows::Answer,
        }
    }

    fn merge() -> Edit {
        Edit::Merge {
            patch: Bytes::new(),
            absent: Absent::Create,
        }
    }

    fn found(document: &'static str, version: u64, ttl_ms: Option<u64>) -> Outcome {
        Outcome::Found {
            document: document.into(),
            version: Version(version),
            ttl: ttl_ms.and_then(Ttl::asked),
        }
    }

    /// The records since the last call: what each says, of which document, and its expiry.
    fn records(shard: &mut Shard<u32>) -> Vec<(Kind, Id, u64)> {
        let batch = shard.take_batch();
        let bytes = batch.map(|batch| batch.bytes).unwrap_or_default();
        let records = drafts(&bytes).map(draft_fields);
        records
            .map(|record| (record.kind, record.id.to_id(), record.expires_at_ms))
            .collect()
    }

    /// Settles `count` records, and lists what was answered.
    fn settle(shard: &mut Shard<u32>, count: u32) -> Vec<(u32, Outcome)> {
        let place = |n| Place {
            lsn: Lsn(0),
            location: Location {
                segment: SegmentNumber(1),
                offset: 64 * n,
            },
        };
        let settled = Settled {
            places: (1..=count).map(place).collect(),
            ..Settled::default()
        };
        let mut answers = Vec::new();
        shard.settle(settled, |waiter, outcome| answers.push((waiter, outcome)));
        answers
    }

    fn refuse(shard: &mut Shard<u32>) -> Vec<(u32, Outcome)> {
        let settled = Settled {
            refused: Some(Refusal::DiskFull),
            ..Settled::default()
        };
        let mut answers = Vec::new();
        shard.settle(settled, |waiter, outcome| answers.push((waiter, outcome)));
        answers
    }

    /// A shard with document 1, `"a"` in version 1, that expires at 1500 ms.
    fn with_expiring() -> Shard<u32> {
        let mut shard = shard();
        shard.execute(put(1, "a", ms(500)), 0);
        assert_eq!(records(&mut shard), [(Kind::Put, id(1), 1_500)]);
        settle(&mut shard, 1);
        shard
    }

    #[test]
    fn a_document_is_there_until_its_moment_and_its_end_is_a_record() {
        let mut shard = with_expiring();
        assert_eq!(shard.execute(get(1), 1), Some(found("a", 1, Some(500))));
        UNIX_MS.set(1_499);
        assert_eq!(shard.execute(get(1), 1), Some(found("a", 1, Some(1))));
        UNIX_MS.set(1_500);
        assert_eq!(shard.execute(get(1), 2), None, "the end is not durable yet");
        assert_eq!(shard.execute(get(1), 3), None);
        assert_eq!(records(&mut shard), [(Kind::Delete, id(1), 0)]);
        let missing = [(2, Outcome::Missing), (3, Outcome::Missing)];
        assert_eq!(settle(&mut shard, 1), missing);
        // A clock that is set back does not bring it back.
        UNIX_MS.set(1_000);
        assert_eq!(shard.execute(get(1), 4), Some(Outcome::Missing));
        assert_eq!(shard.document_count(), 0);
    }

    #[test]
    fn a_read_is_judged_by_the_moment_it_was_asked() {
        let mut shard = shard();
        shard.execute(put(1, "a", ms(500)), 0);
        UNIX_MS.set(1_499);
        assert_eq!(shard.execute(get(1), 1), None);
        UNIX_MS.set(1_500);
        assert_eq!(shard.execute(get(1), 2), None);
        assert_eq!(records(&mut shard).len(), 2, "a put and a removal");
        let answers = settle(&mut shard, 2);
        let read = [(1, found("a", 1, Some(1))), (2, Outcome::Missing)];
        assert_eq!(answers[1..], read);
    }

    #[test]
    fn a_write_decides_anew_when_its_document_ends_and_an_edit_does_not() {
        for (op, expected) in [
            (put(1, "a", Expires::Never), Some(0)),
            (put(1, "b", Expires::Never), Some(0)),
            (put(1, "a", ms(500)), Some(1_600)),
            (put(1, "a", ms(9_000)), Some(10_100)),
            (
                put(1, "a", Expires::At(Expiry::asked(7).expect("a moment"))),
                Some(7),
            ),
            (edit(1, merge()), Some(1_500)),
        ] {
            let mut shard = with_expiring();
            UNIX_MS.set(1_100);
            shard.execute(op.clone(), 1);
            let expiry = records(&mut shard).first().map(|record| record.2);
            assert_eq!(expiry, expected, "{op:?}");
            // Replacing for an answer that shows the document is no other write.
            if let Op::Put {
                document, expires, ..
            } = op
            {
                let mut shard = with_expiring();
                UNIX_MS.set(1_100);
                shard.execute(edit(1, Edit::Replace { document, expires }), 1);
                let expiry = records(&mut shard).first().map(|record| record.2);
                assert_eq!(expiry, expected);
            }
        }
        let mut shard = with_expiring();
        shard.execute(put(1, "a", Expires::Never), 1);
        settle(&mut shard, 1);
        assert_eq!(records(&mut shard).len(), 1);
        assert!(shard.execute(put(1, "a", Expires::Never), 2).is_some());
        UNIX_MS.set(9_000);
        assert_eq!(shard.execute(get(1), 3), Some(found("a", 2, None)));
        assert!(!shard.sweep(9_000));
    }

    #[test]
    fn whatever_meets_an_expired_document_finds_none() {
        let created = |outcome: &Outcome| {
            matches!(
                outcome,
                Outcome::Stored {
                    created: true,
                    version: Version(3),
                    ..
                } | Outcome::Edited {
                    created: true,
                    version: Version(3),
                    ..
                }
            )
        };
        let is_missing = |outcome: &Outcome| *outcome == Outcome::Missing;
        let has_failed = |outcome: &Outcome| *outcome == Outcome::ConditionFailed;
        let delete = Op::Delete {
            id: id(1),
            condition: None,
        };
        let old = Match::Versions(Box::new([Version(1)]));
        type IsRight<'t> = &'t dyn Fn(&Outcome) -> bool;
        let asked: [(Op, IsRight<'_>); 6] = [
            (get(1), &is_missing),
            (delete, &is_missing),
            (put_if(1, "a", ms(500), Some(Match::Any)), &has_failed),
            (put_if(1, "a", ms(500), Some(old)), &has_failed),
            (put(1, "a", Expires::Never), &created),
            (edit(1, merge()), &created),
        ];
        for (op, is_right) in asked {
            let mut shard = with_expiring();
            UNIX_MS.set(1_500);
            assert_eq!(shard.execute(op.clone(), 1), None, "{op:?}");
            let records = records(&mut shard);
            assert_eq!(records[0].0, Kind::Delete, "{op:?}");
            let count = u32::try_from(records.len()).expect("few");
            let answers = settle(&mut shard, count);
            assert!(is_right(&answers[0].1), "{op:?}: {answers:?}");
            if let Outcome::Edited { .. } = answers[0].1 {
                assert_eq!(records[1].2, 0, "it is another document");
            }
        }
    }

    #[test]
    fn a_sweep_removes_what_is_due_and_nothing_that_was_written_again() {
        let mut shard = shard();
        for n in 0..10 {
            shard.execute(
                put(n, "a", ms(100 + 10 * u64::try_from(n).expect("small"))),
                0,
            );
        }
        settle(&mut shard, 10);
        records(&mut shard);
        assert!(!shard.sweep(1_099));
        // Documents 0 to 5 are due; 1 gets longer, 2 is deleted, 3 is kept for ever.
        UNIX_MS.set(1_050);
        shard.execute(put(1, "a", ms(5_000)), 0);
        settle(&mut shard, 1);
        let delete = Op::Delete {
            id: id(2),
            condition: None,
        };
        shard.execute(delete, 0);
        shard.execute(put(3, "a", Expires::Never), 0);
        records(&mut shard);
        UNIX_MS.set(1_150);
        assert!(shard.sweep(1_150));
        let due = [0, 4, 5].map(|n| (Kind::Delete, id(n), 0));
        assert_eq!(records(&mut shard), due);
        assert!(!shard.sweep(1_150), "it is under way");
        settle(&mut shard, 5);
        assert!(!shard.sweep(1_159));
        assert!(shard.sweep(1_160));
        assert_eq!(records(&mut shard).len(), 1);
        assert_eq!(shard.document_count(), 6);
    }

    #[test]
    fn a_sweep_is_bounded_and_goes_on_when_it_is_settled() {
        let mut shard = shard();
        let count = EXPIRY_SWEEP_MAX + 1;
        for n in 0..i64::try_from(count).expect("few") {
            shard.execute(put(n, "a", ms(1)), 0);
        }
        settle(&mut shard, u32::try_from(count).expect("few"));
        records(&mut shard);
        assert!(shard.sweep(2_000));
        assert_eq!(records(&mut shard).len(), EXPIRY_SWEEP_MAX);
        settle(&mut shard, u32::try_from(EXPIRY_SWEEP_MAX).expect("few"));
        assert!(shard.sweep(2_000));
        settle(&mut shard, 1);
        assert_eq!((shard.document_count(), shard.sweep(2_000)), (0, false));
    }

    #[test]
    fn while_the_log_takes_nothing_the_clock_decides() {
        let mut shard = with_expiring();
        UNIX_MS.set(1_500);
        assert_eq!(shard.execute(get(1), 1), None);
        assert_eq!(refuse(&mut shard), [(1, Outcome::Missing)]);
        records(&mut shard);
        assert_eq!(shard.execute(get(1), 2), Some(Outcome::Missing));
        assert!(!shard.sweep(1_500), "it waits a while");
        assert!(records(&mut shard).is_empty());
        UNIX_MS.set(1_500 + EXPIRY_RETRY_MS);
        assert!(shard.sweep(1_500 + EXPIRY_RETRY_MS));
        settle(&mut shard, 1);
        assert_eq!(shard.document_count(), 0);
    }

    #[test]
    fn a_listing_steps_over_what_has_expired_within_bounds() {
        use crate::{limits::LIST_EXPIRED_MAX, listing::Listing};
        let mut shard = shard();
        let last = i64::try_from(LIST_EXPIRED_MAX + 10).expect("few");
        for n in 0..=last {
            let expires = match n {
                3 => Expires::Never,
                n if n == last => ms(9_000),
                _ => ms(1),
            };
            shard.execute(put(n, "a", expires), 0);
        }
        settle(&mut shard, u32::try_from(last + 1).expect("few"));
        UNIX_MS.set(2_000);
        let mut listing = Listing {
            after: None,
            prefix: None,
            limit: 2,
        };
        let mut seen = Vec::new();
        for pages in 1.. {
            let page = listing.merge(vec![shard.list(&listing)]);
            seen.extend(page.entries.iter().map(|entry| entry.id.clone()));
            listing.after = page.next().cloned();
            if listing.after.is_none() {
                assert_eq!(pages, 2, "the first ended at its bound");
                break;
            }
        }
        assert_eq!(seen, [id(3), id(last)]);
    }
}
