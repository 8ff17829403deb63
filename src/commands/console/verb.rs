//! What a line of the console asks for, read without a server.

use crate::id::{Id, IdError};

/// The words that a line can begin with, as help and completion show them.
pub const VERBS: &[(&str, &str, &str)] = &[
    ("get", "get ID", "print a document"),
    ("put", "put ID JSON", "create or replace a document"),
    (
        "post",
        "post JSON",
        "create a document; the server chooses its id",
    ),
    ("delete", "delete ID", "remove a document"),
    (
        "cmd",
        "cmd ID ONLY KEY...",
        "print the values of keys; also: cmd ID FILTER_BOOL KEY BY",
    ),
    ("stats", "stats", "print what the server counts"),
    ("help", "help", "print this list"),
    ("quit", "quit", "end; so does Ctrl-D"),
];

/// The queries that `cmd` knows, for completion; the server judges them.
pub const QUERIES: &[&str] = &["ONLY", "FILTER_BOOL"];

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing: it is empty, or a comment, which begins with `#`.
    Nothing,
    /// Print the list of verbs.
    Help,
    /// End.
    Quit,
    /// Ask the server.
    Ask(Ask),
}

/// What the server is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Print a document.
    Get(Id),
    /// Store a document; its text goes to the server as typed.
    Put(Id, String),
    /// Store a document under an id that the server chooses.
    Post(String),
    /// Remove a document.
    Delete(Id),
    /// Print what the server counts.
    Stats,
    /// Run a query on a document.
    Query {
        /// The document.
        id: Id,
        /// The name of the query.
        query: String,
        /// What the query is told.
        keys: Vec<String>,
    },
}

/// Why a line is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The first word is none of [`VERBS`].
    #[error("there is no '{0}'; 'help' lists what there is")]
    Unknown(String),
    /// There are too few or too many words.
    #[error("write it as: {0}")]
    Usage(&'static str),
    /// The id is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A quote is not closed.
    #[error("a double quote is not closed; write one inside of a name as \\\"")]
    OpenQuote,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// [`LineError`] says how to write it.
    pub fn read(line: &str) -> Result<Line, LineError> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(Line::Nothing);
        }
        let (word, rest) = line
            .split_once(char::is_whitespace)
            .map_or((line, ""), |(word, rest)| (word, rest.trim_start()));
        let usage = LineError::Usage(usage(word));
        let ask = match word {
            "get" => Ask::Get(only_id(rest, usage)?),
            "delete" => Ask::Delete(only_id(rest, usage)?),
            "put" => {
                let (id, document) = next_word(rest)?.ok_or_else(|| usage.clone())?;
                if document.is_empty() {
                    return Err(usage);
                }
                Ask::Put(Id::from_text(&id)?, document.to_owned())
            }
            "post" if rest.is_empty() => return Err(usage),
            "post" => Ask::Post(rest.to_owned()),
            "cmd" => {
                let mut words = words(rest)?.into_iter();
                let (Some(id), Some(query)) = (words.next(), words.next()) else {
                    return Err(usage);
                };
                Ask::Query {
                    id: Id::from_text(&id)?,
                    query,
                    keys: words.collect(),
                }
            }
            "stats" if rest.is_empty() => Ask::Stats,
            "stats" => return Err(usage),
            "help" | "?" => return Ok(Line::Help),
            "quit" | "exit" => return Ok(Line::Quit),
            other => return Err(LineError::Unknown(other.to_owned())),
        };
        Ok(Line::Ask(ask))
    }
}

fn usage(word: &str) -> &'static str {
    VERBS
        .iter()
        .find(|(verb, ..)| *verb == word)
        .map_or("help", |(_, usage, _)| usage)
}

fn only_id(rest: &str, usage: LineError) -> Result<Id, LineError> {
    match next_word(rest)? {
        Some((id, "")) => Ok(Id::from_text(&id)?),
        _ => Err(usage),
    }
}

fn words(mut rest: &str) -> Result<Vec<String>, LineError> {
    let mut words = Vec::new();
    while let Some((word, after)) = next_word(rest)? {
        words.push(word);
        rest = after;
    }
    Ok(words)
}

/// The first word and what follows it. A word in double quotes may hold spaces;
/// in it, a backslash makes the next character stand for itself.
fn next_word(text: &str) -> Result<Option<(String, &str)>, LineError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return Ok((!word.is_empty()).then(|| (word.to_owned(), rest.trim_start())));
    };
    let mut word = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok(Some((word, quoted[at + 1..].trim_start()))),
            '\\' => match characters.next() {
                Some((_, escaped)) => word.push(escaped),
                None => break,
            },
            other => word.push(other),
        }
    }
    Err(LineError::OpenQuote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Ask) {
        assert_eq!(Line::read(line), Ok(Line::Ask(expected)), "{line:?}");
    }

    #[test]
    fn each_verb_is_read() {
        check("get 42", Ask::Get(Id::Integer(42)));
        check("  get\t-1  ", Ask::Get(Id::Integer(-1)));
        check("delete user:7", Ask::Delete(Id::Name("user:7".into())));
        check(
            r#"put 7 {"a": "x  y"}"#,
            Ask::Put(Id::Integer(7), r#"{"a": "x  y"}"#.to_owned()),
        );
        check("post [1, 2]", Ask::Post("[1, 2]".to_owned()));
        check("stats", Ask::Stats);
        assert_eq!(Line::read("help"), Ok(Line::Help));
        assert_eq!(Line::read("exit"), Ok(Line::Quit));
        check(
            "cmd 1 FILTER_BOOL colors is_blue",
            Ask::Query {
                id: Id::Integer(1),
                query: "FILTER_BOOL".to_owned(),
                keys: vec!["colors".to_owned(), "is_blue".to_owned()],
            },
        );
    }

    #[test]
    fn quotes_hold_spaces_quotes_and_backslashes() {
        check(
            r#"get "a \"b\" \\ c""#,
            Ask::Get(Id::Name(r#"a "b" \ c"#.into())),
        );
        check(
            r#"put "a b""c""#,
            Ask::Put(Id::Name("a b".into()), r#""c""#.to_owned()),
        );
        assert_eq!(Line::read(r#"get "a"#), Err(LineError::OpenQuote));
        assert_eq!(Line::read(r#"get "a\"#), Err(LineError::OpenQuote));
    }

    #[test]
    fn lines_that_ask_for_nothing_are_passed_over() {
        for line in ["", "   ", "# get 1"] {
            assert_eq!(Line::read(line), Ok(Line::Nothing), "{line:?}");
        }
    }

    #[test]
    fn a_wrong_line_is_told_how_it_is_written() {
        for (line, usage) in [
            ("get", "get ID"),
            ("get 1 2", "get ID"),
            ("delete", "delete ID"),
            ("put", "put ID JSON"),
            ("put 1", "put ID JSON"),
            ("post", "post JSON"),
            ("cmd 1", "cmd ID ONLY KEY..."),
            ("stats 1", "stats"),
        ] {
            assert_eq!(Line::read(line), Err(LineError::Usage(usage)), "{line:?}");
        }
        assert_eq!(
            Line::read("GET 1"),
            Err(LineError::Unknown("GET".to_owned()))
        );
        assert!(matches!(Line::read(r#"get """#), Err(LineError::Id(_))));
    }
}
