//! What does it cost to read one request?

use std::hint::black_box;

use oxdaas::{
    api,
    http::{Bounds, Decoder, Step},
};

use crate::meter::Meter;

const GET: &[u8] = b"GET /docs/12345 HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\r\n";
const GET_OF_A_BROWSER: &[u8] = b"GET /docs/12345 HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Connection: keep-alive\r\nCache-Control: no-cache\r\n\r\n";
const POST: &[u8] = b"POST /api HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\
    Content-Type: application/json\r\nContent-Length: 42\r\n\r\n\
    {\"id\":12345,\"data\":{\"color\":\"blue\",\"n\":7}}";

pub fn run(meter: &Meter) {
    decode(meter, "http parse: GET, wrk", GET);
    decode(meter, "http parse: GET, browser", GET_OF_A_BROWSER);
    plan(meter, "http parse: GET and plan", GET);
    plan(meter, "http parse: POST and plan", POST);
}

fn decode(meter: &Meter, name: &str, input: &[u8]) {
    let mut decoder = decoder();
    meter.repeat(name, || {
        black_box(decoder.next(black_box(input)).expect("a good request"));
    });
}

fn plan(meter: &Meter, name: &str, input: &[u8]) {
    let mut decoder = decoder();
    meter.repeat(name, || {
        let Ok(Step::Request { request, .. }) = decoder.next(black_box(input)) else {
            panic!("a good request, whole");
        };
        black_box(api::plan(&request).expect("a good request"));
    });
}

fn decoder() -> Decoder {
    Decoder::new(Bounds {
        body_bytes_max: 1 << 20,
    })
}
