//! What every script has in common, and those that need no other machine.

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use support::{
    script::{repository, run, script, succeed, text},
    server::TempDir,
};

/// The files below `scripts/` that match what find(1) is told.
fn files(matching: &[&str]) -> Vec<PathBuf> {
    let home = repository().join("scripts");
    let arguments = [&[text(&home), "-type", "f"], matching].concat();
    let said = succeed("find", &arguments);
    said.stdout.lines().map(PathBuf::from).collect()
}

/// The scripts in bash that people run; `common.sh` is sourced.
fn shell_scripts() -> Vec<PathBuf> {
    let found = files(&["-name", "*.sh", "!", "-name", "common.sh"]);
    assert!(found.len() > 5, "{found:?}");
    found
}

#[test]
fn what_can_be_run_has_its_run_bit_and_explains_itself() {
    let mut found = shell_scripts();
    for path in files(&["!", "-name", "*.sh"]) {
        let bytes = fs::read(&path).expect("readable");
        if bytes.starts_with(b"#!") {
            found.push(path);
        }
    }
    for other in ["documents.py", "exdaas-export.escript"] {
        assert!(found.contains(&script(other)), "{other} is not looked at");
    }
    for path in found {
        let name = path.display();
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name} cannot be run by everyone");
        for help in ["--help", "-h"] {
            let said = run(&path, &[help]);
            assert_eq!(said.code, Some(0), "{name} {help}: {said:?}");
            let file = path.file_name().expect("a file").to_string_lossy();
            assert!(said.stdout.contains(&*file), "{name} {help}: {said:?}");
        }
    }
}

#[test]
fn every_shell_script_is_strict_and_refuses_what_it_does_not_know() {
    for path in shell_scripts() {
        let script_text = fs::read_to_string(&path).expect("readable");
        let name = path.display();
        assert!(script_text.starts_with("#!/usr/bin/env bash\n# "), "{name}");
        assert!(script_text.contains("\nset -euo pipefail\n"), "{name}");
        let said = run(&path, &["--no-such-option"]);
        assert!(
            said.code.is_some_and(|code| code != 0) && said.stderr.contains("--no-such-option"),
            "{name}: {said:?}"
        );
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let mut checked = shell_scripts();
    checked.push(script("common.sh"));
    checked.push(repository().join(".ci/run"));
    let source = format!("--source-path={}", text(repository()));
    let mut arguments = vec!["--external-sources", &source];
    arguments.extend(checked.iter().map(|path| text(path)));
    succeed("shellcheck", &arguments);
}

#[test]
fn a_secret_is_random_and_in_its_file_alone() {
    let home = TempDir::new();
    let file = home.path().join("tokens");
    // What was there stays, also when it has no end of line and was open to all.
    fs::write(&file, "old rw").expect("writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let mut said = String::new();
    for arguments in [&[text(&file)][..], &[text(&file), "ro"]] {
        let made = succeed(script("secret.sh"), arguments);
        said += &(made.stdout + &made.stderr);
    }
    let mode = fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let lines = fs::read_to_string(&file).expect("readable");
    let lines: Vec<(&str, &str)> = lines.lines().filter_map(|l| l.split_once(' ')).collect();
    let [("old", "rw"), (first, "rw"), (second, "ro")] = lines[..] else {
        panic!("{lines:?}");
    };
    assert_ne!(first, second);
    for token in [first, second] {
        assert_eq!(token.len(), 43, "{token}");
        assert!(
            token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{token}"
        );
        assert!(!said.contains(token), "it was printed");
    }
}

#[test]
fn a_secret_with_an_unknown_right_is_not_made() {
    let home = TempDir::new();
    let file = home.path().join("tokens");
    let said = run(script("secret.sh"), &[text(&file), "all"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("rw or ro"), "{said:?}");
    assert!(!file.exists());
    let said = run(script("secret.sh"), &[text(home.path())]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("is no file"), "{said:?}");
}
