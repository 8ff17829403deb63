//! Parts of JSON texts, visited where they stand: members, elements, the content of strings.
//!
//! A visit takes one pass and hands out slices of the text, so that a part goes
//! from a request or a document to its place byte for byte. No visit recurses.

use std::{
    borrow::Cow,
    fmt::{self, Formatter},
};

use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, value::RawValue};

use super::json::{JsonError, check_grammar, located};

/// Why the members or items of a text cannot be visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VisitError {
    /// The text is not JSON.
    Json(JsonError),
    /// The text is a value of another type.
    OtherType,
}

/// Calls `each` with the key (in its quotes) and the value of every member of the object `text`.
///
/// # Errors
/// [`VisitError`], perhaps after some calls: `text` is not one valid object.
pub(super) fn members<'t>(
    text: &'t str,
    each: impl FnMut(&'t str, &'t str),
) -> Result<(), VisitError> {
    struct Members<F>(F);
    impl<'t, F: FnMut(&'t str, &'t str)> Visitor<'t> for Members<F> {
        type Value = ();
        fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'t>>(mut self, mut map: A) -> Result<(), A::Error> {
            // The key is raw as well: serde_json checks the escapes and control
            // characters of a raw string, but not those of one read as bytes.
            while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                (self.0)(key.get(), value.get());
            }
            Ok(())
        }
    }
    let mut deserializer = Deserializer::from_str(text);
    let visited = deserializer.deserialize_map(Members(each));
    finish(text, visited.and_then(|()| deserializer.end()))
}

/// Calls `each` with every element of the list `text`.
///
/// # Errors
/// [`VisitError`], perhaps after some calls: `text` is not one valid list.
pub(super) fn elements<'t>(text: &'t str, each: impl FnMut(&'t str)) -> Result<(), VisitError> {
    struct Elements<F>(F);
    impl<'t, F: FnMut(&'t str)> Visitor<'t> for Elements<F> {
        type Value = ();
        fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'t>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(element) = list.next_element::<&RawValue>()? {
                (self.0)(element.get());
            }
            Ok(())
        }
    }
    let mut deserializer = Deserializer::from_str(text);
    let visited = deserializer.deserialize_seq(Elements(each));
    finish(text, visited.and_then(|()| deserializer.end()))
}

/// Tells a text that is not JSON from one of another type.
fn finish(text: &str, visited: serde_json::Result<()>) -> Result<(), VisitError> {
    visited.map_err(|error| match check_grammar(text) {
        Ok(()) if error.is_data() => VisitError::OtherType,
        Ok(()) => VisitError::Json(located(text, &error)),
        Err(error) => VisitError::Json(error),
    })
}

/// The content of a JSON string that stands in `raw` with its quotes, its escapes resolved.
///
/// UTF-8, but for lone surrogates, which only escapes can write: they come out
/// as three bytes each that no UTF-8 contains.
pub(super) fn unquote(raw: &str) -> Cow<'_, [u8]> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner.as_bytes());
    }
    struct Unescaped;
    impl Visitor<'_> for Unescaped {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
    let bytes = Deserializer::from_str(raw).deserialize_bytes(Unescaped);
    Cow::Owned(bytes.expect("the grammar of the string was checked, and any escape has bytes"))
}

/// Appends `text` as a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a vector takes every byte and a string has a form");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_visited_raw_and_in_order_and_only_if_all_of_the_text_is_json() {
        let visit = |text: &str| {
            let mut seen = Vec::new();
            members(text, |key, value| seen.push(format!("{key}={value}"))).map(|()| seen)
        };
        assert_eq!(
            visit(r#" { "a" : [1, 2] , "\ud800" : "x" } "#),
            Ok(vec![
                "\"a\"=[1, 2]".to_owned(),
                "\"\\ud800\"=\"x\"".to_owned()
            ])
        );
        assert_eq!(visit("{}"), Ok(vec![]));
        assert_eq!(visit("[1]"), Err(VisitError::OtherType));
        assert_eq!(visit("12"), Err(VisitError::OtherType));
        for text in [
            "{} x",
            "{\"a\":1,}",
            "{\"a\u{1}\":1}",
            "{\"a\":01}",
            "[1",
            "",
        ] {
            let is_json_error = matches!(visit(text), Err(VisitError::Json(_)));
            assert!(is_json_error, "{text:?}: {:?}", visit(text));
        }
    }

    #[test]
    fn a_string_is_unquoted_with_its_lone_surrogates() {
        for (raw, expected) in [
            (r#""""#, &b""[..]),
            (r#""a b""#, b"a b"),
            (r#""\u00e9\n\"""#, "é\n\"".as_bytes()),
            (r#""\ud83d\ude00""#, "😀".as_bytes()),
            (r#""\ud83dx""#, b"\xed\xa0\xbdx"),
            (r#""\udead\ud83d""#, b"\xed\xba\xad\xed\xa0\xbd"),
        ] {
            assert_eq!(unquote(raw).as_ref(), expected, "{raw}");
        }
    }

    #[test]
    fn a_visit_of_eight_mebibytes_of_brackets_fits_a_small_stack() {
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        let judge = small.spawn(|| {
            let (open, close) = ("[".repeat(4 << 20), "]".repeat(4 << 20));
            let deep = format!("{{\"id\":1,\"data\":{open}{close}}}");
            assert_eq!(members(&deep, |_, _| ()), Ok(()));
            assert!(members(&deep[..4 << 20], |_, _| ()).is_err());
        });
        judge.expect("a thread").join().expect("no overflow");
    }
}
