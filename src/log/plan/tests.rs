use super::*;
use crate::log::{SegmentNumber, segment::Compacted};

/// What a test says of a segment of 65536 bytes: its live puts, dead puts and removals, in
/// records of 1600 bytes; `purged` is the record through which it was compacted.
#[derive(Clone, Copy)]
struct Said {
    live: u32,
    dead: u32,
    removals: u32,
    purged: Option<u64>,
}

fn said(live: u32, dead: u32, removals: u32) -> Said {
    Said {
        live,
        dead,
        removals,
        purged: None,
    }
}

fn purged(through: u64, said: Said) -> Said {
    Said {
        purged: Some(through),
        ..said
    }
}

/// Segments from number 1 on, of 100 record numbers each.
fn log(segments: &[Said]) -> (Vec<SegmentUse>, Lsn, LiveBytes) {
    let mut live = LiveBytes::default();
    let mut list = Vec::new();
    let mut first_lsn = 1;
    for (number, said) in (1..).zip(segments) {
        let number = SegmentNumber(number);
        if said.live > 0 {
            live.add(number, said.live * 1600);
        }
        let records = said.live + said.dead + said.removals;
        list.push(SegmentUse {
            number,
            first_lsn: Lsn(first_lsn),
            bytes: match said.purged {
                None => 65536,
                Some(_) => SEGMENT_HEADER_BYTES + records * 1600,
            },
            used_bytes: SEGMENT_HEADER_BYTES + records * 1600,
            records: records.into(),
            put_bytes: (said.live + said.dead) * 1600,
            compacted: said.purged.map(|purged_through| Compacted {
                through: number,
                records,
                purged_through: Lsn(purged_through),
            }),
        });
        first_lsn += 100;
    }
    (list, Lsn(first_lsn), live)
}

const OUTPUT: Output = Output {
    segment_bytes: 65536,
    bytes_max: 65536,
};

/// The numbers of the chosen run, and what it says else.
fn chosen(segments: &[Said], output: Output, need: Need) -> Option<(Vec<u32>, u32, Lsn)> {
    let (list, next, live) = log(segments);
    let run = choose(&list, next, &live, output, need)?;
    let numbers = run.segments.iter().map(|segment| segment.number.0);
    Some((
        numbers.collect(),
        run.kept_bytes_max,
        run.hides_nothing_through,
    ))
}

fn numbers(segments: &[Said]) -> Option<Vec<u32>> {
    Some(chosen(segments, OUTPUT, Need::Tidiness)?.0)
}

const FULL: Said = Said {
    live: 39,
    dead: 0,
    removals: 0,
    purged: None,
};

const ANY: Lsn = Lsn(u64::MAX);

#[test]
fn a_log_without_dead_bytes_is_left_alone() {
    assert_eq!(numbers(&[]), None);
    assert_eq!(numbers(&[FULL, FULL, FULL]), None);
    // Half full files that do not fit one segment together give nothing either.
    let half = purged(1, said(25, 0, 0));
    assert_eq!(numbers(&[half, FULL, half]), None);
}

#[test]
fn the_segments_with_the_least_to_copy_are_taken_together() {
    let segments = [
        FULL,
        said(20, 19, 0),
        FULL,
        said(2, 37, 0),
        said(3, 36, 0),
        FULL,
    ];
    let run = chosen(&segments, OUTPUT, Need::Tidiness);
    assert_eq!(run, Some((vec![4, 5], 8000, Lsn::NONE)));
    // The output stays within a segment, and within the space that there is.
    let thirds = [said(13, 26, 0); 6];
    assert_eq!(numbers(&thirds).map(|run| run.len()), Some(3));
    let short = Output {
        bytes_max: 0,
        ..OUTPUT
    };
    assert_eq!(chosen(&thirds, short, Need::Room), None);
}

#[test]
fn a_larger_neighbour_is_not_copied_for_a_smaller_one() {
    let neighbour = purged(1, said(20, 0, 0));
    assert_eq!(numbers(&[neighbour, said(1, 38, 0)]), Some(vec![2]));
    // One of the same size is: the two are one then, and the next merges twice as much.
    let neighbour = purged(1, said(1, 0, 0));
    assert_eq!(numbers(&[neighbour, said(1, 38, 0)]), Some(vec![1, 2]));
}

#[test]
fn a_run_has_a_bounded_length() {
    let dead = [said(0, 39, 0); 9];
    assert_eq!(numbers(&dead).map(|run| run.len()), Some(4));
}

#[test]
fn a_full_disk_takes_any_space() {
    let tails = [said(10, 0, 0), said(10, 0, 0), FULL];
    let run = chosen(&tails, OUTPUT, Need::Room);
    assert_eq!(run, Some((vec![1, 2], 32000, ANY)));
    assert_eq!(chosen(&[FULL, FULL], OUTPUT, Need::Room), None);
}

#[test]
fn removals_are_kept_while_an_older_segment_may_hold_what_they_hide() {
    // Nothing older is dead: they hide nothing.
    let run = chosen(&[FULL, said(0, 20, 19)], OUTPUT, Need::Tidiness);
    assert_eq!(run, Some((vec![2], 0, ANY)));
    // The oldest segment of all is behind everything.
    let run = chosen(&[said(0, 20, 19), FULL], OUTPUT, Need::Tidiness);
    assert_eq!(run, Some((vec![1], 0, ANY)));
    // An older dead put that was never purged may be what they hide.
    let old = said(38, 1, 0);
    let run = chosen(&[old, said(0, 35, 4)], OUTPUT, Need::Tidiness);
    assert_eq!(run, Some((vec![2], 6400, Lsn::NONE)));
    // One that died after the removals were purged is not.
    let run = chosen(&[purged(200, old), said(0, 35, 4)], OUTPUT, Need::Tidiness);
    assert_eq!(run, Some((vec![2], 0, Lsn(200))));
    // One record earlier it may be.
    let run = chosen(&[purged(199, old), said(0, 35, 4)], OUTPUT, Need::Tidiness);
    assert_eq!(run, Some((vec![2], 6400, Lsn(199))));
}

#[test]
fn what_keeps_removals_is_compacted_when_nothing_else_is_left() {
    let old = said(38, 1, 0);
    let stuck = purged(300, said(0, 0, 39));
    let segments = [FULL, old, FULL, stuck, stuck, FULL];
    let run = chosen(&segments, OUTPUT, Need::Tidiness);
    assert_eq!(run, Some((vec![2], 60800, ANY)));
    // Once it is, the removals go.
    let segments = [FULL, purged(600, said(38, 0, 0)), FULL, stuck, stuck, FULL];
    let run = chosen(&segments, OUTPUT, Need::Tidiness);
    assert_eq!(run, Some((vec![4, 5], 0, ANY)));
    // Next to them, they go at once.
    let run = chosen(&[FULL, old, stuck, FULL], OUTPUT, Need::Tidiness);
    assert_eq!(run, Some((vec![2, 3], 60800, ANY)));
}
