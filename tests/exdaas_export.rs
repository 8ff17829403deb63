//! `scripts/exdaas-export.escript`: what ExDaas has stored comes over as it was.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use support::{
    json,
    server::{Launch, TempDir, snapshot},
};

/// Where the project lies.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Tables in ExDaas's own shape in a directory; `None`, and it is said, without Erlang.
fn tables() -> Option<TempDir> {
    let directory = TempDir::new();
    let made = Command::new("escript")
        .arg(format!("{ROOT}/tests/exdaas/make-tables.escript"))
        .arg(directory.path())
        .output();
    match made {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            Some(directory)
        }
        Err(error) => {
            println!("skipped: escript does not run ({error}); it is in the package erlang-base");
            None
        }
    }
}

fn export(arguments: &[&Path]) -> Output {
    let mut command = Command::new("escript");
    command.arg(format!("{ROOT}/scripts/exdaas-export.escript"));
    command.args(arguments).output().expect("escript runs")
}

#[test]
fn what_exdaas_has_stored_is_imported_and_read_back() {
    let Some(directory) = tables() else { return };
    let before = snapshot(directory.path());
    let output = export(&[directory.path()]);
    assert_eq!(snapshot(directory.path()), before, "nothing is changed");
    let listed = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{listed}");
    for part in [
        "{12,#{<<\"tuple\">> => {1,2}}}: {1,2} is nothing that JSON has",
        ": a text is not UTF-8",
        "{20,[1|2]}: a list has a tail that is no list",
        ": two keys of a map are \"a\"",
        "{2.5,#{}}: the id is neither an integer nor a name",
        "{18446744073709551616,#{}}: the id has more than 64 bits",
        "dets_table_3: it was not closed; a copy of it is repaired",
    ] {
        assert!(listed.contains(part), "{part} is not in {listed}");
    }
    let home = TempDir::new();
    let file = home.path().join("documents.ndjson");
    fs::write(&file, &output.stdout).expect("written");

    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let imported = Command::new(env!("CARGO_BIN_EXE_oxdaas"))
        .args(["import", "--url", &format!("http://{}", server.address)])
        .arg(&file)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&imported.stdout).into_owned();
    assert_eq!(imported.status.code(), Some(0), "{imported:?}");
    assert!(said.contains("3012 documents stored"), "{said}");
    let mut client = server.connect();
    for (id, expected) in [
        (
            "1",
            r#"{"color":"blue","nested":[{"n":[1,[],{}]},null,true]}"#,
        ),
        ("2", r#"{"7":false,"name":"atom keys","other":"some_atom"}"#),
        (
            "3",
            r#"{"float":[0.1,1.0,-0.0,1.0e22,5.0e-324,1.7976931348623157e308]}"#,
        ),
        ("4", "[1,2,3]"),
        ("5", "null"),
        (
            "6",
            "{\"k\\\"ü\":\"\",\"text\":\"q\\\" b\\\\ \\n\\r\\t\\u0001 \u{7f} ü \u{2028} 🦀\"}",
        ),
        (
            "7",
            r#"{"big":123456789012345678901234567890,"neg":-9223372036854775809}"#,
        ),
        ("8", "\"a text\""),
        ("-4", r#"{"negative":"id"}"#),
        ("3999", r#"{"n":3999}"#),
        ("4011", r#"{"last":true,"n":4011}"#),
    ] {
        assert_eq!(client.get(&format!("/docs/{id}")).text(), expected);
        let face = json(&client.get(&format!("/api?id={id}")).body);
        assert_eq!(face["id"].to_string(), id);
    }
    for id in ["12", "counter", "user_id_counter"] {
        assert_eq!(client.get(&format!("/docs/{id}")).status, 404, "{id}");
    }
    server.stop();
}

#[test]
fn an_id_in_two_tables_is_listed_and_what_is_no_table_named() {
    let Some(directory) = tables() else { return };
    let table = directory.path().join("dets_table_2");
    let copy = directory.path().join("copy");
    fs::copy(&table, &copy).expect("copied");
    let output = export(&[&table, &copy]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let listed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(listed.contains("copy: id 2 stands in"), "{listed}");

    let none = directory.path().join("none");
    let empty = TempDir::new();
    let other = Path::new(ROOT).join("README.md");
    for path in [none.as_path(), empty.path(), &other] {
        let output = export(&[path]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(path.to_str().expect("UTF-8")), "{said}");
    }
}
