//! What does an operation on one of 20,000 stored documents cost?
//!
//! The second half of ExDaas's console bench, and ids that are multiples of 2^32,
//! which a weak hash would put into one bucket.

use std::hint::black_box;

use oxdaas::{
    id::Id,
    log::{Location, SegmentNumber},
    op::{Op, Version},
    shard::Shard,
};

use crate::{
    meter::Meter,
    shard_cold::{IDS, RULES, each, filled, put},
};

pub fn run(meter: &Meter) {
    let mut shard = filled();
    let mut n = 0;
    meter.repeat("shard get: stored", || {
        n = (n + 7919) % IDS;
        black_box(shard.execute(
            Op::Get {
                id: Id::Integer(n.into()),
            },
            (),
        ));
    });
    meter.repeat("shard put: an equal document", || {
        n = (n + 7919) % IDS;
        black_box(shard.execute(put(Id::Integer(n.into()), "blue"), ()));
    });
    if meter.wants("shard put: replaced, 20,000 ids") {
        let mut colors = ["green", "blue"].into_iter().cycle();
        meter.sample("shard put: replaced, 20,000 ids", IDS, || {
            let color = colors.next().expect("a cycle has no end");
            let began = std::time::Instant::now();
            each(&mut shard, |id| put(id, color));
            began.elapsed()
        });
    }
    multiples(meter);
}

fn multiples(meter: &Meter) {
    let mut shard: Shard<()> = Shard::new(RULES);
    let location = Location {
        segment: SegmentNumber(1),
        offset: 64,
    };
    for n in 0..IDS {
        let id = Id::Integer(i64::from(n) << 32);
        shard.restore_put(
            &id,
            Version(u64::from(n) + 1),
            location,
            b"{\"color\":\"blue\"}",
            None,
        );
    }
    let mut n = 0;
    meter.repeat("shard get: stored, multiples of 2^32", || {
        n = (n + 7919) % IDS;
        black_box(shard.execute(
            Op::Get {
                id: Id::Integer(i64::from(n) << 32),
            },
            (),
        ));
    });
}
