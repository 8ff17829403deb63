//! Targets: percent-decoding of path segments and of query pairs.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// Why a part of a target does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A `%` without two hexadecimal digits after it.
    #[error(
        "a % in the target has no two hexadecimal digits after it; write a percent sign as %25"
    )]
    BadEscape,
    /// The decoded bytes are not UTF-8.
    #[error("the target is not UTF-8 once percent-decoded; encode it as UTF-8")]
    NotUtf8,
}

/// What a `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Itself,
    Space,
}

/// Percent-decodes a segment of a path; borrows when nothing is encoded.
///
/// # Errors
/// [`DecodeError`], a 400 for the client.
pub fn decode_segment(segment: &str) -> Result<Cow<'_, str>, DecodeError> {
    decode(segment, Plus::Itself)
}

/// The pairs of a query in `application/x-www-form-urlencoded`, in order.
///
/// A pair without `=` has an empty value; empty pairs are left out.
#[must_use]
pub fn query_pairs(query: &str) -> QueryPairs<'_> {
    QueryPairs { rest: query }
}

/// The iterator of [`query_pairs`].
#[derive(Clone, Debug)]
pub struct QueryPairs<'b> {
    rest: &'b str,
}

impl<'b> Iterator for QueryPairs<'b> {
    type Item = Result<(Cow<'b, str>, Cow<'b, str>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = self.rest.split_once('&').unwrap_or((self.rest, ""));
            self.rest = rest;
            if !pair.is_empty() {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                let key = decode(key, Plus::Space);
                return Some(key.and_then(|key| Ok((key, decode(value, Plus::Space)?))));
            }
        }
        None
    }
}

fn decode(text: &str, plus: Plus) -> Result<Cow<'_, str>, DecodeError> {
    let bytes = text.as_bytes();
    let first = match plus {
        Plus::Itself => memchr(b'%', bytes),
        Plus::Space => memchr2(b'%', b'+', bytes),
    };
    let Some(first) = first else {
        return Ok(Cow::Borrowed(text));
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                decoded.push(hex(*high)? << 4 | hex(*low)?);
                rest = after;
            }
            (b'%', _) => return Err(DecodeError::BadEscape),
            (b'+', _) if plus == Plus::Space => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    let text = String::from_utf8(decoded).map_err(|_| DecodeError::NotUtf8)?;
    Ok(Cow::Owned(text))
}

fn hex(digit: u8) -> Result<u8, DecodeError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(DecodeError::BadEscape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_decodes_to_utf8_or_says_why_not() {
        for (segment, expected) in [
            ("", Ok("")),
            ("plain", Ok("plain")),
            ("a%2Fb%20c", Ok("a/b c")),
            ("%c3%A9", Ok("é")),
            ("1+1", Ok("1+1")),
            ("%00", Ok("\0")),
            ("100%25", Ok("100%")),
            ("%2525", Ok("%25")),
            ("%", Err(DecodeError::BadEscape)),
            ("%4", Err(DecodeError::BadEscape)),
            ("%+1", Err(DecodeError::BadEscape)),
            ("%g0", Err(DecodeError::BadEscape)),
            ("%ff", Err(DecodeError::NotUtf8)),
            ("%c3", Err(DecodeError::NotUtf8)),
        ] {
            assert_eq!(
                decode_segment(segment).as_deref(),
                expected.as_deref(),
                "{segment:?}"
            );
        }
    }

    #[test]
    fn only_an_encoded_segment_is_copied() {
        assert!(matches!(decode_segment("user:7"), Ok(Cow::Borrowed(_))));
        assert!(matches!(decode_segment("%41"), Ok(Cow::Owned(_))));
    }

    #[test]
    fn query_pairs_decode_like_a_form() {
        let check = |query: &str, expected: &[(&str, &str)]| {
            let pairs: Result<Vec<_>, _> = query_pairs(query).collect();
            let pairs = pairs.expect("well formed");
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(k, v)| (k.as_ref(), v.as_ref()))
                .collect();
            assert_eq!(pairs, expected, "{query:?}");
        };
        check("", &[]);
        check("&&", &[]);
        check("id=12", &[("id", "12")]);
        check("id", &[("id", "")]);
        check("=x", &[("", "x")]);
        check("a=b=c&a=", &[("a", "b=c"), ("a", "")]);
        check(
            "cmd[query]=ONLY&cmd%5Bkeys%5D%5b%5d=a+b%2B",
            &[("cmd[query]", "ONLY"), ("cmd[keys][]", "a b+")],
        );
    }

    #[test]
    fn a_bad_pair_is_an_error_and_does_not_hide_the_next() {
        let pairs: Vec<_> = query_pairs("a=%zz&%ff=1&b=2").collect();
        assert_eq!(
            pairs,
            [
                Err(DecodeError::BadEscape),
                Err(DecodeError::NotUtf8),
                Ok(("b".into(), "2".into()))
            ]
        );
    }
}
