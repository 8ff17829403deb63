//! `oxdaas console`: a shell for a running server, typed or from a pipe.

mod completion;
mod verb;

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use rustyline::{Config, Editor, error::ReadlineError, history::FileHistory};

use self::{
    completion::Completion,
    verb::{Ask, Line, VERBS},
};
use super::client::{Client, ClientArgs, ClientError, Method, document_target, encoded};
use crate::limits::{CLIENT_BODY_BYTES_MAX, CONSOLE_HISTORY_LINES_MAX, CONSOLE_LINE_BYTES_MAX};

/// The options of `console`.
#[derive(Clone, Debug, clap::Args)]
pub struct ConsoleArgs {
    #[command(flatten)]
    client: ClientArgs,

    /// Print how long each command took, on standard error, also when commands come from a pipe
    #[arg(long)]
    timing: bool,
}

/// Exit code when a command was not understood or the server refused it.
const SOME_FAILED: u8 = 1;
/// Exit code when the server could not be reached.
const COULD_NOT_RUN: u8 = 2;

/// What the server said to one command.
struct Answer {
    status: u16,
    succeeded: bool,
    /// Without white space at its end.
    body: Vec<u8>,
}

/// Runs the commands; 0: all went well, 1: some did not, 2: no answer from the server.
pub fn console(args: &ConsoleArgs) -> ExitCode {
    let client = match Client::new(&args.client) {
        Ok(client) => client,
        Err(error) => return could_not_run(&error),
    };
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        typed(&client)
    } else {
        piped(&client, args.timing)
    }
}

/// Commands of a person: with history, completion and timing. A refusal is no failure.
fn typed(client: &Client) -> ExitCode {
    let config = Config::builder()
        .max_history_size(CONSOLE_HISTORY_LINES_MAX)
        .map(|builder| builder.auto_add_history(true).history_ignore_space(true))
        .map(rustyline::config::Builder::build);
    let editor = config.and_then(Editor::<Completion, FileHistory>::with_config);
    let mut editor = match editor {
        Ok(editor) => editor,
        Err(error) => return could_not_run(&error),
    };
    editor.set_helper(Some(Completion::default()));
    let history = history_path();
    if let Some(path) = &history {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    println!("{} ('help' lists the commands)", client.url());
    let code = loop {
        let line = match editor.readline("oxdaas> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break ExitCode::SUCCESS,
            Err(error) => break could_not_run(&error),
        };
        let ask = match Line::read(&line) {
            Ok(Line::Nothing) => continue,
            Ok(Line::Quit) => break ExitCode::SUCCESS,
            Ok(Line::Help) => {
                print!("{}", help());
                continue;
            }
            Ok(Line::Ask(ask)) => ask,
            Err(error) => {
                println!("{error}");
                continue;
            }
        };
        if let Some(completion) = editor.helper_mut() {
            completion.learn(&line);
        }
        let began = Instant::now();
        match run(client, &ask) {
            Ok(answer) => {
                println!("{}", String::from_utf8_lossy(&answer.body));
                println!("({}, {})", answer.status, milliseconds(began.elapsed()));
            }
            Err(error) => println!("{error}"),
        }
    };
    if let Some(path) = &history {
        let saved = path.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = saved
            .map_err(ReadlineError::from)
            .and_then(|()| editor.save_history(path))
        {
            eprintln!(
                "oxdaas: the history is not kept: {}: {error}",
                path.display()
            );
        }
    }
    code
}

/// Commands of a script: bodies on standard output, one a line; faults with their
/// line on standard error. The first missing answer is the end.
fn piped(client: &Client, timing: bool) -> ExitCode {
    let mut input = BufReader::new(io::stdin().lock());
    let mut code = ExitCode::SUCCESS;
    for number in 1_u64.. {
        let line = match next_line(&mut input, CONSOLE_LINE_BYTES_MAX) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => return could_not_run(&format!("line {number}: {error}")),
        };
        let ask = match Line::read(&line) {
            Ok(Line::Nothing) => continue,
            Ok(Line::Quit) => break,
            Ok(Line::Help) => {
                print!("{}", help());
                continue;
            }
            Ok(Line::Ask(ask)) => ask,
            Err(error) => {
                eprintln!("line {number}: {error}");
                code = ExitCode::from(SOME_FAILED);
                continue;
            }
        };
        let began = Instant::now();
        let answer = match run(client, &ask) {
            Ok(answer) => answer,
            Err(error) => return could_not_run(&format!("line {number}: {error}")),
        };
        let took = began.elapsed();
        if !answer.succeeded {
            let said = String::from_utf8_lossy(&answer.body);
            eprintln!("line {number}: {} {said}", answer.status);
            code = ExitCode::from(SOME_FAILED);
        } else if !answer.body.is_empty() {
            match print_line(&answer.body) {
                // The reader has seen enough, as `head` does.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return code,
                Err(error) => return could_not_run(&format!("standard output: {error}")),
                Ok(()) => {}
            }
        }
        if timing {
            eprintln!("line {number}: {}, {}", answer.status, milliseconds(took));
        }
    }
    code
}

fn print_line(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// The next line, as far as `bytes_max`; `None` at the end.
fn next_line(input: &mut impl BufRead, bytes_max: u64) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = input.take(bytes_max).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if !line.ends_with(b"\n") && u64::try_from(line.len()) == Ok(bytes_max) {
        return Err(io::Error::other(format!(
            "it is longer than {bytes_max} bytes"
        )));
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| io::Error::other("it is not UTF-8"))
}

fn run(client: &Client, ask: &Ask) -> Result<Answer, ClientError> {
    let (method, target, body) = match ask {
        Ask::Get(id) => (Method::Get, document_target(id), None),
        Ask::Put(id, document) => (Method::Put, document_target(id), Some(document.as_bytes())),
        Ask::Post(document) => (Method::Post, "/docs".to_owned(), Some(document.as_bytes())),
        Ask::Delete(id) => (Method::Delete, document_target(id), None),
        Ask::Stats => (Method::Get, "/stats".to_owned(), None),
        Ask::Query { id, query, keys } => {
            let target = query_target(&id.to_string(), query, keys);
            (Method::Get, target, None)
        }
    };
    let response = client.send(method, &target, body)?;
    let status = response.status();
    let succeeded = response.is_success();
    let mut body = response.into_bytes(CLIENT_BODY_BYTES_MAX)?;
    body.truncate(body.trim_ascii_end().len());
    Ok(Answer {
        status,
        succeeded,
        body,
    })
}

/// `FILTER_BOOL` names its two keys; every other query takes a list of them.
fn query_target(id: &str, query: &str, keys: &[String]) -> String {
    let mut target = format!("/api/cmd?id={}&cmd[query]={}", encoded(id), encoded(query));
    let name = |position: usize| match (query, position) {
        ("FILTER_BOOL", 0) => "[key]",
        ("FILTER_BOOL", 1) => "[by]",
        _ => "[]",
    };
    for (position, key) in keys.iter().enumerate() {
        write!(target, "&cmd[keys]{}={}", name(position), encoded(key))
            .expect("a string takes all writes");
    }
    target.replace('[', "%5B").replace(']', "%5D")
}

fn help() -> String {
    let mut text = String::new();
    for (_, usage, meaning) in VERBS {
        writeln!(text, "{usage:<20} {meaning}").expect("a string takes all writes");
    }
    text.push_str("An id or key with spaces is written in double quotes.\n");
    text
}

fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

/// Where state of programs belongs (XDG Base Directory Specification).
fn history_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = match set("XDG_STATE_HOME") {
        Some(state) => PathBuf::from(state),
        None => PathBuf::from(set("HOME")?).join(".local/state"),
    };
    Some(state.join("oxdaas/console-history"))
}

fn could_not_run(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("oxdaas: {error}");
    ExitCode::from(COULD_NOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_written_as_the_server_reads_them() {
        let keys = ["a b".to_owned(), "c".to_owned()];
        assert_eq!(
            query_target("1", "ONLY", &keys),
            "/api/cmd?id=1&cmd%5Bquery%5D=ONLY&cmd%5Bkeys%5D%5B%5D=a%20b&cmd%5Bkeys%5D%5B%5D=c"
        );
        assert_eq!(
            query_target("n", "FILTER_BOOL", &keys),
            "/api/cmd?id=n&cmd%5Bquery%5D=FILTER_BOOL&cmd%5Bkeys%5D%5Bkey%5D=a%20b&cmd%5Bkeys%5D%5Bby%5D=c"
        );
    }

    #[test]
    fn a_line_beyond_its_bound_is_refused() {
        let read = |text: &str| {
            let mut input = io::Cursor::new(text.to_owned());
            let mut lines = Vec::new();
            while let Some(line) = next_line(&mut input, 6)? {
                lines.push(line);
            }
            io::Result::Ok(lines)
        };
        assert_eq!(
            read("get 1\nget\n").expect("short lines"),
            ["get 1\n", "get\n"]
        );
        assert_eq!(read("get 1\nget").expect("short lines"), ["get 1\n", "get"]);
        assert!(read("get 12\n").is_err());
    }
}
