//! Equality of documents: whether two JSON texts say the same.
//!
//! Storing a document equal to the stored one writes nothing, so this runs on
//! every overwrite, and a wrong `true` would lose an acknowledged write. It
//! judges by the texts, without hashes: members in any order, strings by their
//! characters, numbers by their digits as written (`1.0` is not `1`). What a
//! text with a key twice means is up to its reader, so it equals only itself.

use super::{json::string_end, number, visit::unquote};
use crate::limits::JSON_DEPTH_MAX;

/// Whether `a` and `b`, minified and valid JSON, are equal as JSON.
///
/// Costs a comparison when the texts are equal or differ in length, a pass over
/// both when they differ in content, and a sort of their members when they may
/// be equal or hold escapes.
#[must_use]
pub fn same_document(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    if may_be_equal(a, b) {
        return have_one_form(a, b, Numbers::AsWritten);
    }
    false
}

/// Whether `a` and `b`, minified and valid JSON, have one value: as [`same_document`], but
/// numbers by their value (RFC 6902, section 4.6).
pub(super) fn same_value(a: &[u8], b: &[u8]) -> bool {
    a == b || have_one_form(a, b, Numbers::ByValue)
}

/// What numbers are compared by.
#[derive(Clone, Copy)]
enum Numbers {
    /// Their digits.
    AsWritten,
    /// What they mean.
    ByValue,
}

fn have_one_form(a: &[u8], b: &[u8], numbers: Numbers) -> bool {
    match (canonical(a, numbers), canonical(b, numbers)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// A cheap test that every two equal documents pass.
///
/// Minified texts without escapes have one form for each token, so equal ones
/// differ in the order of members alone: the one is a permutation of the bytes
/// of the other, of equal length and with equal sums of bytes and of their
/// squares. A text with an escape passes always.
fn may_be_equal(a: &[u8], b: &[u8]) -> bool {
    let has_escape = |text: &[u8]| memchr::memchr(b'\\', text).is_some();
    match a.len() == b.len() {
        true => sums(a) == sums(b) || has_escape(a) || has_escape(b),
        false => has_escape(a) || has_escape(b),
    }
}

/// The sum of the bytes and the sum of their squares; they do not depend on the order.
fn sums(text: &[u8]) -> (u64, u64) {
    text.iter().fold((0, 0), |(sum, squares), &byte| {
        let byte = u64::from(byte);
        (sum + byte, squares + byte * byte)
    })
}

/// A form that equal documents share and different ones do not.
///
/// `None` if a key stands twice in an object (or the text is not valid JSON).
fn canonical(text: &[u8], numbers: Numbers) -> Option<Vec<u8>> {
    let mut writer = Canonical {
        numbers,
        text,
        at: 0,
        out: Vec::with_capacity(text.len() * 2),
    };
    writer.value(JSON_DEPTH_MAX)?;
    (writer.at == text.len()).then_some(writer.out)
}

/// Reads valid JSON from `text` and writes its canonical form.
///
/// Scalars end with a comma and strings begin with their length, so no form is
/// the beginning of another one, and forms in a row can be told apart.
struct Canonical<'t> {
    numbers: Numbers,
    text: &'t [u8],
    at: usize,
    out: Vec<u8>,
}

/// Where the canonical form of a member lies in the output.
struct Member {
    key_start: usize,
    value_start: usize,
    end: usize,
}

impl Canonical<'_> {
    /// One value; recursion ends where valid documents do, at `levels` of nesting.
    fn value(&mut self, levels: usize) -> Option<()> {
        match *self.text.get(self.at)? {
            b'"' => self.string(),
            b'[' => self.list(levels.checked_sub(1)?),
            b'{' => self.object(levels.checked_sub(1)?),
            _ => {
                let rest = self.text.get(self.at..)?;
                let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}');
                let length = rest.iter().position(is_end).unwrap_or(rest.len());
                (length > 0).then_some(())?;
                match (self.numbers, rest.get(..length)?) {
                    (Numbers::ByValue, number @ [b'-' | b'0'..=b'9', ..]) => {
                        number::write_value(number, &mut self.out);
                    }
                    (_, word) => self.out.extend_from_slice(word),
                }
                self.out.push(b',');
                self.at += length;
                Some(())
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        let end = string_end(self.text, self.at);
        let raw = str::from_utf8(self.text.get(self.at..end)?).ok()?;
        let content = unquote(raw);
        self.out.push(b'"');
        self.out.extend_from_slice(&content.len().to_le_bytes());
        self.out.extend_from_slice(&content);
        self.at = end;
        Some(())
    }

    fn list(&mut self, levels: usize) -> Option<()> {
        self.out.push(b'[');
        self.at += 1;
        while !self.take(b']') {
            self.value(levels)?;
            self.take(b',');
        }
        self.out.push(b']');
        Some(())
    }

    fn object(&mut self, levels: usize) -> Option<()> {
        self.out.push(b'{');
        self.at += 1;
        let mut members = Vec::new();
        while !self.take(b'}') {
            let key_start = self.out.len();
            self.string()?;
            let value_start = self.out.len();
            self.take(b':').then_some(())?;
            self.value(levels)?;
            let end = self.out.len();
            members.push(Member {
                key_start,
                value_start,
                end,
            });
            self.take(b',');
        }
        self.sort(&mut members)?;
        self.out.push(b'}');
        Some(())
    }

    /// Puts the last members written in the order of their keys; `None` if a key stands twice.
    fn sort(&mut self, members: &mut [Member]) -> Option<()> {
        let Some(first) = members.first().map(|member| member.key_start) else {
            return Some(());
        };
        let key = |member: &Member| &self.out[member.key_start..member.value_start];
        if members.is_sorted_by(|a, b| key(a) < key(b)) {
            return Some(());
        }
        members.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        if members
            .windows(2)
            .any(|pair| key(&pair[0]) == key(&pair[1]))
        {
            return None;
        }
        let written = self.out.split_off(first);
        for member in members {
            let form = &written[member.key_start - first..member.end - first];
            self.out.extend_from_slice(form);
        }
        Some(())
    }

    /// Steps over `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;

    fn check(a: &str, b: &str, expected: bool) {
        assert_eq!(
            same_document(a.as_bytes(), b.as_bytes()),
            expected,
            "{a} {b}"
        );
        assert_eq!(
            same_document(b.as_bytes(), a.as_bytes()),
            expected,
            "{b} {a}"
        );
    }

    #[test]
    fn order_of_members_and_escapes_do_not_matter_and_all_else_does() {
        check(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, true);
        check(r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#, false);
        check(
            r#"{"a":{"x":1,"y":[]},"b":{}}"#,
            r#"{"b":{},"a":{"y":[],"x":1}}"#,
            true,
        );
        check("[1,2]", "[2,1]", false);
        check("[[1],2]", "[1,[2]]", false);
        check("[12]", "[1,2]", false);
        check("1", "1.0", false);
        check("1e1", "10", false);
        check("0", "-0", false);
        check("100000000000000000001", "100000000000000000002", false);
        check("100000000000000000001", "100000000000000000010", false);
        check("{}", "[]", false);
        check("12", "\"12\"", false);
        check("\"ab\"", "\"ba\"", false);
        check(r#""\u0061""#, r#""a""#, true);
        check(r#""\u0061""#, r#""b""#, false);
        check(r#""\u00E9\/""#, r#""\u00e9/""#, true);
        check(r#""\ud83d\ude00""#, "\"😀\"", true);
        check(r#""\ud800""#, r#""\uD800""#, true);
        check(r#""\ud800""#, r#""\ud801""#, false);
        check(r#""\ud800""#, r#""\ufffd""#, false);
        check(r#"{"\u0061":1,"b":2}"#, r#"{"b":2,"a":1}"#, true);
        check(r#"["a\"b"]"#, r#"["a","b"]"#, false);
        check(r#"["\"],[\""]"#, r#"["\"],\"["]"#, false);
    }

    #[test]
    fn a_key_that_stands_twice_equals_only_its_own_bytes() {
        check(r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#, true);
        check(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#, false);
        check(r#"{"a":1,"a":1,"b":2}"#, r#"{"b":2,"a":1,"a":1}"#, false);
        check(r#"{"a":1,"\u0061":1}"#, r#"{"a":1,"a":1}"#, false);
        check(
            r#"[{"b":1,"a":1,"b":1},0]"#,
            r#"[{"a":1,"b":1,"b":1},0]"#,
            false,
        );
    }

    #[test]
    fn the_deepest_documents_compare_and_what_is_not_json_is_different() {
        let nested = |inner: &str, depth: usize| {
            format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth))
        };
        let (a, b) = (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#);
        check(
            &nested(a, JSON_DEPTH_MAX - 1),
            &nested(b, JSON_DEPTH_MAX - 1),
            true,
        );
        check(
            &nested(a, JSON_DEPTH_MAX),
            &nested(b, JSON_DEPTH_MAX),
            false,
        );
        for (a, b) in [
            ("[}1", "1[}"),
            ("{a", "a{"),
            ("[1", "1["),
            ("", "\\"),
            ("[1]]", "[]1]"),
        ] {
            check(a, b, false);
        }
    }

    /// A document as a tree, and the ways to write it.
    #[derive(Clone, Debug)]
    enum Tree {
        Scalar(String),
        Text(String),
        List(Vec<Tree>),
        Object(Vec<(String, Tree)>),
    }

    fn trees() -> impl Strategy<Value = Tree> {
        let scalar = prop_oneof!["-?[12]{1,2}", "[12]\\.[01]", Just("true".to_owned())];
        let text = "[ab\"\\\\{é😀]{0,2}";
        let leaf = prop_oneof![scalar.prop_map(Tree::Scalar), text.prop_map(Tree::Text)];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            let members = proptest::collection::btree_map(text, inner.clone(), 0..4);
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(Tree::List),
                members.prop_map(|members| Tree::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Writes `tree` with members and escapes as `choices` say, which repeat.
    fn write(tree: &Tree, choices: &mut impl Iterator<Item = u8>, out: &mut String) {
        let mut choose = |n: usize| usize::from(choices.next().unwrap_or(0)) % n;
        match tree {
            Tree::Scalar(text) => out.push_str(text),
            Tree::Text(text) => write_text(text, &mut choose, out),
            Tree::List(list) => {
                for (n, tree) in list.iter().enumerate() {
                    out.push(if n == 0 { '[' } else { ',' });
                    write(tree, choices, out);
                }
                out.push_str(if list.is_empty() { "[]" } else { "]" });
            }
            Tree::Object(members) => {
                let mut members = members.clone();
                let length = members.len();
                for n in 1..length {
                    members.swap(n, choose(n + 1));
                }
                out.push('{');
                for (n, (key, tree)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_text(
                        key,
                        &mut |n| usize::from(choices.next().unwrap_or(0)) % n,
                        out,
                    );
                    out.push(':');
                    write(tree, choices, out);
                }
                out.push('}');
            }
        }
    }

    fn write_text(text: &str, choose: &mut impl FnMut(usize) -> usize, out: &mut String) {
        out.push('"');
        for character in text.chars() {
            match (choose(4), character) {
                (0, _) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                (_, '"' | '\\') => out.extend(['\\', character]),
                _ => out.push(character),
            }
        }
        out.push('"');
    }

    fn written(tree: &Tree, choices: &[u8]) -> String {
        let mut out = String::new();
        write(tree, &mut choices.iter().copied().cycle(), &mut out);
        out
    }

    proptest! {
        #[test]
        fn a_document_equals_itself_however_it_is_written(
            tree in trees(), a in any::<[u8; 16]>(), b in any::<[u8; 16]>()
        ) {
            let (a, b) = (written(&tree, &a), written(&tree, &b));
            prop_assert!(same_document(a.as_bytes(), b.as_bytes()), "{} {}", a, b);
        }

        #[test]
        fn documents_are_the_same_exactly_if_their_values_are(
            tree in trees(), other in trees(), choices in any::<[u8; 16]>(),
            swap in any::<(Index, Index)>()
        ) {
            let a = written(&tree, &choices);
            // Two bytes trade places: a permutation, which the sums cannot tell from equality.
            let mut swapped = written(&tree, &[1]).into_bytes();
            let (one, two) = (swap.0.index(swapped.len()), swap.1.index(swapped.len()));
            swapped.swap(one, two);
            let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
            for b in [swapped, written(&other, &choices).into_bytes()] {
                let is_minified = super::super::json::minify(&b).is_ok_and(|m| *m == b);
                if is_minified && canonical(&b, Numbers::AsWritten).is_some() {
                    let expected = value(a.as_bytes()) == value(&b);
                    let got = same_document(a.as_bytes(), &b);
                    prop_assert_eq!(got, expected, "{} {:?}", a, String::from_utf8_lossy(&b));
                }
            }
        }
    }
}
