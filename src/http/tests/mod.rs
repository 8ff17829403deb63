//! The decoder against tables: every input whole, cut at every byte, and byte by byte.

mod bodies;
mod heads;

use std::fmt::Write as _;

use proptest::prelude::*;

use super::{Bounds, Decoder, Fault, Field, Method, Persistence, Phase, Request, Step, Version};

/// Small, so that tests reach it.
const BODY_BYTES_MAX: usize = 20;

fn decoder() -> Decoder {
    Decoder::new(Bounds {
        body_bytes_max: BODY_BYTES_MAX,
    })
}

/// What a connection that receives `pieces` makes of them, but for the Continue steps.
fn transcript<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> String {
    let mut decoder = decoder();
    let (mut received, mut said) = (Vec::new(), String::new());
    for piece in pieces {
        received.extend_from_slice(piece);
        loop {
            match decoder.next(&received) {
                Ok(Step::NeedMore | Step::Continue) => break,
                Ok(Step::Request { request, consumed }) => {
                    say(&mut said, &request);
                    received.drain(..consumed);
                }
                Err(fault) => {
                    let Fault { status, code, .. } = &fault;
                    return said + &format!("{} {code}: {}", status.code(), fault.message);
                }
            }
        }
    }
    let phase = decoder.phase();
    said + &format!("{phase:?}")
}

/// `GET /path?query | keep-alive | body; `, each part but the first left out where it is usual.
fn say(said: &mut String, request: &Request<'_>) {
    let method = match request.method {
        Method::Other(method) => method.to_owned(),
        known => format!("{known:?}").to_uppercase(),
    };
    let version = match request.version {
        Version::Http10 => " 1.0",
        Version::Http11 => "",
    };
    let persistence = match request.persistence {
        Persistence::KeepAlive => "",
        Persistence::KeepAliveAnnounced => " announced",
        Persistence::Close => " close",
    };
    let body = String::from_utf8_lossy(&request.body);
    let body = if body.is_empty() {
        String::new()
    } else {
        format!(" {{{body}}}")
    };
    let query = request
        .query
        .map_or(String::new(), |query| format!("?{query}"));
    let path = request.path;
    write!(said, "{method} {path}{query}{version}{persistence}{body}; ").expect("a String grows");
}

/// Expects a transcript that begins with `expected`, however the input is cut.
fn check(input: impl AsRef<[u8]>, expected: &str) {
    let input = input.as_ref();
    let whole = transcript([input]);
    let shown = String::from_utf8_lossy(&input[..input.len().min(200)]);
    assert!(
        whole.starts_with(expected),
        "{shown:?}\n  said {whole}\n  not  {expected}"
    );
    assert_eq!(transcript(input.chunks(1)), whole, "{shown:?} byte by byte");
    // Every cut of a long input would take seconds; its bounds lie at its ends.
    let cuts = (0..input.len()).filter(|cut| input.len() < 1000 || *cut % 97 == 0);
    for cut in cuts.chain([input.len().saturating_sub(1)]) {
        assert_eq!(
            transcript([&input[..cut], &input[cut..]]),
            whole,
            "{shown:?} cut at {cut}"
        );
    }
}

/// A request with these field lines, beside a Host.
fn with_fields(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

#[test]
fn continue_is_said_once_and_only_while_the_body_is_outstanding() {
    for length in ["Content-Length: 2", "Transfer-Encoding: chunked"] {
        let head = with_fields(&format!("Expect: 100-continue\r\n{length}\r\n"));
        let mut waiting = decoder();
        assert_eq!(waiting.next(&head.as_bytes()[..20]), Ok(Step::NeedMore));
        assert_eq!(
            waiting.next(head.as_bytes()),
            Ok(Step::Continue),
            "{length}"
        );
        assert_eq!(waiting.phase(), Phase::Body);
        assert_eq!(
            waiting.next(head.as_bytes()),
            Ok(Step::NeedMore),
            "{length}"
        );
        let begun = head + "1";
        assert_eq!(
            decoder().next(begun.as_bytes()),
            Ok(Step::NeedMore),
            "{length}"
        );
    }
    let empty = with_fields("Expect: 100-continue\r\nContent-Length: 0\r\n");
    assert!(matches!(
        decoder().next(empty.as_bytes()),
        Ok(Step::Request { .. })
    ));
    let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(decoder().next(old.as_bytes()), Ok(Step::NeedMore));
}

#[test]
fn a_request_whose_body_is_under_way_is_announced_once() {
    for framing in ["Content-Length: 2", "Transfer-Encoding: chunked"] {
        let get = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n";
        let text = format!("{}1", with_fields(&format!("Prefer: x\r\n{framing}\r\n")));
        let mut decoder = decoder();
        assert!(matches!(
            decoder.next(get.as_bytes()),
            Ok(Step::Request { .. })
        ));
        assert_eq!(decoder.announced(b""), None);
        assert_eq!(decoder.next(&text.as_bytes()[..9]), Ok(Step::NeedMore));
        assert_eq!(decoder.announced(&text.as_bytes()[..9]), None);
        assert_eq!(decoder.next(text.as_bytes()), Ok(Step::NeedMore));
        let announced = decoder
            .announced(text.as_bytes())
            .expect("its head is whole");
        assert_eq!((announced.method, announced.path), (Method::Post, "/"));
        assert_eq!(announced.fields.first(Field::Prefer), Some(&b"x"[..]));
        assert_eq!(announced.body.as_ref(), b"");
        assert_eq!(decoder.announced(text.as_bytes()), None);
        assert_eq!(decoder.next(text.as_bytes()), Ok(Step::NeedMore));
        assert_eq!(decoder.announced(text.as_bytes()), None);
    }
}

#[test]
fn pipelined_requests_come_in_order() {
    let get = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n";
    let put = "PUT /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n{1}";
    let post =
        "POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\n4\r\n0\r\n\r\n";
    check(
        format!("{get}{put}{post}{get}"),
        "GET /1; PUT /2 {{1}}; POST /3 {4}; GET /1; Idle",
    );
    check(format!("{post}{post}GET"), "POST /3 {4}; POST /3 {4}; Head");
    check(format!("{get}{put}X"), "GET /1; PUT /2 {{1}}; Head");
    check(format!("{get}\0"), "GET /1; 400 bad_request");
}

#[test]
fn the_phase_and_the_wanted_bytes_follow_the_input() {
    let head = with_fields("Content-Length: 4\r\n");
    let mut decoder = decoder();
    assert_eq!(
        (decoder.phase(), decoder.wanted_bytes()),
        (Phase::Idle, None)
    );
    for (input, phase, wanted) in [
        (String::new(), Phase::Idle, None),
        ("\r".to_owned(), Phase::Idle, None),
        ("\r\n".to_owned(), Phase::Idle, None),
        ("\r\nP".to_owned(), Phase::Head, None),
        (format!("\r\n{head}"), Phase::Body, Some(head.len() + 6)),
        (format!("\r\n{head}abc"), Phase::Body, Some(head.len() + 6)),
    ] {
        assert_eq!(
            decoder.next(input.as_bytes()),
            Ok(Step::NeedMore),
            "{input:?}"
        );
        assert_eq!(
            (decoder.phase(), decoder.wanted_bytes()),
            (phase, wanted),
            "{input:?}"
        );
    }
    let whole = format!("\r\n{head}abcd");
    assert!(matches!(
        decoder.next(whole.as_bytes()),
        Ok(Step::Request { .. })
    ));
    assert_eq!(
        (decoder.phase(), decoder.wanted_bytes()),
        (Phase::Idle, None)
    );
}

#[test]
fn a_request_gives_its_fields_and_borrows_its_body() {
    let input = with_fields(
        "If-Match: \"1\"\r\nCONTENT-TYPE: application/json\r\nif-match: \"2\"\r\nContent-Length: 2\r\n",
    ) + "{}";
    let Ok(Step::Request { request, consumed }) = decoder().next(input.as_bytes()) else {
        panic!("a whole request");
    };
    assert_eq!(consumed, input.len());
    assert!(matches!(request.body, std::borrow::Cow::Borrowed(b"{}")));
    assert_eq!(
        request.fields.first(Field::ContentType),
        Some(&b"application/json"[..])
    );
    let tags: Vec<_> = request.fields.all(Field::IfMatch).collect();
    assert_eq!(tags, [&b"\"1\""[..], b"\"2\""]);
    assert_eq!(request.fields.first(Field::Accept), None);
}

/// Pieces of requests, whole ones and such that break them.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /docs?a=b HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "Host: h\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: 99\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Connection: close\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        ":",
        "abc",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "0\r\n",
        "1;x\r\n",
        "A: b\r\n",
        "GET ",
        "HTTP/2.0\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    prop_oneof![9 => known, 1 => prop::collection::vec(any::<u8>(), 0..6)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn cutting_an_input_never_changes_the_answer(
        fragments in prop::collection::vec(fragment(), 0..14),
        sizes in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let input = fragments.concat();
        let whole = transcript([&input[..]]);
        prop_assert_eq!(&transcript(input.chunks(1)), &whole);
        let (mut rest, mut pieces) = (&input[..], Vec::new());
        for size in sizes {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        prop_assert_eq!(&transcript(pieces), &whole);
    }

    #[test]
    fn random_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        transcript([&input[..]]);
        let text = String::from_utf8_lossy(&input);
        super::decode_segment(&text).ok();
        super::query_pairs(&text).for_each(drop);
        super::EntityTags::parse([&input[..]]).ok();
    }
}
