//! What every script has in common, and those that need no other machine.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

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
fn a_release_has_a_date_also_where_git_says_nothing() {
    let home = TempDir::new();
    symlink("/bin/true", home.path().join("git")).expect("a directory of ours");
    let date = |environment: &str| {
        let code = format!(
            "set -euo pipefail; source {}; export {environment}; source_date",
            text(&script("common.sh"))
        );
        succeed("bash", &["-c", &code]).stdout.trim().to_owned()
    };
    assert_eq!(date("SOURCE_DATE_EPOCH=1234567890"), "1234567890");
    let silent = format!("SOURCE_DATE_EPOCH= PATH={}:$PATH", text(home.path()));
    let lock = fs::metadata(repository().join("Cargo.lock")).expect("it is there");
    assert_eq!(date(&silent), lock.mtime().to_string());
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

/// What stands in for the command `heroku`: it notes what it is told, and knows one app.
const HEROKU: &str = r#"#!/bin/sh
printf '%s\n' "$*" >>"$STUB/calls"
case "$*" in
    "apps:info --shell --app known")
        printf 'git_url=%s\nweb_url=https://known.example/\n' "$STUB/there.git" ;;
    "apps:info"*) echo "Couldn't find that app." >&2; exit 1 ;;
    config:set*) printf 'it says: %s\n' "$*" ;;
esac
"#;

/// Runs heroku.sh with the stub; what it said and whether it succeeded.
fn heroku(home: &Path, arguments: &[&str]) -> (bool, String) {
    let path = std::env::var("PATH").expect("there is one");
    let output = Command::new(script("heroku.sh"))
        .args(arguments)
        .current_dir(home)
        .env("STUB", home)
        .env("PATH", format!("{}:{path}", text(home)))
        .stdin(Stdio::null())
        .output()
        .expect("it can be run");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

#[test]
fn heroku_is_given_what_is_committed_and_a_token_that_is_not_printed() {
    let home = TempDir::new();
    let home = home.path();
    let stub = home.join("heroku");
    fs::write(&stub, HEROKU).expect("writable");
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let there = home.join("there.git");
    succeed("git", &["init", "--quiet", "--bare", text(&there)]);
    let before = succeed("git", &["-C", text(repository()), "status", "--porcelain"]);

    let (done, said) = heroku(home, &["unknown"]);
    assert!(!done && said.contains("heroku create unknown"), "{said}");
    let (done, said) = heroku(home, &["known"]);
    assert!(done, "{said}");
    let tokens = fs::read_to_string(home.join("known.tokens")).expect("made");
    let (token, _) = tokens.split_once(' ').expect("a token and its right");
    assert!(!said.contains(token), "it was printed");
    // Again: with the same token.
    let (done, said) = heroku(home, &["known", "--token-file", "known.tokens"]);
    assert!(done, "{said}");
    let calls = fs::read_to_string(home.join("calls")).expect("it was called");
    let mut expected = String::from("apps:info --shell --app unknown\n");
    for _ in 0..2 {
        expected += "apps:info --shell --app known\nstack:set container --app known\n";
        expected += &format!("config:set OXDAAS_TOKENS={token} rw --app known\n");
    }
    assert_eq!(calls, expected);

    let shown = |revision: &str, repository: &Path| {
        let git = ["--git-dir", text(repository), "show", revision];
        succeed("git", &git).stdout
    };
    let ours = succeed(
        "git",
        &["-C", text(repository()), "rev-parse", "--absolute-git-dir"],
    );
    let ours = Path::new(ours.stdout.trim());
    for file in ["Dockerfile", "Cargo.lock", "src/main.rs"] {
        assert_eq!(
            shown(&format!("main:{file}"), &there),
            shown(&format!("HEAD:{file}"), ours),
            "{file}"
        );
    }
    let settings = fs::read_to_string(script("heroku/heroku.yml")).expect("readable");
    assert_eq!(shown("main:heroku.yml", &there), settings);
    let after = succeed("git", &["-C", text(repository()), "status", "--porcelain"]);
    assert_eq!(before.stdout, after.stdout, "the work tree has changed");
}

/// A process that ends with the test.
struct Dyno(Child);

impl Drop for Dyno {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_command_for_heroku_serves_at_its_port_with_its_tokens() {
    let home = TempDir::new();
    let settings = fs::read_to_string(script("heroku/heroku.yml")).expect("readable");
    let (_, run) = settings.split_once("\nrun:\n").expect("a section");
    let command = run.trim().strip_prefix("web: ").expect("a command");
    let path = std::env::var("PATH").expect("there is one");
    let binary = Path::new(env!("CARGO_BIN_EXE_oxdaas"));
    let directory = binary.parent().expect("it is in a directory");
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("PATH", format!("{}:{path}", text(directory)))
        .env("PORT", "0")
        .env("OXDAAS_CORES", "1")
        .env("OXDAAS_TOKENS", "secret rw\nlook ro")
        .env("TMPDIR", home.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let stdout = child.stdout.take().expect("it is piped");
    let dyno = Dyno(child);
    let line = BufReader::new(stdout).lines().next();
    let line = line.expect("it is ready").expect("UTF-8");
    let (_, address) = line
        .split_once("listening on 0.0.0.0:")
        .expect("all addresses");
    let (port, _) = address.split_once(',').expect("more follows");
    let ask = |token: &str| {
        let url = format!("http://127.0.0.1:{port}/docs/1");
        let field = format!("Authorization: Bearer {token}");
        let put = [
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-X",
            "PUT",
            "-d",
            "1",
        ];
        let json = ["-H", "Content-Type: application/json", "-H", &field, &url];
        succeed("curl", &[&put[..], &json].concat()).stdout
    };
    assert_eq!(
        [ask("guess"), ask("look"), ask("secret")],
        ["401", "403", "201"]
    );
    // It took the shell's place, and does not hand on what it does not need.
    let environment = fs::read(format!("/proc/{}/environ", dyno.0.id())).expect("readable");
    assert!(!String::from_utf8_lossy(&environment).contains("secret"));
}
