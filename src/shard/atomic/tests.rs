use std::cell::Cell;

use bytes::Bytes;

use super::*;
use crate::{
    limits::UNSETTLED_BYTES_MAX,
    log::{Kind, Location, SegmentNumber, draft_fields, drafts},
    op::{Attempt, Chosen, Condition, Edit, Edited, Expires, Match, Shows, Ttl},
    shard::{Rules, Settled},
};

thread_local! {
    static UNIX_MS: Cell<u64> = const { Cell::new(0) };
}

const KEY: AtomicKey = AtomicKey(3);

/// A shard at 1000 ms.
fn shard() -> Shard<u32> {
    UNIX_MS.set(1_000);
    let rules = Rules {
        same_document: |a, b| a == b,
        edit: |_, _, _| Attempt {
            result: Err(EditRefusal::NoSuchPart),
            work_bytes: 0,
        },
        document_bytes_max: 8,
    };
    Shard::new(rules).with_clock(|| UNIX_MS.get())
}

fn id(n: i64) -> Id {
    Id::Integer(n)
}

fn put_with(n: i64, document: &'static str, expires: Expires, if_match: Option<Match>) -> Op {
    let condition = if_match.map(|if_match| {
        Box::new(Condition {
            if_match: Some(if_match),
            if_none_match: None,
        })
    });
    Op::Put {
        id: id(n),
        document: Bytes::from_static(document.as_bytes()),
        condition,
        chosen: Chosen::ByClient,
        expires,
    }
}

fn put(n: i64, document: &'static str) -> Op {
    put_with(n, document, Expires::Never, None)
}

fn get(n: i64) -> Op {
    Op::Get { id: id(n) }
}

fn delete(n: i64) -> Op {
    Op::Delete {
        id: id(n),
        condition: None,
    }
}

fn part(ops: impl IntoIterator<Item = Op>) -> Vec<AtomicOp> {
    let ops = ops.into_iter();
    ops.map(|op| AtomicOp { op, guard: None }).collect()
}

fn place(n: u32) -> Place {
    Place {
        lsn: Lsn(n.into()),
        location: Location {
            segment: SegmentNumber(1),
            offset: 64 * n,
        },
    }
}

fn settle(shard: &mut Shard<u32>, count: u32, refused: Option<Refusal>) -> Vec<(u32, Outcome)> {
    let mut answers = Vec::new();
    let settled = Settled {
        places: (1..=count).map(place).collect(),
        refused,
        ..Settled::default()
    };
    shard.settle(settled, |waiter, outcome| answers.push((waiter, outcome)));
    answers
}

fn conclude(shard: &mut Shard<u32>, conclusion: Conclusion) -> Vec<(u32, Outcome)> {
    let mut answers = Vec::new();
    shard.conclude(KEY, conclusion, |waiter, outcome| {
        answers.push((waiter, outcome));
    });
    answers
}

fn applied(count: u32) -> Conclusion {
    Conclusion::Applied((1..=count).map(|n| place(10 + n)).collect())
}

/// The vote on `ops`, which can be given at once.
#[track_caller]
fn vote_on(shard: &mut Shard<u32>, ops: impl IntoIterator<Item = Op>) -> Vote {
    shard.prepare(KEY, part(ops), 0);
    let mut votes = shard.take_votes();
    assert_eq!(votes.len(), 1, "nothing is under way");
    votes.remove(0).1
}

#[track_caller]
fn yes(vote: Vote) -> Prepared {
    match vote {
        Vote::Yes(prepared) => prepared,
        Vote::No(failure) => panic!("{failure:?}"),
    }
}

fn kinds(prepared: &Prepared) -> Vec<(Kind, Id)> {
    let records = drafts(&prepared.drafts).map(draft_fields);
    records
        .map(|record| (record.kind, record.id.to_id()))
        .collect()
}

fn found(document: &'static str, version: u64) -> Outcome {
    Outcome::Found {
        document: document.into(),
        version: Version(version),
        ttl: None,
    }
}

#[test]
fn nothing_is_shown_or_judged_before_the_part_is_concluded() {
    let mut shard = shard();
    shard.execute(put(1, "a"), 0);
    settle(&mut shard, 1, None);
    shard.take_batch();
    let ops = [
        put(1, "b"),
        get(1),
        put(2, "c"),
        put(2, "c"),
        delete(1),
        get(1),
    ];
    let prepared = yes(vote_on(&mut shard, ops));
    assert_eq!(prepared.outcomes[1], found("b", 2));
    assert_eq!(prepared.outcomes[5], Outcome::Missing);
    let expected = [
        (Kind::Put, id(1)),
        (Kind::Put, id(2)),
        (Kind::Delete, id(1)),
    ];
    assert_eq!(kinds(&prepared), expected, "an equal document is no record");
    assert_eq!(prepared.count, 3);
    assert!(
        shard.take_batch().is_none(),
        "the group is the coordinator's"
    );
    assert_eq!(shard.execute(get(1), 1), None);
    assert_eq!(
        shard.execute(put_with(1, "d", Expires::Never, Some(Match::Any)), 2),
        None
    );
    assert_eq!(shard.execute(get(2), 3), None);
    assert_eq!(
        shard.execute(get(3), 4),
        Some(Outcome::Missing),
        "others do not wait"
    );
    assert!(shard.take_batch().is_none());
    let answers = conclude(&mut shard, applied(3));
    let expected = [
        (1, Outcome::Missing),
        (2, Outcome::ConditionFailed),
        (3, found("c", 3)),
    ];
    assert_eq!(answers, expected);
    assert_eq!(shard.document_count(), 1);
}

#[test]
fn a_part_that_is_dropped_leaves_everything_as_it_was() {
    let mut shard = shard();
    shard.execute(put(1, "a"), 0);
    settle(&mut shard, 1, None);
    yes(vote_on(&mut shard, [put(1, "b"), put(2, "c")]));
    assert_eq!(shard.unsettled_bytes(), 2);
    assert_eq!(shard.execute(get(1), 1), None);
    assert_eq!(shard.execute(put(2, "d"), 2), None);
    assert_eq!(
        conclude(&mut shard, Conclusion::Dropped),
        [(1, found("a", 1))]
    );
    assert_eq!(shard.unsettled_bytes(), 1, "the write that waited");
    let answers = settle(&mut shard, 1, None);
    assert!(
        matches!(
            answers[..],
            [(
                2,
                Outcome::Stored {
                    created: true,
                    version: Version(4),
                    ..
                }
            )]
        ),
        "versions never come back: {answers:?}"
    );
}

#[test]
fn a_part_waits_for_writes_of_its_ids_and_is_judged_on_what_became_of_them() {
    for (refused, expected) in [
        (None, found("b", 2)),
        (Some(Refusal::DiskFull), found("a", 1)),
    ] {
        let mut shard = shard();
        shard.execute(put(1, "a"), 0);
        settle(&mut shard, 1, None);
        shard.execute(put(1, "b"), 1);
        shard.prepare(KEY, part([get(1), get(2)]), 0);
        assert!(shard.take_votes().is_empty(), "a write is under way");
        settle(&mut shard, u32::from(refused.is_none()), refused);
        let (_, vote) = shard.take_votes().remove(0);
        assert_eq!(yes(vote).outcomes, [expected, Outcome::Missing]);
    }
}

#[test]
fn a_refusal_of_the_log_leaves_parts_as_they_are() {
    let mut shard = shard();
    yes(vote_on(&mut shard, [put(1, "a")]));
    shard.execute(put(2, "b"), 1);
    settle(&mut shard, 0, Some(Refusal::DiskFull));
    assert_eq!(shard.execute(get(1), 2), None, "it is held as before");
    assert_eq!(shard.unsettled_bytes(), 1);
    assert_eq!(conclude(&mut shard, applied(1)), [(2, found("a", 1))]);
    assert_eq!(shard.unsettled_bytes(), 0);
}

#[test]
fn the_first_operation_that_fails_is_named() {
    let mut shard = shard();
    let if_any = Some(Match::Any);
    for (op, outcome) in [
        (
            put_with(2, "b", Expires::Never, if_any),
            Outcome::ConditionFailed,
        ),
        (delete(2), Outcome::Missing),
    ] {
        match vote_on(&mut shard, [put(1, "a"), get(2), op, delete(7)]) {
            Vote::No(failure) => {
                let place = Some(2);
                assert_eq!(failure, AtomicFailure { place, outcome });
            }
            Vote::Yes(prepared) => panic!("{prepared:?}"),
        }
        assert_eq!(shard.execute(get(1), 1), None, "held until it is concluded");
        assert_eq!(
            conclude(&mut shard, Conclusion::Dropped),
            [(1, Outcome::Missing)]
        );
    }
}

#[test]
fn a_read_fails_only_by_its_guard() {
    for (guard, holds) in [
        (Condition::absent(), true),
        (
            Condition {
                if_match: Some(Match::Any),
                if_none_match: None,
            },
            false,
        ),
    ] {
        let mut shard = shard();
        let guard = Some(Box::new(guard));
        shard.prepare(KEY, vec![AtomicOp { op: get(1), guard }], 0);
        let (_, vote) = shard.take_votes().remove(0);
        assert_eq!(matches!(vote, Vote::Yes(_)), holds);
    }
}

#[test]
fn that_a_document_has_expired_is_on_disk_before_anything_rests_on_it() {
    let mut shard = shard();
    let ttl = Expires::In(Ttl::asked(500).expect("in bounds"));
    shard.execute(put_with(1, "a", ttl, None), 0);
    settle(&mut shard, 1, None);
    shard.take_batch();
    UNIX_MS.set(1_500);
    shard.prepare(KEY, part([get(1), put(1, "b")]), 0);
    assert!(!shard.sweep(1_500), "it is held");
    assert!(shard.take_votes().is_empty());
    assert_eq!(shard.take_batch().map(|batch| batch.count), Some(1));
    settle(&mut shard, 1, None);
    let (_, vote) = shard.take_votes().remove(0);
    let prepared = yes(vote);
    assert_eq!(prepared.outcomes[0], Outcome::Missing);
    assert!(matches!(
        prepared.outcomes[1],
        Outcome::Stored { created: true, .. }
    ));
    conclude(&mut shard, applied(1));
    // While the log takes nothing, the clock alone decides, and reads go on.
    shard.execute(put_with(1, "c", ttl, None), 0);
    settle(&mut shard, 1, None);
    shard.execute(put(2, "x"), 0);
    UNIX_MS.set(2_000);
    settle(&mut shard, 0, Some(Refusal::LogPoisoned));
    let prepared = yes(vote_on(&mut shard, [get(1), get(2)]));
    assert_eq!(prepared.outcomes, [Outcome::Missing, Outcome::Missing]);
    assert_eq!(prepared.count, 0);
}

#[test]
fn what_waits_and_what_is_prepared_is_bounded() {
    let mut shard = shard();
    yes(vote_on(&mut shard, [put(1, "a")]));
    shard.unsettled_bytes += UNSETTLED_BYTES_MAX;
    let overloaded = Outcome::Refused(Refusal::Overloaded);
    assert_eq!(shard.execute(put(1, "b"), 1), Some(overloaded.clone()));
    assert_eq!(shard.execute(get(1), 2), None, "a read has its turn");
    conclude(&mut shard, Conclusion::Dropped);
    shard.unsettled_bytes += 1;
    match vote_on(&mut shard, [get(1), put(1, "a")]) {
        Vote::No(failure) => {
            assert_eq!((failure.place, failure.outcome), (Some(1), overloaded));
        }
        Vote::Yes(prepared) => panic!("{prepared:?}"),
    }
}

#[test]
fn a_part_whose_records_are_too_large_is_refused_where_they_are() {
    let mut shard = shard();
    shard.rules.edit = |_, _, _| {
        let document = Bytes::from(vec![b'1'; ATOMIC_BYTES_MAX / 2]);
        let shown = document.clone();
        Attempt {
            result: Ok(Some(Edited { document, shown })),
            work_bytes: 0,
        }
    };
    let edit = |n| Op::Edit {
        id: id(n),
        edit: Edit::Patch(Box::default()),
        condition: None,
        shows: Shows::Answer,
    };
    match vote_on(&mut shard, [put(1, "a"), edit(2), edit(3)]) {
        Vote::No(failure) => {
            let outcome = Outcome::Refused(Refusal::AtomicTooLarge);
            assert_eq!((failure.place, failure.outcome), (Some(2), outcome));
        }
        Vote::Yes(_) => panic!("it is too large"),
    }
    assert_eq!(shard.unsettled_bytes(), 0);
}
