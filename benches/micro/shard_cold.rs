//! What do 20,000 documents cost that the shard did not have: stored, read once, removed?
//!
//! The first half of ExDaas's console bench. A write counts up to its place in the
//! index; the disk's part is in `log_append`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use oxdaas::{
    api,
    id::Id,
    limits::BODY_BYTES_MAX_DEFAULT,
    log::{Location, Lsn, SegmentNumber},
    op::{Chosen, Expires, Op},
    shard::{Place, Rules, Settled, Shard},
};

use crate::meter::Meter;

/// How many ids, as ExDaas measured itself.
pub const IDS: u32 = 20_000;
/// What the server tells its shards of documents.
pub const RULES: Rules = Rules {
    same_document: api::same_document,
    edit: api::edit,
    document_bytes_max: BODY_BYTES_MAX_DEFAULT,
};
const PLACE: Place = Place {
    lsn: Lsn(1),
    location: Location {
        segment: SegmentNumber(1),
        offset: 64,
    },
};

pub fn run(meter: &Meter) {
    meter.sample("shard put: new, 20,000 ids", IDS, || {
        let mut shard = Shard::new(RULES);
        time(|| each(&mut shard, |id| put(id, "blue")))
    });
    meter.sample("shard get: missing, 20,000 ids", IDS, || {
        let mut shard = Shard::new(RULES);
        time(|| each(&mut shard, |id| Op::Get { id }))
    });
    meter.sample("shard delete: 20,000 ids", IDS, || {
        let mut shard = filled();
        time(|| {
            each(&mut shard, |id| Op::Delete {
                id,
                condition: None,
            });
        })
    });
}

/// A shard with all ids stored.
pub fn filled() -> Shard<()> {
    let mut shard = Shard::new(RULES);
    each(&mut shard, |id| put(id, "blue"));
    shard
}

/// Executes the operation on every id, and settles what writes in batches of 64.
pub fn each(shard: &mut Shard<()>, op: impl Fn(Id) -> Op) {
    let mut queued = 0;
    for n in 0..IDS {
        let outcome = shard.execute(op(Id::Integer(n.into())), ());
        queued += usize::from(outcome.is_none());
        if queued == 64 || (n + 1 == IDS && queued > 0) {
            shard.take_batch().expect("writes are queued");
            let settled = Settled {
                places: vec![PLACE; queued],
                ..Settled::default()
            };
            shard.settle(settled, |(), _| {});
            queued = 0;
        }
    }
}

/// The write of a small document.
pub fn put(id: Id, color: &'static str) -> Op {
    let document = match color {
        "blue" => Bytes::from_static(b"{\"color\":\"blue\",\"n\":7}"),
        _ => Bytes::from_static(b"{\"color\":\"green\",\"n\":7}"),
    };
    Op::Put {
        id,
        document,
        condition: None,
        chosen: Chosen::ByClient,
        expires: Expires::Never,
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
