//! What the Tab key offers: verbs, queries, and ids that this session named.

use std::collections::BTreeSet;

use rustyline::{
    Context, Helper, completion::Completer, highlight::Highlighter, hint::Hinter,
    validate::Validator,
};

use super::verb::{QUERIES, VERBS};

/// Ids that are remembered for completion.
const IDS_MAX: usize = 1000;

/// What rustyline asks while a line is typed.
#[derive(Default)]
pub struct Completion {
    ids: BTreeSet<String>,
}

impl Completion {
    /// Remembers the id that a line names, if it is one plain word.
    pub fn learn(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        if let (Some("get" | "put" | "delete" | "cmd"), Some(id)) = (words.next(), words.next())
            && !id.starts_with('"')
            && self.ids.len() < IDS_MAX
        {
            self.ids.insert(id.to_owned());
        }
    }

    /// Where the word under the cursor begins, and what it may become.
    fn offers(&self, before_cursor: &str) -> (usize, Vec<String>) {
        let start = before_cursor
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + 1);
        let (before, word) = before_cursor.split_at(start);
        let before: Vec<&str> = before.split_whitespace().collect();
        let candidates: Vec<&str> = match before[..] {
            [] => VERBS.iter().map(|(verb, ..)| *verb).collect(),
            ["get" | "put" | "delete" | "cmd"] => self.ids.iter().map(String::as_str).collect(),
            ["cmd", _] => QUERIES.to_vec(),
            _ => Vec::new(),
        };
        let offers = candidates
            .into_iter()
            .filter(|candidate| candidate.starts_with(word))
            .map(|candidate| format!("{candidate} "))
            .collect();
        (start, offers)
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.offers(&line[..cursor]))
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_offers() {
        let mut completion = Completion::default();
        for line in ["put user:7 1", "get 42", "get \"a b\"", "post 43", "help"] {
            completion.learn(line);
        }
        let check = |typed: &str, start: usize, expected: &str| {
            let (at, offers) = completion.offers(typed);
            assert_eq!(
                (at, offers.concat().trim_end()),
                (start, expected),
                "{typed:?}"
            );
        };
        check("p", 0, "put post");
        check("get ", 4, "42 user:7");
        check("delete us", 7, "user:7");
        check("cmd 42 F", 7, "FILTER_BOOL");
        check("put 42 ", 7, "");
        check("nope ", 5, "");
    }
}
