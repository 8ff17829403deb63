//! The programs in the README run as they stand there and print what they say they do.

mod support;

use std::process::Command;

use support::server::{Launch, TempDir};

const README: &str = include_str!("../README.md");

/// Seconds that an example may take.
const PATIENCE_S: &str = "60";

#[test]
fn the_python_example_prints_what_it_says() {
    check("python", "python3", "example.py", ("print(", "  # "));
}

#[test]
fn the_javascript_example_prints_what_it_says() {
    check(
        "javascript",
        "node",
        "example.mjs",
        ("console.log(", "  // "),
    );
}

/// Runs the README's block in `language` against a server, and compares what it prints with
/// the comments behind the lines that print.
fn check(language: &str, interpreter: &str, file: &str, (print, comment): (&str, &str)) {
    let example = block(language);
    let printing = example.lines().filter(|line| line.contains(print));
    let expected: Vec<&str> = printing
        .map(|line| line.split_once(comment).expect("it says what it prints").1)
        .collect();
    assert!(expected.len() > 2, "{example}");

    let data = TempDir::new();
    let server = Launch::serve(data.path()).cores(2).start();
    let scratch = TempDir::new();
    let path = scratch.path().join(file);
    std::fs::write(&path, example).expect("writable");
    let output = Command::new("timeout")
        .args([PATIENCE_S, interpreter])
        .arg(path)
        .env("OXDAAS_URL", format!("http://{}", server.address))
        .output()
        .expect("timeout can be run");
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_ne!(
        output.status.code(),
        Some(127),
        "{interpreter} is missing; scripts/test.sh installs it"
    );
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    server.stop();
}

/// The only block of the README in `language`.
fn block(language: &str) -> &str {
    let begin = format!("\n```{language}\n");
    let mut blocks = README.split(&begin).skip(1);
    let (Some(block), None) = (blocks.next(), blocks.next()) else {
        panic!("the README has one block in {language}");
    };
    block.split_once("\n```\n").expect("the block ends").0
}
