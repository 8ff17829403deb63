//! The public test suite for JSON patches (RFC 6902): every case of it over the wire.
//!
//! Its cases are not ours, so they are not kept here: they are read from the package of the
//! dev-dependency `json-patch`, which has them in `specs/`.

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use support::{
    client::Client,
    json,
    server::{Launch, TempDir},
};

/// The cases that are not disabled, of each file of the suite.
const FILES: [(&str, usize); 2] = [("tests.json", 102), ("spec_tests.json", 16)];

/// A case: `patch` on `doc` gives `expected` or an error, or succeeds if neither is said.
#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    comment: String,
    // As they are written: a member that stands twice must reach the server.
    doc: Box<RawValue>,
    patch: Box<RawValue>,
    expected: Option<Value>,
    error: Option<Value>,
    #[serde(default)]
    disabled: bool,
}

#[test]
fn every_case_of_the_public_suite_passes_over_the_wire() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    let suite = suite();
    for (file, count) in FILES {
        let cases = cases(&suite.join(file));
        let enabled = cases.iter().filter(|case| !case.disabled);
        let mut run_count = 0;
        for case in enabled {
            check(&mut client, &format!("/docs/{file}:{run_count}"), case);
            run_count += 1;
        }
        assert_eq!(run_count, count, "cases of {file}");
    }
    server.stop();
}

/// Stores the document of `case` as `target`, patches it, and compares what is there then.
fn check(client: &mut Client, target: &str, case: &Case) {
    let Case { doc, patch, .. } = case;
    let what = format!("{}: {doc} patched with {patch}", case.comment);
    assert_eq!(client.put(target, doc.get()).status, 201, "{what}");
    let declared = [("Content-Type", "application/json-patch+json")];
    let response = client.request("PATCH", target, &declared, patch.get());
    let stored = client.get(target);
    match (&case.error, &case.expected) {
        (Some(error), _) => {
            assert!(
                [400, 409].contains(&response.status),
                "{what}: {error}, not {response:?}"
            );
            assert_eq!(json(&stored.body), json(doc.get().as_bytes()), "{what}");
        }
        (None, Some(expected)) => {
            assert_eq!(response.status, 200, "{what}: {response:?}");
            assert_eq!(&json(&stored.body), expected, "{what}");
        }
        (None, None) => assert_eq!(response.status, 200, "{what}: {response:?}"),
    }
}

fn cases(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| {
        panic!(
            "{} is not readable ({error}); this test needs a version of the crate json-patch \
             whose package has specs/, see Cargo.toml",
            file.display()
        )
    });
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{} is no list of cases: {error}", file.display()))
}

/// The directory of the suite, in the source of the dev-dependency.
fn suite() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata = json(&output.stdout);
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages
        .iter()
        .find(|package| package["name"] == "json-patch")
        .expect("json-patch is a dev-dependency: the suite is in its package");
    let manifest = package["manifest_path"].as_str().expect("a path");
    Path::new(manifest).with_file_name("specs")
}
