//! `check`, `repair` and `dump`: what they say of a directory, and that the first
//! and the last change nothing.

mod support;

use std::fs;

use support::{
    json,
    server::{Exit, Launch, TempDir, find_bytes, snapshot},
};

/// A cleanly closed directory of several segments: documents 0 to 99, 7 removed,
/// 8 replaced, one under a name, one under a chosen id.
fn filled() -> TempDir {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).small_segments().start();
    let mut client = server.connect();
    for n in 0..100 {
        assert_eq!(
            client
                .put(&format!("/docs/{n}"), format!("\"document {n}\""))
                .status,
            201
        );
    }
    // Before the removal: an id that is free again may be chosen.
    assert_eq!(client.post("/docs", "\"chosen\"").status, 201);
    assert_eq!(client.delete("/docs/7").status, 204);
    assert_eq!(client.put("/docs/8", "\"replaced\"").status, 200);
    assert_eq!(client.put("/docs/a%22name", "{\"b\":1.0}").status, 201);
    drop(client);
    server.stop();
    data
}

fn run(command: &str, paths: &[&std::path::Path]) -> Exit {
    paths
        .iter()
        .fold(Launch::bare(&[command]), |launch, path| launch.arg(*path))
        .run()
}

#[test]
fn check_reports_a_clean_directory_and_changes_nothing() {
    let data = filled();
    let before = snapshot(data.path());
    let exit = run("check", &[data.path()]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stdout.contains("101 documents"), "{exit:?}");
    assert!(
        exit.stdout.contains("104 records") || exit.stdout.contains("105 records"),
        "{exit:?}"
    );
    assert!(exit.stdout.contains("closed cleanly"), "{exit:?}");
    assert_eq!(snapshot(data.path()), before);
}

#[test]
fn check_names_file_and_offset_of_damage() {
    let data = filled();
    let (file, at) = find_bytes(data.path(), b"document 20\"");
    flip(&file, at);
    let before = snapshot(data.path());
    let exit = run("check", &[data.path()]);
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let name = file.to_string_lossy();
    assert!(
        exit.stderr.contains(&*name) && exit.stderr.contains("at offset"),
        "{exit:?}"
    );
    assert_eq!(snapshot(data.path()), before);
}

#[test]
fn what_cannot_be_checked_is_said() {
    let missing = TempDir::new();
    for path in [missing.path().join("none"), "/dev/null".into()] {
        let exit = run("check", &[&path]);
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.contains(&*path.to_string_lossy()), "{exit:?}");
    }
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    for command in ["check", "dump"] {
        let exit = run(command, &[data.path()]);
        assert_ne!(exit.code, Some(0), "{exit:?}");
        assert!(exit.stderr.contains("locked"), "{exit:?}");
    }
    server.stop();
}

#[test]
fn repair_brings_over_everything_but_the_damaged_record() {
    let data = filled();
    let (file, at) = find_bytes(data.path(), b"document 20\"");
    flip(&file, at);
    let before = snapshot(data.path());
    let home = TempDir::new();
    let new = home.path().join("new");
    let exit = run("repair", &[data.path(), &new]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(
        exit.stdout.contains("lost: ") && exit.stdout.contains("100 documents"),
        "{exit:?}"
    );
    assert_eq!(
        snapshot(data.path()),
        before,
        "the damaged directory is evidence"
    );
    assert_eq!(run("check", &[&new]).code, Some(0));

    let server = Launch::serve(&new).cores(2).start();
    let mut client = server.connect();
    for n in (0..100).filter(|n| ![7, 8, 20].contains(n)) {
        assert_eq!(
            client.get(&format!("/docs/{n}")).text(),
            format!("\"document {n}\"")
        );
    }
    assert_eq!(client.get("/docs/7").status, 404);
    assert_eq!(client.get("/docs/8").text(), "\"replaced\"");
    assert_eq!(client.get("/docs/20").status, 404);
    assert_eq!(client.get("/docs/a%22name").text(), "{\"b\":1.0}");
    // The id that was chosen before is not chosen again.
    let chosen = json(&client.post("/docs", "1").body)["id"].as_i64();
    assert!(chosen > Some(100), "{chosen:?}");
    server.stop();

    let again = run("repair", &[data.path(), &new]);
    assert_eq!(
        again.code,
        Some(1),
        "a directory in use for something is not written to"
    );
    assert!(again.stderr.contains("not empty"), "{again:?}");
}

#[test]
fn dump_prints_every_change_in_log_order() {
    let data = filled();
    let exit = run("dump", &[data.path()]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let lines: Vec<_> = exit
        .stdout
        .lines()
        .map(|line| json(line.as_bytes()))
        .collect();
    assert_eq!(lines.len(), 104);
    let lsns: Vec<_> = lines
        .iter()
        .filter_map(|line| line["lsn"].as_u64())
        .collect();
    assert_eq!(lsns, (1..=104).collect::<Vec<_>>());
    assert!(
        exit.stdout
            .contains("\"id\":\"a\\\"name\",\"data\":{\"b\":1.0}}"),
        "bytes as stored"
    );
    assert!(
        lines
            .iter()
            .any(|line| line["id"] == 7 && line["deleted"] == true)
    );
}

fn flip(file: &std::path::Path, at: usize) {
    let mut bytes = fs::read(file).expect("the segment can be read");
    bytes[at] ^= 1;
    fs::write(file, &bytes).expect("the segment can be written");
}
