//! Which heads are accepted, and what is said of the others.

use super::{check, transcript, with_fields};
use crate::limits::{EMPTY_LINES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, REQUEST_LINE_BYTES_MAX};

#[test]
fn a_request_line_is_a_method_a_target_and_a_version() {
    for (line, expected) in [
        ("GET / HTTP/1.1", "GET /; Idle"),
        ("GET /a%20b?c=d?e HTTP/1.1", "GET /a%20b?c=d?e; Idle"),
        ("GET /? HTTP/1.1", "GET /?; Idle"),
        ("GET //a HTTP/1.1", "GET //a; Idle"),
        ("get / HTTP/1.1", "get /; Idle"),
        ("PURGE-all / HTTP/1.1", "PURGE-all /; Idle"),
        ("OPTIONS * HTTP/1.1", "OPTIONS *; Idle"),
        ("GET http://h HTTP/1.1", "GET /; Idle"),
        ("GET HTTP://h:80?q HTTP/1.1", "GET /?q; Idle"),
        ("GET https://[::1]:80/a?q HTTP/1.1", "GET /a?q; Idle"),
        ("GET / HTTP/1.0", "GET / 1.0 close; Idle"),
        ("GET / HTTP/2.0", "505 version_not_supported"),
        ("PRI * HTTP/2.0", "505 version_not_supported"),
        ("GET / HTTP/1.2", "505 version_not_supported"),
        ("GET / HTTP/0.9", "505 version_not_supported"),
        ("GET /", "400 bad_request"),
        ("GET / http/1.1", "400 bad_request"),
        ("GET / HTTP/1.10", "400 bad_request"),
        ("GET / HTTP/11", "400 bad_request"),
        ("GET / HTTP/1.1 ", "400 bad_request"),
        ("GET  / HTTP/1.1", "400 bad_request"),
        ("GET /  HTTP/1.1", "400 bad_request"),
        ("GET / a HTTP/1.1", "400 bad_request"),
        ("GET\t/ HTTP/1.1", "400 bad_request"),
        (
            " GET / HTTP/1.1",
            "400 bad_request: the request line does not begin",
        ),
        (
            "G@T / HTTP/1.1",
            "400 bad_request: the request line does not begin",
        ),
        ("GET * HTTP/1.1", "400 bad_request: the target is neither"),
        ("GET a HTTP/1.1", "400 bad_request: the target is neither"),
        (
            "GET ftp://h/ HTTP/1.1",
            "400 bad_request: the target is neither",
        ),
        (
            "GET http:///a HTTP/1.1",
            "400 bad_request: the target is neither",
        ),
        (
            "GET http://u@h/ HTTP/1.1",
            "400 bad_request: the target is neither",
        ),
        (
            "CONNECT h:80 HTTP/1.1",
            "400 bad_request: the target is neither",
        ),
        ("GET /a#b HTTP/1.1", "400 bad_request: the target holds"),
        ("GET /\u{e9} HTTP/1.1", "400 bad_request: the target holds"),
    ] {
        check(format!("{line}\r\nHost: h\r\n\r\n"), expected);
    }
    check(
        b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        "400 bad_request: the target holds",
    );
}

#[test]
fn a_wrong_request_line_is_answered_before_the_head_ends() {
    check("SSH-2.0-OpenSSH_9.6\r\n", "400 bad_request");
    check("GET / HTTP/3.0\r\n", "505");
    check(
        b"\x16\x03\x01\x02\0\x01\0\x01",
        "400 bad_request: the request line does not begin",
    );
    check(b"\x80", "400 bad_request: the request line does not begin");
    check(b"GET \x01", "400 bad_request: a control character");
}

#[test]
fn every_line_ends_with_crlf() {
    for (input, expected) in [
        ("\n", "bare LF"),
        ("GET / HTTP/1.1\n", "bare LF"),
        ("GET / HTTP/1.1\r\nHost: h\n", "bare LF"),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", "bare LF"),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\n\r\n", "bare LF"),
        ("\rG", "CR without LF"),
        ("GET / HTTP/1.1\rH", "CR without LF"),
        ("GET / HTTP/1.1\r\nHost: h\rA: b\r\n", "CR without LF"),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\r", "CR without LF"),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\r\n\r\n",
            "CR without LF",
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nA: \0\r\n",
            "control character",
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nA: \x7f\r\n\r\n",
            "control character",
        ),
    ] {
        check(input, "400 bad_request: ");
        assert!(
            transcript([input.as_bytes()]).contains(expected),
            "{input:?}"
        );
    }
}

#[test]
fn a_few_empty_lines_before_a_request_are_skipped() {
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    check("\r\n".repeat(EMPTY_LINES_MAX) + get, "GET /; Idle");
    check(format!("{get}\r\n{get}\r\n"), "GET /; GET /; Idle");
    let refused = "400 bad_request: more than 4 empty lines";
    check("\r\n".repeat(EMPTY_LINES_MAX + 1) + get, refused);
    check(
        "\r\n".repeat(EMPTY_LINES_MAX + 1),
        "400 bad_request: more than 4 empty lines",
    );
}

#[test]
fn a_header_field_is_a_name_a_colon_and_a_value() {
    check(
        with_fields("A:b\r\nC:\t d \r\nE:\r\nF: \u{e9}\r\n"),
        "POST /; Idle",
    );
    for field in [
        " A: b",
        "A : b",
        "A\t: b",
        ": b",
        "A",
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A(: b",
    ] {
        check(
            with_fields(&format!("{field}\r\n")),
            "400 bad_request: a header field",
        );
    }
}

#[test]
fn there_is_one_host_and_it_is_a_host() {
    let get = |version: &str, fields: &str| format!("GET / HTTP/{version}\r\n{fields}\r\n");
    for host in [
        "",
        "h",
        "h:80",
        "h:",
        "a.b-c_d",
        "127.0.0.1:4000",
        "[::1]",
        "[::1]:80",
    ] {
        check(get("1.1", &format!("Host: {host}\r\n")), "GET /; Idle");
    }
    for host in [
        "h:x", "h h", "h/", "u@h", "a:1:2", "[::1", "[::1]x", "::1", "h?", "h, i",
    ] {
        check(
            get("1.1", &format!("Host: {host}\r\n")),
            "400 bad_request: the Host field",
        );
    }
    check(get("1.1", ""), "400 bad_request: the request has no Host");
    check(
        get("1.1", "Host: h\r\nhost: h\r\n"),
        "400 bad_request: the request has two Host",
    );
    check(get("1.0", ""), "GET / 1.0 close; Idle");
    check(
        get("1.0", "Host: h\r\nHost: i\r\n"),
        "400 bad_request: the request has two Host",
    );
}

#[test]
fn the_connection_stays_as_version_and_field_say() {
    for (version, connection, expected) in [
        ("1.1", "", "GET /; "),
        ("1.1", "keep-alive", "GET /; "),
        ("1.1", "Close", "GET / close; "),
        ("1.1", "keep-alive, close", "GET / close; "),
        ("1.1", "x\r\nConnection: y ,CLOSE,", "GET / close; "),
        ("1.1", "closed", "GET /; "),
        ("1.0", "", "GET / 1.0 close; "),
        ("1.0", "Keep-Alive", "GET / 1.0 announced; "),
        ("1.0", "close, keep-alive", "GET / 1.0 close; "),
    ] {
        let input = format!("GET / HTTP/{version}\r\nHost: h\r\nConnection: {connection}\r\n\r\n");
        check(input, expected);
    }
}

#[test]
fn a_head_is_bounded() {
    let line = |bytes: usize| {
        format!("GET /{}", "a".repeat(bytes - "GET / HTTP/1.1".len())) + " HTTP/1.1\r\n"
    };
    let host = "Host: h\r\n";
    check(line(REQUEST_LINE_BYTES_MAX) + host + "\r\n", "GET /aaa");
    check(
        format!("\r\n{}{host}\r\n", line(REQUEST_LINE_BYTES_MAX)),
        "GET /aaa",
    );
    check(
        line(REQUEST_LINE_BYTES_MAX + 1) + host + "\r\n",
        "414 uri_too_long: the request line is longer than 8192",
    );
    check("a".repeat(REQUEST_LINE_BYTES_MAX + 1), "Head");
    check("a".repeat(REQUEST_LINE_BYTES_MAX + 2), "414");

    let head = |bytes: usize| {
        let start = format!("{}{host}A: ", line(20));
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    check(head(HEAD_BYTES_MAX), "GET /aaaaaa; Idle");
    check(format!("\r\n{}", head(HEAD_BYTES_MAX)), "GET /aaaaaa; Idle");
    check(
        head(HEAD_BYTES_MAX + 1),
        "431 head_too_large: the request head is longer than 16384",
    );
    check(head(HEAD_BYTES_MAX + 2), "431");
    check(&head(HEAD_BYTES_MAX + 9)[..HEAD_BYTES_MAX], "431");
    check(&head(HEAD_BYTES_MAX + 9)[..HEAD_BYTES_MAX - 1], "Head");

    check(
        with_fields(&"A: b\r\n".repeat(HEAD_FIELDS_MAX - 1)),
        "POST /; Idle",
    );
    check(
        with_fields(&"A: b\r\n".repeat(HEAD_FIELDS_MAX)),
        "431 head_too_large: the request head has more than 100",
    );
}

#[test]
fn only_100_continue_is_expected() {
    for (fields, expected) in [
        (
            "Expect: 100-Continue\r\nContent-Length: 2\r\n",
            "POST / {ok}; Idle",
        ),
        (
            "Expect: 200-ok\r\nContent-Length: 2\r\n",
            "417 expectation_failed",
        ),
        (
            "Expect: 100-continue\r\nExpect: x\r\nContent-Length: 2\r\n",
            "417",
        ),
        ("Expect:\r\nContent-Length: 2\r\n", "417"),
    ] {
        check(with_fields(fields) + "ok", expected);
    }
    check(
        "POST / HTTP/1.0\r\nExpect: x\r\nContent-Length: 2\r\n\r\nok",
        "POST / 1.0 close {ok}; Idle",
    );
}
