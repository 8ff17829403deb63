//! The README says what the server does: its lists are held against the code.

use oxdaas::{api::Code, http::FaultCode, limits};

const README: &str = include_str!("../README.md");

#[test]
fn every_error_code_is_listed_with_its_status() {
    let codes = Code::ALL.iter().map(|code| (code.text(), code.status()));
    let faults = FaultCode::ALL
        .iter()
        .map(|code| (code.text(), code.status()));
    for (code, status) in codes.chain(faults) {
        let name = format!("`{code}`");
        let status = status.code().to_string();
        let listed = README
            .lines()
            .any(|line| line.starts_with("| ") && line.contains(&name) && line.contains(&status));
        assert!(listed, "{name} is not listed under {status}");
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    for expected in [
        format!("| request line | {} |", kib(limits::REQUEST_LINE_BYTES_MAX)),
        format!(
            "| request head | {}, {} fields |",
            kib(limits::HEAD_BYTES_MAX),
            limits::HEAD_FIELDS_MAX
        ),
        format!(
            "| bytes of values on the way of a `pointer=` | {} MiB, or twice the document |",
            limits::POINTER_SCAN_BYTES_MAX >> 20
        ),
        format!(
            "| bytes that one patch goes over | {} MiB, or 32 times the document |",
            limits::EDIT_WORK_BYTES_MAX >> 20
        ),
        format!(
            "| bodies that are answered in gzip | {} to {} |",
            kib(limits::GZIP_BODY_BYTES_MIN),
            kib(limits::GZIP_BODY_BYTES_MAX)
        ),
        format!("| JSON nesting | {} |", limits::JSON_DEPTH_MAX),
        format!(
            "| lines of each log that wait to be written | {} MiB |",
            limits::JOURNAL_BYTES_MAX >> 20
        ),
        format!(
            "| path in the access log | {} bytes |",
            limits::ACCESS_LOG_PATH_BYTES_MAX
        ),
        format!(
            "| slow requests that a core tells of in a second | {} |",
            limits::SLOW_REQUESTS_SAID_MAX
        ),
        format!(
            "| requests about many documents under way on a core | {} |",
            limits::GATHERS_MAX
        ),
        format!(
            "| bytes that one atomic batch writes | {} MiB |",
            limits::ATOMIC_BYTES_MAX >> 20
        ),
        format!(
            "| atomic batches that take effect at the same time | {} |",
            limits::ATOMICS_MAX
        ),
        format!("`limit` is 1 to {}", limits::LIST_LIMIT_MAX),
        format!(
            "| documents on a page | {} MiB |",
            limits::LIST_BYTES_MAX >> 20
        ),
        format!("| ids of one `GET /docs?ids=` | {} |", limits::GET_IDS_MAX),
        format!(
            "| documents in one answer about many | {} MiB |",
            limits::RESPONSE_BYTES_MAX >> 20
        ),
        format!(
            "| requests of a connection in one turn of its core | {}, or as many as begin within {} ms |",
            limits::TURN_REQUESTS_MIN,
            limits::TURN_MS
        ),
        format!(
            "| streamed responses under way on a core | {} |",
            limits::STREAMS_MAX
        ),
        format!(
            "| streamed response that a peer is slow to take | {} KiB a second, after {} s |",
            limits::STREAM_BYTES_PER_S_MIN / 1024,
            limits::STREAM_SEND_MS_MAX / 1000
        ),
        format!(
            "| origins of `--cors-origin` | {} |",
            limits::CORS_ORIGINS_MAX
        ),
        format!(
            "| tokens, characters of one | {}, {} |",
            limits::TOKENS_MAX,
            limits::TOKEN_BYTES_MAX
        ),
        format!(
            "| `wait` of `/changes` | {} s |",
            limits::CHANGES_WAIT_S_MAX
        ),
        format!(
            "| requests of a connection in flight | {} |",
            limits::PIPELINE_MAX
        ),
        format!(
            "| message of a TLS handshake that waits to be whole | {} |",
            kib(limits::TLS_INCOMING_BYTES_MAX)
        ),
    ] {
        assert!(README.contains(&expected), "{expected}");
    }
}
