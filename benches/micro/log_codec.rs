//! What does it cost to write a record as bytes, and to read it back?

use std::hint::black_box;

use oxdaas::{
    id::Id,
    log::{Draft, Flags, Kind, Lsn, decode, encode, seal},
    op::Version,
};

use crate::meter::Meter;

pub fn run(meter: &Meter) {
    for bytes in [32, 1024] {
        let document = vec![b'7'; bytes];
        let mut record = record(&document);
        let mut out = Vec::new();
        meter.repeat(&format!("log encode: {bytes} bytes"), || {
            out.clear();
            encode(&mut out, &draft(&Id::Integer(12345), black_box(&document)));
        });
        meter.repeat(&format!("log seal: {bytes} bytes"), || {
            seal(black_box(&mut record), Lsn(9), Lsn(8));
        });
        meter.repeat(&format!("log decode: {bytes} bytes"), || {
            black_box(decode(black_box(&record)));
        });
    }
}

/// A put of `document`.
pub fn draft<'a>(id: &'a Id, document: &'a [u8]) -> Draft<'a> {
    Draft {
        kind: Kind::Put,
        flags: Flags::NONE,
        version: Version(1),
        expires_at_ms: 0,
        id,
        document,
    }
}

/// The same, encoded.
pub fn record(document: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, &draft(&Id::Integer(12345), document));
    out
}
