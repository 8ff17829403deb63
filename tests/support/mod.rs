//! What the black-box tests share: the real binary on its own directory, and a raw HTTP client.
//!
//! Nothing here knows the inside of the server. Every wait has a deadline,
//! every process is ended by its own pid descriptor, and every directory is
//! removed when its owner is dropped, also when a test fails.

#![allow(
    dead_code,
    reason = "each test file compiles this module for itself and uses a part of it"
)]

pub mod certificate;
pub mod client;
pub mod image;
pub mod random;
pub mod script;
pub mod server;

use serde_json::Value;

use client::Response;

/// Reads a body that must be JSON.
#[track_caller]
pub fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {}", String::from_utf8_lossy(body)))
}

/// Checks that `response` is an error as the contract renders all of them,
/// and returns its message.
#[track_caller]
pub fn assert_error(response: &Response, status: u16) -> String {
    assert_eq!(response.status, status, "{response:?}");
    let content_type = response.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("application/json"), "{response:?}");
    let body = json(&response.body);
    let code = body["error"].as_str().unwrap_or_default();
    assert!(
        !code.is_empty()
            && code
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()),
        "`error` is a stable code: {response:?}"
    );
    let message = body["message"].as_str().unwrap_or_default();
    assert!(
        !message.is_empty(),
        "`message` names the problem: {response:?}"
    );
    message.to_owned()
}

/// Checks an error and that its message holds one of `words`.
#[track_caller]
pub fn assert_error_naming(response: &Response, status: u16, words: &[&str]) {
    let message = assert_error(response, status);
    let lower = message.to_lowercase();
    assert!(
        words
            .iter()
            .any(|word| lower.contains(&word.to_lowercase())),
        "the message names none of {words:?}: {message:?}"
    );
}
