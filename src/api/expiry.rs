//! Expiry as clients ask for it: seconds with up to three decimals.

use super::{Code, Problem, command::given_twice};
use crate::{
    http::query_pairs,
    limits::{EXPIRES_AT_MS_MAX, TTL_MS_MAX},
    op::{Expires, Expiry, Ttl},
};

/// What `ttl=` in `query` asks for.
///
/// # Errors
/// 400 if it is not a span in its bounds, or is given twice.
pub(super) fn query_expires(query: &str) -> Result<Expires, Problem> {
    let mut found = Expires::Never;
    // Whether other parameters decode is up to those who read them.
    for (name, value) in query_pairs(query).flatten() {
        if name != "ttl" {
            continue;
        }
        if found != Expires::Never {
            return Err(given_twice(&name));
        }
        found = Expires::In(ttl(&value)?);
    }
    Ok(found)
}

/// What the JSON values `ttl` and `expires_at` ask for; null: nothing.
///
/// # Errors
/// 400 if one is not in its bounds, or if both are there.
pub(super) fn json_expires(
    [ttl_text, expires_at_text]: [Option<&str>; 2],
) -> Result<Expires, Problem> {
    let is_given = |text: &&str| *text != "null";
    match (ttl_text.filter(is_given), expires_at_text.filter(is_given)) {
        (None, None) => Ok(Expires::Never),
        (Some(text), None) => Ok(Expires::In(ttl(text)?)),
        (None, Some(text)) => Ok(Expires::At(expires_at(text)?)),
        (Some(_), Some(_)) => Err(Problem::new(
            Code::BadRequest,
            "ttl and expires_at stand side by side; send one of them",
        )),
    }
}

/// 400: the request stores no whole document, so it cannot say how long that lives.
pub(super) fn out_of_place() -> Problem {
    Problem::new(
        Code::BadRequest,
        "ttl has no place in the query here; it goes with PUT /docs/ID, POST /docs, the body of \
         POST /api and a put of POST /batch",
    )
}

fn ttl(text: &str) -> Result<Ttl, Problem> {
    millis(text).and_then(Ttl::asked).ok_or_else(|| {
        Problem::new(
            Code::BadRequest,
            format!(
                "ttl is not a number of seconds from 0.001 to {} with at most three decimals; \
                 send one like 60 or 0.5, or leave ttl out to keep the document",
                TTL_MS_MAX / 1000
            ),
        )
    })
}

fn expires_at(text: &str) -> Result<Expiry, Problem> {
    millis(text).and_then(Expiry::asked).ok_or_else(|| {
        Problem::new(
            Code::BadRequest,
            format!(
                "expires_at is not a time in seconds since 1970 up to {} with at most three \
                 decimals; send one, or ttl in its place",
                EXPIRES_AT_MS_MAX / 1000
            ),
        )
    })
}

/// The milliseconds that `seconds` are: digits, and perhaps a point and up to three more.
fn millis(seconds: &str) -> Option<u64> {
    let (whole, decimals) = match seconds.split_once('.') {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (seconds, None),
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let decimals = match decimals {
        None => 0,
        Some(decimals) if is_digits(decimals) && decimals.len() <= 3 => {
            format!("{decimals:0<3}").parse().ok()?
        }
        Some(_) => return None,
    };
    let whole: u64 = Some(whole).filter(|whole| is_digits(whole))?.parse().ok()?;
    whole.checked_mul(1000)?.checked_add(decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_to_the_millisecond() {
        for (text, expected) in [
            ("60", Some(60_000)),
            ("0.5", Some(500)),
            ("0.001", Some(1)),
            ("1.05", Some(1_050)),
            ("12.345", Some(12_345)),
            ("007", Some(7_000)),
            ("0", Some(0)),
            ("", None),
            (".", None),
            ("5.", None),
            (".5", None),
            ("1.2345", None),
            ("1.2.3", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            (" 1", None),
            ("sixty", None),
            ("\"60\"", None),
            ("18446744073709551616", None),
            ("18446744073709552", None),
        ] {
            assert_eq!(millis(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_query_has_one_ttl_at_most_and_whatever_else() {
        let ttl = |ms| Ok(Expires::In(Ttl::asked(ms).expect("in bounds")));
        let read = |query| query_expires(query).map_err(|problem| problem.code);
        assert_eq!(read("a=1&%zz&ttl=2&b"), ttl(2_000));
        assert_eq!(read("%74tl=0%2E25"), ttl(250));
        assert_eq!(read("Ttl=0&ttls=0&%zz"), Ok(Expires::Never));
        for bad in [
            "ttl",
            "ttl=0",
            "ttl=0.000",
            "ttl=3153600000.001",
            "ttl=1&ttl=1",
        ] {
            assert_eq!(read(bad), Err("bad_request"), "{bad}");
        }
    }
}
