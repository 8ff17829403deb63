use bytes::Bytes;

use super::*;
use crate::{
    log::{Draft, Flags, Kind, Location, SegmentNumber, encode},
    op::{Chosen, Expires, Op, Version},
};

fn put(id: i64) -> AtomicOp {
    AtomicOp {
        op: Op::Put {
            id: Id::Integer(id),
            document: Bytes::from_static(b"1"),
            condition: None,
            chosen: Chosen::ByClient,
            expires: Expires::Never,
        },
        guard: None,
    }
}

/// A vote for puts of these ids, each of which is a record.
fn yes(ops: &[AtomicOp]) -> Vote {
    let mut drafts = Vec::new();
    for atomic in ops {
        let draft = Draft {
            kind: Kind::Put,
            flags: Flags::NONE,
            version: Version(1),
            expires_at_ms: 0,
            id: atomic.op.id(),
            document: b"1",
        };
        encode(&mut drafts, &draft);
    }
    let stored = Outcome::Stored {
        created: true,
        version: Version(1),
        position: Lsn::NONE,
    };
    Vote::Yes(Prepared {
        outcomes: vec![stored; ops.len()],
        drafts,
        count: ops.len(),
    })
}

fn no(place: usize) -> Vote {
    Vote::No(AtomicFailure {
        place: Some(place),
        outcome: Outcome::Missing,
    })
}

fn places(count: u32) -> Vec<Place> {
    let place = |n: u32| Place {
        lsn: Lsn(n.into()),
        location: Location {
            segment: SegmentNumber(1),
            offset: 64 * n,
        },
    };
    (1..=count).map(place).collect()
}

fn ask(coordinator: &mut Coordinator<u32>, asker: u32, ids: &[i64]) -> AtomicKey {
    let ops = ids.iter().map(|id| put(*id)).collect();
    coordinator.ask(asker, ops, Durability::AsConfigured)
}

/// What is to be done, in short.
fn done(coordinator: &mut Coordinator<u32>) -> Vec<String> {
    std::iter::from_fn(|| coordinator.next())
        .map(|action| match action {
            Action::Prepare(_, key, ops) => format!("prepare {} {}", key.0, ops.len()),
            Action::Submit(group) => format!("submit {}", group.key.0),
            Action::Conclude(_, key, Conclusion::Applied(places)) => {
                format!("apply {} {}", key.0, places.len())
            }
            Action::Conclude(_, key, Conclusion::Dropped) => format!("drop {}", key.0),
            Action::Answer(asker, Ok(_)) => format!("ok {asker}"),
            Action::Answer(asker, Err(failure)) => {
                format!("failed {asker} {:?}", failure.place)
            }
        })
        .collect()
}

#[test]
fn a_batch_is_answered_when_all_of_its_parts_are_applied() {
    let mut coordinator = Coordinator::new(1);
    let key = ask(&mut coordinator, 7, &[1, 2]);
    assert_eq!(done(&mut coordinator), ["prepare 0 2"]);
    coordinator.vote(key, CoreId(0), yes(&[put(1), put(2)]));
    assert_eq!(done(&mut coordinator), ["submit 0"]);
    coordinator.hear(key, GroupNews::Ended(Ok(places(2))));
    assert_eq!(done(&mut coordinator), ["apply 0 2"]);
    coordinator.concluded(key);
    assert_eq!(done(&mut coordinator), ["ok 7"]);
    assert!(coordinator.turns.is_empty() && coordinator.batches.is_empty());
}

#[test]
fn one_no_drops_every_part_and_the_first_failure_in_the_order_asked_is_told() {
    let cores = 3;
    let owner = |id: i64| CoreId::owner(Id::Integer(id).placement(), cores);
    let of_core = |core| (0..).find(|id| owner(*id) == CoreId(core)).expect("one");
    let ids = [of_core(0), of_core(1), of_core(2), of_core(1)];
    let mut coordinator = Coordinator::new(cores);
    let key = ask(&mut coordinator, 7, &ids);
    assert_eq!(done(&mut coordinator).len(), 3);
    coordinator.vote(key, CoreId(2), no(0));
    coordinator.vote(key, CoreId(1), no(1));
    assert!(done(&mut coordinator).is_empty(), "one vote is missing");
    coordinator.vote(key, CoreId(0), yes(&[put(ids[0])]));
    let expected = ["drop 0", "drop 0", "drop 0", "failed 7 Some(2)"];
    assert_eq!(done(&mut coordinator), expected);
    for _ in 0..cores {
        coordinator.concluded(key);
    }
    assert!(done(&mut coordinator).is_empty());
    assert!(coordinator.turns.is_empty() && coordinator.batches.is_empty());
}

#[test]
fn batches_take_turns_at_an_id_in_the_order_asked_and_others_do_not_wait() {
    let mut coordinator = Coordinator::new(1);
    let first = ask(&mut coordinator, 1, &[1, 2]);
    let second = ask(&mut coordinator, 2, &[2, 3, 2]);
    ask(&mut coordinator, 3, &[3, 1]);
    let other = ask(&mut coordinator, 4, &[4]);
    assert_eq!(done(&mut coordinator), ["prepare 0 2", "prepare 3 1"]);
    coordinator.vote(other, CoreId(0), no(0));
    assert_eq!(done(&mut coordinator), ["drop 3", "failed 4 Some(0)"]);
    coordinator.vote(first, CoreId(0), no(0));
    let expected = ["drop 0", "failed 1 Some(0)", "prepare 1 3"];
    assert_eq!(done(&mut coordinator), expected, "behind the conclusion");
    coordinator.vote(second, CoreId(0), no(0));
    assert_eq!(
        done(&mut coordinator),
        ["drop 1", "failed 2 Some(0)", "prepare 2 2"]
    );
}

#[test]
fn no_more_than_the_bound_are_under_way() {
    let mut coordinator = Coordinator::new(1);
    let count = i64::try_from(ATOMICS_MAX).expect("few") + 1;
    let keys: Vec<AtomicKey> = (0..count)
        .map(|id| ask(&mut coordinator, 0, &[id]))
        .collect();
    assert_eq!(done(&mut coordinator).len(), ATOMICS_MAX);
    coordinator.vote(keys[5], CoreId(0), no(0));
    assert_eq!(done(&mut coordinator), ["drop 5", "failed 0 Some(0)"]);
    coordinator.concluded(keys[5]);
    assert_eq!(done(&mut coordinator).len(), 1, "there is room");
}

#[test]
fn a_refused_group_is_dropped_and_an_early_answer_is_the_only_one() {
    let mut coordinator = Coordinator::new(1);
    let ops = vec![put(1)];
    let key = coordinator.ask(7, ops.clone(), Durability::Logged);
    done(&mut coordinator);
    coordinator.vote(key, CoreId(0), yes(&ops));
    done(&mut coordinator);
    coordinator.hear(key, GroupNews::Logged(Lsn(4)));
    match coordinator.next() {
        Some(Action::Answer(7, Ok(outcomes))) => {
            assert_eq!(outcomes[0].position(), Some(Lsn(4)));
        }
        other => panic!("{other:?}"),
    }
    coordinator.hear(key, GroupNews::Ended(Err(Refusal::LogPoisoned)));
    assert_eq!(done(&mut coordinator), ["drop 0"]);
    coordinator.concluded(key);
    assert!(done(&mut coordinator).is_empty());
}

#[test]
fn what_writes_nothing_needs_no_log_unless_it_is_to_be_on_disk() {
    for (durability, expected) in [
        (Durability::AsConfigured, "apply 0 0"),
        (Durability::Synced, "submit 0"),
    ] {
        let mut coordinator = Coordinator::new(1);
        let key = coordinator.ask(7, vec![put(1)], durability);
        done(&mut coordinator);
        let Vote::Yes(equal) = yes(&[put(1)]) else {
            unreachable!()
        };
        let equal = Prepared {
            drafts: Vec::new(),
            count: 0,
            ..equal
        };
        coordinator.vote(key, CoreId(0), Vote::Yes(equal));
        assert_eq!(done(&mut coordinator), [expected]);
    }
}

#[test]
fn parts_that_are_too_large_together_are_dropped() {
    let owner = |id: i64| CoreId::owner(Id::Integer(id).placement(), 2);
    let of_core = |core| (0..).find(|id| owner(*id) == CoreId(core)).expect("one");
    let mut coordinator = Coordinator::new(2);
    let key = ask(&mut coordinator, 7, &[of_core(0), of_core(1)]);
    done(&mut coordinator);
    for core in [0, 1] {
        let Vote::Yes(mut prepared) = yes(&[put(of_core(core))]) else {
            unreachable!()
        };
        prepared.drafts.resize(ATOMIC_BYTES_MAX / 2 + 1, 0);
        coordinator.vote(key, CoreId(core), Vote::Yes(prepared));
    }
    assert_eq!(
        done(&mut coordinator),
        ["drop 0", "drop 0", "failed 7 None"]
    );
}
