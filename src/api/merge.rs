//! Merge patches (RFC 7396): members that are set, null where one is removed.
//!
//! What the patch does not name goes from the old document to the new one byte
//! for byte, in its order. Of a key that stands twice in an object, the last one
//! counts: it is the one that is set, and all go when it is removed.

use std::{borrow::Cow, collections::HashMap};

use bytes::Bytes;

use super::{
    command::assert_valid,
    visit::{members, unquote},
    work::Work,
};
use crate::op::{Absent, EditRefusal, EditResult, Edited};

/// What `patch`, a minified JSON text, makes of `document`.
pub(super) fn merge(
    patch: &Bytes,
    absent: Absent,
    document: Option<&str>,
    work: &mut Work,
) -> EditResult {
    if document.is_none() && absent == Absent::Missing {
        return Ok(None);
    }
    let patch = str::from_utf8(patch).expect("a patch was checked to be UTF-8");
    let mut merge = Merge {
        out: Vec::with_capacity(document.map_or(0, str::len) + patch.len()),
        work,
    };
    merge.value(document, patch)?;
    Ok(Some(Edited {
        document: Bytes::from(merge.out),
        shown: Bytes::new(),
    }))
}

struct Merge<'w> {
    out: Vec<u8>,
    work: &'w mut Work,
}

/// A member of a patch: the last one of its key.
struct Sent<'t> {
    value: &'t str,
    /// Where in the patch it stands.
    at: usize,
    /// Where in the target the last member of its key stands.
    target_at: Option<usize>,
}

impl Merge<'_> {
    /// Appends what `patch` makes of `target`; recurses as deep as the patch nests.
    fn value(&mut self, target: Option<&str>, patch: &str) -> Result<(), EditRefusal> {
        if !patch.starts_with('{') {
            self.out.extend_from_slice(patch.as_bytes());
            return Ok(());
        }
        let target = target.filter(|target| target.starts_with('{'));
        let target = target.unwrap_or("{}");
        self.work.spend(target.len() + patch.len())?;
        let target = members_of(target);
        let patch = members_of(patch);
        let mut sent: HashMap<Cow<'_, [u8]>, Sent<'_>> = HashMap::with_capacity(patch.len());
        for (at, (key, value)) in patch.iter().enumerate() {
            let member = Sent {
                value,
                at,
                target_at: None,
            };
            sent.insert(unquote(key), member);
        }
        for (at, (key, _)) in target.iter().enumerate() {
            if let Some(sent) = sent.get_mut(unquote(key).as_ref()) {
                sent.target_at = Some(at);
            }
        }
        self.out.push(b'{');
        let start = self.out.len();
        for (at, (key, value)) in target.iter().enumerate() {
            match sent.get(unquote(key).as_ref()) {
                Some(Sent { value: "null", .. }) => {}
                Some(sent) if sent.target_at == Some(at) => {
                    self.key(start, key);
                    self.value(Some(value), sent.value)?;
                }
                _ => {
                    self.key(start, key);
                    self.out.extend_from_slice(value.as_bytes());
                }
            }
        }
        for (at, (key, value)) in patch.iter().enumerate() {
            let sent = &sent[unquote(key).as_ref()];
            if sent.at == at && sent.target_at.is_none() && *value != "null" {
                self.key(start, key);
                self.value(None, value)?;
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Begins a member of the object whose members begin at `start` of the output.
    fn key(&mut self, start: usize, key: &str) {
        if self.out.len() > start {
            self.out.push(b',');
        }
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(b':');
    }
}

fn members_of(object: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    assert_valid(members(object, |key, value| found.push((key, value))));
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::limits::EDIT_WORK_BYTES_MAX;

    fn work() -> Work {
        Work::up_to(EDIT_WORK_BYTES_MAX)
    }

    fn merged(document: Option<&str>, patch: &str) -> String {
        let patch = Bytes::copy_from_slice(patch.as_bytes());
        let edited = merge(&patch, Absent::Create, document, &mut work()).expect("little work");
        let document = edited.expect("it may create").document;
        String::from_utf8(document.to_vec()).expect("UTF-8")
    }

    fn check(document: &str, patch: &str, expected: &str) {
        assert_eq!(
            merged(Some(document), patch),
            expected,
            "{document} {patch}"
        );
    }

    #[test]
    fn the_cases_of_the_rfc_come_out_as_it_says() {
        // RFC 7396, appendix A.
        check(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#);
        check(r#"{"a":"b"}"#, r#"{"a":null}"#, "{}");
        check(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#);
        check(r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#);
        check(
            r#"{"a":{"b":"c"}}"#,
            r#"{"a":{"b":"d","c":null}}"#,
            r#"{"a":{"b":"d"}}"#,
        );
        check(r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#);
        check(r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#);
        check(r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#);
        check(r#"{"a":"foo"}"#, "null", "null");
        check(r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#);
        check(r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#);
        check("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#);
        check("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#);
    }

    #[test]
    fn what_a_patch_does_not_name_stays_byte_for_byte_where_it_is() {
        check(
            r#"{"z":100000000000000000001,"a":{"\u0041":1e400,"b":[1.0,{"x":null}]},"k":"\/"}"#,
            r#"{"a":{"b":2,"c":-0.0},"\u006b":null}"#,
            r#"{"z":100000000000000000001,"a":{"\u0041":1e400,"b":2,"c":-0.0}}"#,
        );
        check(
            r#"{"a":[null]}"#,
            r#"{"a":[{"b":null}]}"#,
            r#"{"a":[{"b":null}]}"#,
        );
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_one_counts() {
        check(r#"{"a":1,"a":2}"#, r#"{"\u0061":3}"#, r#"{"a":1,"a":3}"#);
        check(r#"{"a":1,"a":2,"b":3}"#, r#"{"a":null}"#, r#"{"b":3}"#);
        check("{}", r#"{"a":{"x":1},"a":{"y":1}}"#, r#"{"a":{"y":1}}"#);
        check(r#"{"a":1}"#, r#"{"a":2,"a":null}"#, "{}");
        check("{}", r#"{"a":null,"a":2}"#, r#"{"a":2}"#);
    }

    #[test]
    fn a_merge_creates_a_document_only_if_it_may() {
        let patch = Bytes::from_static(b"{\"a\":null,\"b\":{\"c\":null,\"d\":1}}");
        assert_eq!(merge(&patch, Absent::Missing, None, &mut work()), Ok(None));
        assert_eq!(
            merged(None, r#"{"a":null,"b":{"c":null,"d":1}}"#),
            r#"{"b":{"d":1}}"#
        );
        assert_eq!(merged(None, "7"), "7");
    }

    #[test]
    fn a_deep_patch_of_a_large_document_is_refused_before_it_takes_long() {
        let depth = 99;
        let long = "x".repeat(8 << 20);
        let document = format!("{}\"{long}\"{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let patch = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let patch = Bytes::from(patch);
        let refused = merge(&patch, Absent::Missing, Some(&document), &mut work());
        assert_eq!(refused, Err(EditRefusal::TooLarge));
    }

    /// The RFC's own pseudocode (section 2), on trees.
    fn merged_as_trees(target: Value, patch: Value) -> Value {
        let Value::Object(patch) = patch else {
            return patch;
        };
        let mut target = match target {
            Value::Object(target) => target,
            _ => serde_json::Map::new(),
        };
        for (key, value) in patch {
            if value.is_null() {
                target.remove(&key);
            } else {
                let before = target.remove(&key).unwrap_or(Value::Null);
                target.insert(key, merged_as_trees(before, value));
            }
        }
        Value::Object(target)
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i8>().prop_map(Value::from),
            "[a\"é]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[ab\"]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_merge_of_texts_means_what_the_merge_of_their_trees_does(
            target in values(), patch in values()
        ) {
            let text = merged(Some(&target.to_string()), &patch.to_string());
            let got: Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(got, merged_as_trees(target, patch));
        }
    }
}
