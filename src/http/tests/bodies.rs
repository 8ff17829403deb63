//! Where bodies end, and which framings could be read in two ways and are refused.

use super::super::{Bounds, Decoder};
use super::{check, with_fields};
use crate::limits::{
    CHUNK_FRAMING_BYTES_MAX, CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX,
};

fn with_chunks(chunks: &str) -> String {
    with_fields("Transfer-Encoding: chunked\r\n") + chunks
}

#[test]
fn a_content_length_is_one_decimal_number() {
    let sized = |length: &str| with_fields(&format!("Content-Length: {length}\r\n")) + "hello";
    check(sized("5"), "POST / {hello}; Idle");
    check(sized(" 005 "), "POST / {hello}; Idle");
    check(sized("6"), "Body");
    check(sized("3"), "POST / {hel}; Head");
    for length in [
        "", "+5", "-5", "5 5", "5,5", "5, 5", "5,", "0x5", "5.0", "5a", "\u{665}",
    ] {
        check(sized(length), "400 bad_framing: the Content-Length");
    }
    check(
        sized("18446744073709551616"),
        "400 bad_framing: the Content-Length",
    );
    check(
        sized("18446744073709551615"),
        "413 body_too_large: the body is longer than 20 bytes",
    );
    check(
        sized("5\r\nContent-Length: 5"),
        "400 bad_framing: the request has two",
    );
    check(
        sized("5\r\nContent-Length: 6"),
        "400 bad_framing: the request has two",
    );
}

#[test]
fn a_length_beyond_the_bound_is_refused_before_the_body() {
    check(with_fields("Content-Length: 20\r\n"), "Body");
    check(with_fields("Content-Length: 21\r\n"), "413 body_too_large");
    check(
        with_fields("Expect: 100-continue\r\nContent-Length: 21\r\n"),
        "413",
    );
}

#[test]
fn no_request_has_two_ways_to_end() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\ncontent-length: 0\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;a\r\n",
        "Transfer-Encoding: \x0b\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        let input = with_fields(fields) + "0\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n";
        check(input, "400 ");
    }
    check(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400 bad_framing: HTTP/1.0",
    );
    check(
        with_fields("Transfer-Encoding : chunked\r\n"),
        "400 bad_request",
    );
}

#[test]
fn a_chunked_body_is_decoded() {
    for (chunks, expected) in [
        ("0\r\n\r\n", "POST /; Idle"),
        ("5\r\nhello\r\n0\r\n\r\n", "POST / {hello}; Idle"),
        ("1\r\na\r\n0002\r\nbc\r\n000\r\n\r\nG", "POST / {abc}; Head"),
        (
            "a;x=y;z=\"q\"\r\n0123456789\r\nA ;v\r\nabcdefghij\r\n0;z\r\n\r\n",
            "POST / {0123456789abcdefghij}; Idle",
        ),
        (
            "2\r\n\r\n\r\n0\r\nA: b\r\nC:\r\n\r\n",
            "POST / {\r\n}; Idle",
        ),
        ("5\r\nhel", "Body"),
        ("0\r\n", "Body"),
        ("14\r\n01234567890123456789\r\n1\r\n", "413 body_too_large"),
        ("15\r\n", "413 body_too_large"),
        ("ffffffffffffffff\r\n", "413 body_too_large"),
        ("10000000000000000\r\n", "400 bad_framing: a chunk size"),
        ("\r\n", "400 bad_framing: a chunk size"),
        (";a\r\n", "400 bad_framing: a chunk size"),
        ("+5\r\n", "400 bad_framing: a chunk size"),
        ("-1\r\n", "400 bad_framing: a chunk size"),
        ("0x5\r\n", "400 bad_framing: a chunk size"),
        (" 5\r\n", "400 bad_framing: a chunk size"),
        ("5 \r\n", "400 bad_framing: a chunk size"),
        ("5g\r\n", "400 bad_framing: a chunk size"),
        ("5\nhello", "400 bad_framing: a line ends with a bare LF"),
        ("5;a\nb\r\n", "400 bad_framing: a line ends with a bare LF"),
        ("5\rh", "400 bad_framing: a CR without LF"),
        ("5\r\nhello\n", "400 bad_framing: a chunk does not end"),
        ("5\r\nhello\rX", "400 bad_framing: a chunk does not end"),
        ("5\r\nhello!\r\n", "400 bad_framing: a chunk does not end"),
        (
            "5\r\nhell\r\n0\r\n\r\n",
            "400 bad_framing: a chunk does not end",
        ),
        ("0\r\n\n", "400 bad_framing: a line ends with a bare LF"),
        ("0\r\nA: b\n", "400 bad_framing: a line ends with a bare LF"),
        ("0\r\nA b\r\n", "400 bad_framing: the trailer"),
        ("0\r\nA : b\r\n", "400 bad_framing: the trailer"),
        ("0\r\n b\r\n", "400 bad_framing: the trailer"),
        ("0\r\nGET / HTTP/1.1\r\n", "400 bad_framing: the trailer"),
    ] {
        check(with_chunks(chunks), expected);
    }
}

#[test]
fn chunk_framing_is_bounded() {
    let extension = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(bytes - 4));
    check(
        with_chunks(&extension(CHUNK_LINE_BYTES_MAX)),
        "POST / {a}; Idle",
    );
    check(
        with_chunks(&extension(CHUNK_LINE_BYTES_MAX + 1)),
        "400 bad_framing: a chunk-size line is longer than 256",
    );

    let fields = "A: b\r\n".repeat(HEAD_FIELDS_MAX);
    check(with_chunks(&format!("0\r\n{fields}\r\n")), "POST /; Idle");
    check(
        with_chunks(&format!("0\r\n{fields}A: b\r\n")),
        "400 bad_framing: the trailer",
    );
    let long = "x".repeat(HEAD_BYTES_MAX);
    check(
        with_chunks(&format!("0\r\nA: {long}")),
        "400 bad_framing: the trailer",
    );
}

#[test]
fn chunk_framing_may_outgrow_the_body_only_so_far() {
    let decode = |chunk: &str, body_bytes: usize| {
        let body_bytes_max = 1024 * 1024;
        let chunks = with_chunks(&(chunk.repeat(body_bytes) + "0\r\n\r\n"));
        Decoder::new(Bounds { body_bytes_max })
            .next(chunks.as_bytes())
            .map(|_| ())
    };
    // A chunk of one byte is framed by five, and each byte of the body pays for one of them.
    assert_eq!(
        decode("1\r\na\r\n", CHUNK_FRAMING_BYTES_MAX / 4 - 2),
        Ok(())
    );
    let fault =
        decode("1\r\na\r\n", CHUNK_FRAMING_BYTES_MAX / 4 + 2).expect_err("too much framing");
    assert_eq!((fault.status.code(), fault.code), (400, "bad_framing"));
    // Chunks of a sensible size never reach the bound.
    let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
    assert_eq!(decode(&chunk, 1024 * 1024 / 64), Ok(()));
}
