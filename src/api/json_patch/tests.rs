//! JSON patches on documents, and held against another implementation of the RFC.

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::*;
use crate::{api::json::minify, limits::EDIT_WORK_BYTES_MAX};

fn planned(patch: &str) -> Result<Box<[PatchStep]>, Problem> {
    let minified = minify(patch.as_bytes()).expect("JSON");
    steps(&Bytes::copy_from_slice(&minified))
}

fn work() -> Work {
    Work::up_to(EDIT_WORK_BYTES_MAX)
}

fn patched(document: &str, patch: &str) -> Result<String, EditRefusal> {
    let steps = planned(patch).unwrap_or_else(|problem| panic!("{patch}: {problem:?}"));
    let edited = apply(&steps, Some(document), 1 << 23, &mut work())?;
    let document = edited.expect("there is a document").document.to_vec();
    Ok(String::from_utf8(document).expect("UTF-8"))
}

#[track_caller]
fn check(document: &str, patch: &str, expected: &str) {
    let got = patched(document, patch);
    assert_eq!(got.as_deref(), Ok(expected), "{document} {patch}");
}

#[track_caller]
fn check_refused(document: &str, patch: &str, expected: EditRefusal) {
    assert_eq!(
        patched(document, patch),
        Err(expected),
        "{document} {patch}"
    );
}

const NO_TARGET: EditRefusal = EditRefusal::NoTarget { step: 0 };

#[test]
fn add_sets_members_and_inserts_elements() {
    let add =
        |path: &str, value: &str| format!(r#"[{{"op":"add","path":"{path}","value":{value}}}]"#);
    check("{}", &add("/a", "1"), r#"{"a":1}"#);
    check(
        r#"{"a":1,"b":2}"#,
        &add("/a", "[1.0]"),
        r#"{"a":[1.0],"b":2}"#,
    );
    check(r#"{"a":1}"#, &add("/a", "null"), r#"{"a":null}"#);
    check(r#"{"a":1}"#, &add("", "[]"), "[]");
    check("7", &add("", "{}"), "{}");
    check("{}", &add("/", "1"), r#"{"":1}"#);
    check(
        "{}",
        &add("/~01~1/", "1").replace("~1/", "~1"),
        r#"{"~1/":1}"#,
    );
    check(r#"{"":{}}"#, &add("//", "1"), r#"{"":{"":1}}"#);
    check("[1,2]", &add("/0", "0"), "[0,1,2]");
    check("[1,2]", &add("/1", "0"), "[1,0,2]");
    check("[1,2]", &add("/2", "0"), "[1,2,0]");
    check("[1,2]", &add("/-", "[0]"), "[1,2,[0]]");
    check("[]", &add("/0", "0"), "[0]");
    check(r#"{"0":1}"#, &add("/0", "2"), r#"{"0":2}"#);
    check(
        r#"{"a":[{"b":1}]}"#,
        &add("/a/0/c", "2"),
        r#"{"a":[{"b":1,"c":2}]}"#,
    );
    check("{}", &add("/\\u00e9\\\"", "1"), r#"{"é\"":1}"#);
    for path in [
        "/3",
        "/-1",
        "/01",
        "/+1",
        "/1e0",
        "/a",
        "/",
        "/ 1",
        "/0/0",
        "/99999999999999999999",
    ] {
        check_refused("[1,2]", &add(path, "0"), NO_TARGET);
    }
    for path in ["/a/b", "/b/c", "/c/-"] {
        check_refused(r#"{"a":1,"c":"x"}"#, &add(path, "0"), NO_TARGET);
    }
}

#[test]
fn remove_and_replace_need_what_they_name() {
    let remove = |path: &str| format!(r#"[{{"op":"remove","path":"{path}"}}]"#);
    let replace = |path: &str| format!(r#"[{{"op":"replace","path":"{path}","value":0}}]"#);
    check(r#"{"a":1,"b":2,"c":3}"#, &remove("/b"), r#"{"a":1,"c":3}"#);
    check(r#"{"a":null}"#, &remove("/a"), "{}");
    check("[1,[2,3],4]", &remove("/1/0"), "[1,[3],4]");
    check(r#"{"a":1,"b":2}"#, &replace("/a"), r#"{"a":0,"b":2}"#);
    check("[1,2]", &replace("/1"), "[1,0]");
    check(r#"{"a":1}"#, &replace(""), "0");
    for path in ["/b", "/a/b", "/-", "/0"] {
        check_refused(r#"{"a":1}"#, &remove(path), NO_TARGET);
        check_refused(r#"{"a":1}"#, &replace(path), NO_TARGET);
    }
    for path in ["/2", "/-", "/01", "/a"] {
        check_refused("[1,2]", &remove(path), NO_TARGET);
        check_refused("[1,2]", &replace(path), NO_TARGET);
    }
}

#[test]
fn move_and_copy_take_what_is_there() {
    let step = |op: &str, from: &str, path: &str| {
        format!(r#"[{{"op":"{op}","from":"{from}","path":"{path}"}}]"#)
    };
    let document = r#"{"a":{"x":1e400},"b":[1,2,3]}"#;
    check(
        document,
        &step("move", "/a/x", "/b/0"),
        r#"{"a":{},"b":[1e400,1,2,3]}"#,
    );
    check(
        document,
        &step("move", "/b/0", "/b/2"),
        r#"{"a":{"x":1e400},"b":[2,3,1]}"#,
    );
    check(document, &step("move", "/a", "/b"), r#"{"b":{"x":1e400}}"#);
    check(document, &step("move", "/b", ""), "[1,2,3]");
    check(document, &step("move", "/a", "/a"), document);
    check(document, &step("move", "", ""), document);
    check(
        document,
        &step("copy", "/a", "/a/y"),
        r#"{"a":{"x":1e400,"y":{"x":1e400}},"b":[1,2,3]}"#,
    );
    check("[1]", &step("copy", "", "/-"), "[1,[1]]");
    check(r#"{"a":{"b":1}}"#, &step("copy", "/a/b", ""), "1");
    for (from, path) in [
        ("/c", "/d"),
        ("/b/3", "/d"),
        ("/a", "/c/d"),
        ("/b/0", "/b/3"),
        ("/c", "/c"),
    ] {
        check_refused(document, &step("move", from, path), NO_TARGET);
    }
    check_refused(document, &step("copy", "/b/-", "/d"), NO_TARGET);
}

#[test]
fn a_test_holds_if_the_values_are_equal() {
    let test =
        |path: &str, value: &str| format!(r#"[{{"op":"test","path":"{path}","value":{value}}}]"#);
    let document = r#"{"a":{"x":1.0,"y":["\u0041",null]},"n":100000000000000000001,"s":"1"}"#;
    for (path, value) in [
        ("/a", r#"{"y":["A",null],"x":10e-1}"#),
        ("/a/x", "1"),
        ("/n", "1.00000000000000000001e20"),
        ("/a/y/1", "null"),
        ("", document),
    ] {
        check(document, &test(path, value), document);
    }
    for (path, value) in [
        ("/a", r#"{"x":1}"#),
        ("/n", "100000000000000000000"),
        ("/s", "1"),
        ("/a/y", r#"[null,"A"]"#),
        ("/a/y/1", "false"),
        ("", "{}"),
    ] {
        let failed = EditRefusal::TestFailed { step: 0 };
        check_refused(document, &test(path, value), failed);
    }
    check_refused(document, &test("/b", "null"), NO_TARGET);
}

#[test]
fn steps_go_on_from_one_another_and_a_failing_one_is_named() {
    check(
        r#"{"a":[1]}"#,
        r#"[
            {"op":"add","path":"/b","value":{"c":[]}},
            {"op":"copy","from":"/a","path":"/b/c/-"},
            {"op":"add","path":"/b/c/0/1","value":2},
            {"op":"test","path":"/b","value":{"c":[[1,2]]}},
            {"op":"move","from":"/b/c/0","path":"/a"},
            {"op":"remove","path":"/b"}
        ]"#,
        r#"{"a":[1,2]}"#,
    );
    check(r#"{"a":1}"#, "[]", r#"{"a":1}"#);
    check_refused(
        "[]",
        r#"[{"op":"add","path":"/0","value":1},{"op":"test","path":"/0","value":2}]"#,
        EditRefusal::TestFailed { step: 1 },
    );
    check_refused(
        "[]",
        r#"[{"op":"add","path":"/0","value":1},{"op":"remove","path":"/1"}]"#,
        EditRefusal::NoTarget { step: 1 },
    );
}

#[test]
fn what_no_step_names_stays_byte_for_byte() {
    check(
        r#"{"z":100000000000000000001,"\u0061":{"n":1.0,"x":[{"\/":1e400}]},"k":"\ud800"}"#,
        r#"[{"op":"add","path":"/a/x/0/new","value":-0.0},{"op":"remove","path":"/a/n"}]"#,
        r#"{"z":100000000000000000001,"\u0061":{"x":[{"\/":1e400,"new":-0.0}]},"k":"\ud800"}"#,
    );
    // Of a key that stands twice, the last one counts; all go when it is removed.
    check(
        r#"{"a":1,"b":0,"a":2}"#,
        r#"[{"op":"test","path":"/a","value":2},{"op":"replace","path":"/a","value":3}]"#,
        r#"{"a":1,"b":0,"a":3}"#,
    );
    check(
        r#"{"a":1,"b":0,"a":2}"#,
        r#"[{"op":"remove","path":"/a"}]"#,
        r#"{"b":0}"#,
    );
}

#[test]
fn a_body_that_is_no_patch_is_refused_with_its_place() {
    for (patch, part) in [
        ("{}", "list of operations"),
        ("1", "list of operations"),
        ("[1]", "patch[0]"),
        ("[{}]", "patch[0]: op is missing"),
        (r#"[{"op":"add","path":"/a"}]"#, "value is missing"),
        (r#"[{"op":"add","value":1}]"#, "path is missing"),
        (r#"[{"op":"move","path":"/a"}]"#, "from is missing"),
        (
            r#"[{"op":"copy","path":"/a","value":1}]"#,
            "from is missing",
        ),
        (r#"[{"op":"spam","path":"/a","value":1}]"#, "op is none of"),
        (r#"[{"op":"ADD","path":"/a","value":1}]"#, "op is none of"),
        (r#"[{"op":1,"path":"/a","value":1}]"#, "op is not a string"),
        (r#"[{"op":"remove","path":null}]"#, "path is not a string"),
        (
            r#"[{"op":"remove","path":"a"}]"#,
            "path does not begin with /",
        ),
        (r#"[{"op":"remove","path":"/~"}]"#, "path has a ~"),
        (r#"[{"op":"remove","path":""}]"#, "DELETE"),
        (
            r#"[{"op":"move","from":"/a","path":"/a/b"}]"#,
            "into itself",
        ),
        (r#"[{"op":"move","from":"","path":"/a"}]"#, "into itself"),
        (
            r#"[{"op":"test","path":"","value":1},{"op":"add","op":"add","path":"/a","value":1}]"#,
            "patch[1]: op stands in",
        ),
    ] {
        let problem = planned(patch).expect_err(patch);
        assert_eq!(problem.status.code(), 400, "{patch}");
        assert!(
            problem.message.contains(part),
            "{patch}: {}",
            problem.message
        );
    }
    // Members that an operation does not need are ignored (RFC 6902, section 4).
    check(
        "{}",
        r#"[{"op":"add","path":"/a","value":1,"x":2,"from":3}]"#,
        r#"{"a":1}"#,
    );
    let many = format!("[{}1]", "1,".repeat(PATCH_STEPS_MAX));
    let problem = planned(&many).expect_err("too many");
    assert!(problem.message.contains("10000"), "{}", problem.message);
}

#[test]
fn a_patch_cannot_nest_deeper_than_a_document_may() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let path = |depth: usize| "/0".repeat(depth);
    let replace = |depth: usize, levels: usize| {
        let value = nested(levels);
        let path = path(depth);
        format!(r#"[{{"op":"replace","path":"{path}","value":{value}}}]"#)
    };
    check(&nested(98), &replace(98, 2), &nested(100));
    let too_deep = EditRefusal::TooDeep { step: 0 };
    check_refused(&nested(98), &replace(98, 3), too_deep);
    // Brackets in strings are no nesting.
    let brackets = format!("[\"{}\"]", "[\\\"".repeat(200));
    let add = format!(r#"[{{"op":"add","path":"/-","value":{brackets}}}]"#);
    check("[]", &add, &format!("[{brackets}]"));
}

#[test]
fn a_patch_that_doubles_and_doubles_is_refused_before_it_takes_long() {
    let double = r#"{"op":"copy","from":"","path":"/0"},"#.repeat(90);
    let patch = format!("[{}]", double.trim_end_matches(','));
    let document = format!("[\"{}\"]", "x".repeat(1 << 20));
    check_refused(&document, &patch, EditRefusal::TooLarge);
    // Without nesting the sum of the copies is what counts.
    let copy = r#"{"op":"copy","from":"/0","path":"/-"},"#.repeat(9_999);
    let patch = format!("[{}]", copy.trim_end_matches(','));
    check_refused(&document, &patch, EditRefusal::TooLarge);
    // Nor does it matter whether what is copied was opened before.
    let opened = r#"{"op":"add","path":"/0/-","value":[]},"#;
    let copy = r#"{"op":"copy","from":"/0","path":"/-"},"#.repeat(9_999);
    let patch = format!("[{opened}{}]", copy.trim_end_matches(','));
    let document = format!("[[{}1]]", "1,".repeat(20_000));
    check_refused(&document, &patch, EditRefusal::TooLarge);
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (0..3).prop_map(Value::from),
        "[a\"]{0,1}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[ab~/]?", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The pointers into `value`, and some that lead just beside it.
fn pointers(value: &Value, prefix: &str, found: &mut Vec<String>) {
    found.push(prefix.to_owned());
    match value {
        Value::Array(elements) => {
            for (n, element) in elements.iter().enumerate() {
                pointers(element, &format!("{prefix}/{n}"), found);
            }
            found.push(format!("{prefix}/{}", elements.len()));
            found.push(format!("{prefix}/-"));
            found.push(format!("{prefix}/00"));
        }
        Value::Object(members) => {
            for (key, value) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{prefix}/{key}"), found);
            }
            found.push(format!("{prefix}/new"));
        }
        _ => found.push(format!("{prefix}/0")),
    }
}

/// One step, its places chosen among those of `document`.
fn some_step(document: &Value, op: u8, places: [Index; 2], value: &Value) -> Value {
    let mut found = Vec::new();
    pointers(document, "", &mut found);
    let [path, from] = places.map(|index| index.get(&found).clone());
    match op {
        0 => json!({"op": "add", "path": path, "value": value}),
        1 => json!({"op": "remove", "path": path}),
        2 => json!({"op": "replace", "path": path, "value": value}),
        // The other one has no way to move the whole document to its own place.
        3 if !path.is_empty() => json!({"op": "move", "path": path, "from": from}),
        3 | 4 => json!({"op": "copy", "path": path, "from": from}),
        _ => {
            let there = document.pointer(&path).unwrap_or(value);
            json!({"op": "test", "path": path, "value": there})
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_patch_does_what_another_implementation_does(
        document in documents(),
        choices in proptest::collection::vec((0..6_u8, any::<[Index; 2]>(), documents()), 1..4)
    ) {
        let (mut expected, mut is_applied, mut patch) = (document.clone(), true, Vec::new());
        for (op, places, value) in &choices {
            // A test is of the document as it is at that step.
            let step = some_step(&expected, *op, *places, value);
            let one: json_patch::Patch = serde_json::from_value(json!([step])).expect("a patch");
            is_applied &= json_patch::patch(&mut expected, &one).is_ok();
            patch.push(step);
            if !is_applied {
                break;
            }
        }
        let patch = Value::from(patch).to_string();
        let got = match planned(&patch) {
            Ok(steps) => apply(&steps, Some(&document.to_string()), 1 << 20, &mut work())
                .ok()
                .map(|edited| edited.expect("there is a document").document),
            Err(_) => None,
        };
        let got = got.map(|text| serde_json::from_slice::<Value>(&text).expect("JSON"));
        prop_assert_eq!(got, is_applied.then_some(expected), "{} {}", document, patch);
    }
}
