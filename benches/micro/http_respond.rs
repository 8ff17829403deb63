//! What does it cost to write one response?

use std::hint::black_box;

use bytes::Bytes;
use oxdaas::{
    api::{self, Plan, ReplyContext},
    http::{Bounds, DateField, Decoder, Persistence, Step},
    op::{Outcome, Version},
};

use crate::meter::Meter;

pub fn run(meter: &Meter) {
    let found = Outcome::Found {
        document: Bytes::from_static(&[b'7'; 100]),
        version: Version(123_456),
        ttl: None,
    };
    respond(meter, "http respond: 200, 100 bytes", &found);
    respond(meter, "http respond: 404", &Outcome::Missing);
}

fn respond(meter: &Meter, name: &str, outcome: &Outcome) {
    let mut decoder = Decoder::new(Bounds { body_bytes_max: 0 });
    let Ok(Step::Request { request, .. }) =
        decoder.next(b"GET /docs/12345 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    else {
        panic!("a good request, whole");
    };
    let Ok(Plan::Run { render, .. }) = api::plan(&request) else {
        panic!("a GET runs an operation");
    };
    let context = ReplyContext {
        date: &DateField::new(1_700_000_000),
        persistence: Persistence::KeepAlive,
    };
    let mut out = Vec::new();
    meter.repeat(name, || {
        out.clear();
        api::render(&render, black_box(outcome), None, &context, &mut out);
        black_box(&out);
    });
}
