//! `oxdaas export`: what is stored comes out, and goes in again, byte for byte.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use support::server::{Exit, Launch, TempDir, find_bytes, snapshot};

fn export(data: &Path) -> Exit {
    let output = Command::new(env!("CARGO_BIN_EXE_oxdaas"))
        .arg("export")
        .arg(data)
        .env_remove("OXDAAS_DATA_DIR")
        .output()
        .expect("it runs");
    Exit {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// The lines of a directory that can be exported, sorted.
#[track_caller]
fn lines(data: &Path) -> Vec<String> {
    let exit = export(data);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let mut lines: Vec<String> = exit.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Documents in many segments, some of them replaced or removed; the lines that show them.
fn filled(data: &Path) -> Vec<String> {
    let server = Launch::serve(data).cores(2).small_segments().start();
    let mut client = server.connect();
    let mut expected = Vec::new();
    for n in 0..300 {
        let target = format!("/docs/{n}");
        client.put(&target, format!("\"first {n}\""));
        match n % 3 {
            0 => {
                client.put(&target, format!("{{\"n\": {n}}}"));
                expected.push(format!("{{\"id\":{n},\"data\":{{\"n\":{n}}}}}"));
            }
            1 => assert_eq!(client.delete(&target).status, 204),
            _ => expected.push(format!("{{\"id\":{n},\"data\":\"first {n}\"}}")),
        }
    }
    for (target, document, id) in [
        (
            "/docs/a%22b%5C%2F%C3%BC%E2%80%A8",
            "[]",
            "\"a\\\"b\\\\/ü\u{2028}\"",
        ),
        ("/docs/007", "1e400", "\"007\""),
        ("/docs/-9223372036854775808", "-0", "-9223372036854775808"),
        (
            "/docs/%F0%9F%A6%80",
            "{\"a\":123456789012345678901234567890.10,\"a\":\"\\ud83e\\u00fc\\/\"}",
            "\"🦀\"",
        ),
    ] {
        assert_eq!(client.put(target, document).status, 201);
        expected.push(format!("{{\"id\":{id},\"data\":{document}}}"));
    }
    drop(client);
    server.stop();
    expected.sort();
    expected
}

#[test]
fn what_is_exported_is_imported_and_exported_again_byte_for_byte() {
    let data = TempDir::new();
    let expected = filled(data.path());
    let before = snapshot(data.path());
    assert_eq!(lines(data.path()), expected);
    assert_eq!(snapshot(data.path()), before, "nothing is changed");

    let home = TempDir::new();
    let file = home.path().join("lines");
    let exit = export(data.path());
    fs::write(&file, &exit.stdout).expect("written");
    let other = TempDir::new();
    let server = Launch::serve(other.path()).cores(1).start();
    let imported = Command::new(env!("CARGO_BIN_EXE_oxdaas"))
        .args(["import", "--url", &format!("http://{}", server.address)])
        .arg(&file)
        .output()
        .expect("it runs");
    assert_eq!(imported.status.code(), Some(0), "{imported:?}");
    server.stop();
    assert_eq!(lines(other.path()), expected);
}

#[test]
fn an_export_after_a_crash_shows_what_a_restart_would() {
    let data = TempDir::new();
    let expected = filled(data.path());
    let server = Launch::serve(data.path()).cores(2).small_segments().start();
    let mut client = server.connect();
    assert_eq!(
        client.put("/docs/torn", "\"never acknowledged\"").status,
        201
    );
    drop(client);
    server.kill();
    let (file, at) = find_bytes(data.path(), b"never acknowledged");
    let mut bytes = fs::read(&file).expect("read");
    bytes[at..].fill(0);
    fs::write(&file, bytes).expect("written");
    assert_eq!(lines(data.path()), expected);
}

#[test]
fn the_log_position_is_that_of_the_last_write() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    for n in 0..5 {
        client.put("/docs/1", n.to_string());
    }
    drop(client);
    server.kill();
    let exit = export(data.path());
    assert_eq!(exit.stdout, "{\"id\":1,\"data\":4}\n");
    assert_eq!(exit.stderr, "1 documents, as of log position 5\n");
}

#[test]
fn what_cannot_be_exported_says_why_and_an_empty_store_is_no_fault() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(1).start();
    let exit = export(data.path());
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert!(exit.stderr.contains("in use by process"), "{exit:?}");
    server.stop();
    let exit = export(data.path());
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), ""), "{exit:?}");

    let exit = export(&data.path().join("none"));
    assert_eq!(exit.code, Some(1), "{exit:?}");

    let damaged = TempDir::new();
    filled(damaged.path());
    let (file, at) = find_bytes(damaged.path(), b"first 2\"");
    let mut bytes = fs::read(&file).expect("read");
    bytes[at] ^= 1;
    fs::write(&file, bytes).expect("written");
    let exit = export(damaged.path());
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(1), ""), "{exit:?}");
    assert!(exit.stderr.contains("at offset"), "{exit:?}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it() {
    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let mut client = server.connect();
    let long = format!("\"{}\"", "x".repeat(100_000));
    for n in 0..50 {
        client.put(&format!("/docs/{n}"), &long);
    }
    drop(client);
    server.stop();
    let mut child = Command::new(env!("CARGO_BIN_EXE_oxdaas"))
        .arg("export")
        .arg(data.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
