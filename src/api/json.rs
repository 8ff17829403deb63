//! JSON texts: the grammar of RFC 8259, checked strictly, and the white space between tokens.
//!
//! serde_json judges the grammar; this file adds what it leaves open (UTF-8 of
//! the whole text, nesting, an offset in bytes). Nothing here builds a tree and
//! nothing recurses: a text keeps every byte that is not white space between
//! tokens, so key order, digits and escapes survive.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::limits::JSON_DEPTH_MAX;

/// Why a text is not JSON that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at byte {offset}")]
pub struct JsonError {
    /// Where in the text, in bytes from 0; its length when the text ends too early.
    pub offset: usize,
    /// What is wrong there.
    pub message: Cow<'static, str>,
}

/// Checks `text` and removes the white space between its tokens.
///
/// Borrows when there is nothing to remove but white space around the value.
///
/// # Errors
/// [`JsonError`]: `text` is not one JSON value in UTF-8 (RFC 8259), or nests
/// lists and objects deeper than [`JSON_DEPTH_MAX`].
pub fn minify(text: &[u8]) -> Result<Cow<'_, [u8]>, JsonError> {
    let text = utf8(text)?;
    check_grammar(text)?;
    minify_valid(text)
}

/// The text as UTF-8.
pub(super) fn utf8(text: &[u8]) -> Result<&str, JsonError> {
    str::from_utf8(text).map_err(|error| JsonError {
        offset: error.valid_up_to(),
        message: Cow::Borrowed("not UTF-8"),
    })
}

/// Checks that `text` is one JSON value, however deep.
///
/// serde_json skips an ignored value in a loop, with a byte of heap a level.
pub(super) fn check_grammar(text: &str) -> Result<(), JsonError> {
    serde_json::from_str::<IgnoredAny>(text)
        .map(|_| ())
        .map_err(|error| located(text, &error))
}

/// Removes the white space between the tokens of `text`, which is valid JSON.
///
/// # Errors
/// Only that of nesting. The offset counts from the start of `text`.
pub(super) fn minify_valid(text: &str) -> Result<Cow<'_, [u8]>, JsonError> {
    let outer = text.trim_ascii_start();
    let trimmed_bytes = text.len() - outer.len();
    let text = outer.trim_ascii_end().as_bytes();
    let mut minified: Vec<u8> = Vec::new();
    let (mut kept, mut at, mut depth) = (0, 0, 0_usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at),
            b'[' | b'{' if depth == JSON_DEPTH_MAX => {
                return Err(JsonError {
                    offset: trimmed_bytes + at,
                    message: Cow::Owned(format!(
                        "lists and objects nest deeper than {JSON_DEPTH_MAX}"
                    )),
                });
            }
            b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b' ' | b'\t' | b'\n' | b'\r' => {
                if minified.capacity() == 0 {
                    minified.reserve_exact(text.len());
                }
                minified.extend_from_slice(&text[kept..at]);
                let is_token = |byte: &u8| !byte.is_ascii_whitespace();
                let rest = &text[at..];
                at += rest.iter().position(is_token).unwrap_or(rest.len());
                kept = at;
            }
            _ => at += 1,
        }
    }
    if kept == 0 {
        return Ok(Cow::Borrowed(text));
    }
    minified.extend_from_slice(&text[kept..]);
    Ok(Cow::Owned(minified))
}

/// The position past the string that begins at `start` of valid JSON.
pub(super) fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// The error of serde_json with a byte offset instead of a line and a column.
pub(super) fn located(text: &str, error: &serde_json::Error) -> JsonError {
    let lines_before = error.line().saturating_sub(1);
    let line_start = match lines_before {
        0 => 0,
        n => memchr::memchr_iter(b'\n', text.as_bytes())
            .nth(n - 1)
            .map_or(0, |newline| newline + 1),
    };
    let message = error.to_string();
    let message = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(message, _)| message);
    // serde_json counts the offending byte of a syntax error in its column, but
    // not a control character in a string.
    let counted = usize::from(!message.starts_with("control character"));
    JsonError {
        offset: match error.is_eof() {
            true => text.len(),
            false => line_start + error.column().saturating_sub(counted),
        },
        message: Cow::Owned(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Expects `text` to be refused at `offset` with a message that contains `message`.
    fn check_refused(text: impl AsRef<[u8]>, offset: usize, message: &str) {
        let shown = String::from_utf8_lossy(text.as_ref()).into_owned();
        let error = minify(text.as_ref()).expect_err(&shown);
        assert_eq!(error.offset, offset, "{shown:?}: {error}");
        assert!(error.message.contains(message), "{shown:?}: {error}");
    }

    #[test]
    fn white_space_between_tokens_goes_and_every_other_byte_stays() {
        for (text, expected) in [
            ("1", "1"),
            (" \t\r\n 1 \n", "1"),
            ("[ 1 , 2 ]", "[1,2]"),
            (
                "{ \"b\" : 1.50 ,\n\t\"a\" : -0.0e+00 }",
                "{\"b\":1.50,\"a\":-0.0e+00}",
            ),
            ("[ ]", "[]"),
            (" { } ", "{}"),
            (r#" " a \" b \\ " "#, r#"" a \" b \\ ""#),
            (r#"["\u0041\/é","😀"]"#, r#"["\u0041\/é","😀"]"#),
            (r#""\ud800""#, r#""\ud800""#),
            ("[true , false , null]", "[true,false,null]"),
            ("{\"a\":1, \"a\":2}", "{\"a\":1,\"a\":2}"),
            (
                "123456789012345678901234567890.0000000000000000001E-400",
                "123456789012345678901234567890.0000000000000000001E-400",
            ),
            ("\"\u{7f}\u{2028}\u{feff}\"", "\"\u{7f}\u{2028}\u{feff}\""),
        ] {
            let minified = minify(text.as_bytes()).expect(text);
            assert_eq!(str::from_utf8(&minified), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_text_without_inner_white_space_is_not_copied() {
        for text in ["[1,2]", " {\"a\":\"b c\"}\n"] {
            assert!(
                matches!(minify(text.as_bytes()), Ok(Cow::Borrowed(_))),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_refused_at_its_offset() {
        check_refused("", 0, "EOF");
        check_refused("  ", 2, "EOF");
        check_refused("[1,\n2,\n oops]", 8, "expected value");
        check_refused("[1,", 3, "EOF");
        check_refused("1 2", 2, "trailing characters");
        check_refused("{} x", 3, "trailing characters");
        check_refused("tr ue", 2, "expected ident");
        check_refused("- 1", 1, "invalid number");
        check_refused("\u{feff}1", 0, "expected value");
        check_refused("/* c */1", 0, "expected value");
        check_refused("1//c", 1, "trailing characters");
        check_refused("\"a\nb\"", 2, "control character");
        check_refused(b"\"\xff\"", 1, "not UTF-8");
        check_refused(b"[\"\xed\xa0\x80\"]", 2, "not UTF-8");
        check_refused("{\"a\x01\":1}", 3, "control character");
        for text in [
            "01",
            "-01",
            "+1",
            ".5",
            "1.",
            "1.e1",
            "1e",
            "1e+",
            "0x1",
            "NaN",
            "Infinity",
            "-",
            "--1",
            "-Infinity",
            "1_0",
            "True",
            "nul",
            "nullx",
            "'a'",
            "a",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\",
            "\"\0\"",
            "\"\t\"",
            "[",
            "]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{",
            "}",
            "{1:1}",
            "{a:1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1]",
            "{\"a\":1 \"b\":2}",
            "\x0c1",
            "\x0b1",
            "\u{a0}1",
            "1\0",
            "\0",
            "[1]]",
            "\"a\"\"b\"",
        ] {
            assert!(minify(text.as_bytes()).is_err(), "{text:?} is accepted");
        }
    }

    #[test]
    fn nesting_ends_at_its_bound() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(minify(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        check_refused(
            nested(JSON_DEPTH_MAX + 1),
            JSON_DEPTH_MAX,
            "deeper than 100",
        );
        check_refused(format!(" \n{}", nested(101)), 102, "deeper than 100");
        let objects = "{\"a\":".repeat(101) + "1" + &"}".repeat(101);
        check_refused(objects, 500, "deeper than 100");
        let wide = format!("[{}[]]", "[],".repeat(1000));
        assert!(minify(wide.as_bytes()).is_ok());
        assert!(minify(format!("\"{}\"", "[".repeat(1000)).as_bytes()).is_ok());
    }

    #[test]
    fn eight_mebibytes_of_brackets_are_refused_on_a_small_stack() {
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        let judge = small.spawn(|| {
            let open = "[".repeat(8 << 20);
            let closed = "[".repeat(4 << 20) + &"]".repeat(4 << 20);
            assert!(minify(open.as_bytes()).is_err());
            assert!(minify(closed.as_bytes()).is_err());
        });
        judge.expect("a thread").join().expect("no overflow");
    }

    proptest! {
        /// serde_json's reader of values is other code than its skipping of ignored ones.
        #[test]
        fn a_text_is_accepted_exactly_if_a_full_parse_accepts_it(
            text in proptest::string::string_regex(r#"([\[\]{}:,\-0-9.eE+" ]|true|null|"a"|\\n|\\u00e9|\n){0,12}"#).expect("a valid regex")
        ) {
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            let minified = minify(text.as_bytes());
            prop_assert_eq!(minified.is_ok(), parsed.is_ok(), "{:?} {:?}", minified, parsed);
            if let Ok(minified) = minified {
                let again = serde_json::from_slice::<serde_json::Value>(&minified);
                prop_assert_eq!(again.ok(), parsed.ok());
                prop_assert_eq!(minify(&minified).ok(), Some(Cow::Borrowed(&minified[..])));
            }
        }
    }
}
