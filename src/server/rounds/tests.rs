use std::sync::Arc;

use super::*;
use crate::log::{
    Flags,
    memory::MemoryDisk,
    recover,
    testing::{document, open, put},
};

fn batch_of(numbers: std::ops::RangeInclusive<u32>) -> Batch {
    Batch {
        epoch: 0,
        bytes: numbers.clone().flat_map(|n| put(n, "1")).collect(),
        count: u32::try_from(numbers.count()).expect("few"),
        live_bytes: 0,
        logged_count: 0,
        synced_count: 0,
    }
}

/// A group of these records, made of parts of different cores as the coordinator makes it.
fn group_of(numbers: std::ops::RangeInclusive<u32>, durability: Durability) -> Group {
    Group {
        key: AtomicKey(*numbers.start()),
        drafts: numbers.flat_map(|n| put(n, &document(n, 90))).collect(),
        durability,
    }
}

/// Appends what was begun, in new segments where that is needed.
fn append(rounds: &mut Rounds<MemoryDisk>) {
    while let Appended::NeedsRoll(bytes, room) = rounds.append() {
        let job = rounds.begin_roll(bytes, room).expect("healthy");
        rounds.finish_roll(job.run()).expect("rolls");
    }
}

/// The numbers of all records on `disk`; a `+` behind those that end with a later one or not
/// at all.
fn records(disk: &MemoryDisk) -> String {
    let mut found = Vec::new();
    let read = recover(disk, &mut |record, _| {
        let goes_on = match record.flags.contain(Flags::GROUPED) {
            true => "+",
            false => "",
        };
        found.push(format!("{}{goes_on}", record.version.0));
    });
    read.expect("whole");
    found.join(" ")
}

#[test]
fn each_record_of_a_group_but_the_last_says_that_it_does_not_end_there() {
    let disk = Arc::new(MemoryDisk::new());
    let mut rounds = Rounds::new(open(&disk), 2);
    let as_configured = Durability::AsConfigured;
    rounds.begin_batch(CoreId(1), batch_of(1..=2));
    append(&mut rounds);
    rounds.begin_group(group_of(3..=5, as_configured));
    append(&mut rounds);
    rounds.begin_group(group_of(6..=7, as_configured));
    append(&mut rounds);
    // Of one record, and of none.
    rounds.begin_group(group_of(8..=8, as_configured));
    append(&mut rounds);
    rounds.begin_group(Group {
        drafts: Vec::new(),
        ..group_of(9..=9, as_configured)
    });
    append(&mut rounds);
    rounds.begin_batch(CoreId(0), batch_of(10..=11));
    append(&mut rounds);
    assert_eq!(records(&disk), "1 2 3+ 4+ 5 6+ 7 8 10 11");
    // One that begins the next segment.
    rounds.begin_group(group_of(12..=49, as_configured));
    append(&mut rounds);
    assert!(records(&disk).ends_with(" 11 12+ 13+ 14+ 15+ 16+ 17+ 18+ 19+ 20+ 21+ 22+ 23+ 24+ 25+ 26+ 27+ 28+ 29+ 30+ 31+ 32+ 33+ 34+ 35+ 36+ 37+ 38+ 39+ 40+ 41+ 42+ 43+ 44+ 45+ 46+ 47+ 48+ 49"));
}

#[test]
fn a_round_is_synced_for_a_group_that_asks_for_it_alone() {
    let disk = Arc::new(MemoryDisk::new());
    let mut rounds = Rounds::new(open(&disk), 1);
    for (durability, must_sync) in [
        (Durability::AsConfigured, false),
        (Durability::Logged, false),
        (Durability::Synced, true),
        (Durability::Logged, false),
    ] {
        rounds.begin_group(group_of(1..=2, durability));
        append(&mut rounds);
        assert_eq!(rounds.must_sync(), must_sync, "{durability:?}");
        let logged = rounds.logged_groups().count();
        assert_eq!(logged, usize::from(durability == Durability::Logged));
        assert_eq!(
            rounds.publish().count(),
            0,
            "no core has records of its own"
        );
        let ended: Vec<_> = rounds.end_groups().collect();
        let [(AtomicKey(1), GroupNews::Ended(Ok(places)))] = ended.as_slice() else {
            panic!("{ended:?}");
        };
        assert_eq!(places.len(), 2);
    }
}
