//! Parts of a document: what `pointer=` and `fields=` show of it, byte for byte.

use std::collections::HashSet;

use super::{
    Code, Problem,
    command::{assert_valid, given_twice, member},
    visit::{elements, members, unquote},
};
use crate::{http::query_pairs, id::Id, limits::POINTER_SCAN_BYTES_MAX};

/// What of a document is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The value that a JSON pointer names (RFC 6901).
    Pointer {
        /// The pointer as it was sent.
        text: Box<str>,
        /// Its reference tokens, unescaped.
        tokens: Vec<Box<str>>,
    },
    /// An object of these members alone.
    Fields(Vec<Box<str>>),
}

impl Part {
    /// The part that the query of a request asks for; `None`: the whole document.
    ///
    /// # Errors
    /// 400 names the parameter that is wrong, given twice, or given beside the other one.
    pub(super) fn of(query: &str) -> Result<Option<Part>, Problem> {
        let (mut pointer, mut fields) = (None, None);
        for pair in query_pairs(query) {
            let (name, value) = pair?;
            let slot = match name.as_ref() {
                "pointer" => &mut pointer,
                "fields" => &mut fields,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(given_twice(&name));
            }
        }
        match (pointer, fields) {
            (None, None) => Ok(None),
            (Some(text), None) => Part::pointer(&text).map(Some),
            (None, Some(names)) if names.is_empty() => Err(Problem::new(
                Code::BadRequest,
                "fields is empty; list members of the document, fields=a,b",
            )),
            (None, Some(names)) => Ok(Some(Part::Fields(
                names.split(',').map(Box::from).collect(),
            ))),
            (Some(_), Some(_)) => Err(Problem::new(
                Code::BadRequest,
                "pointer and fields stand side by side; send one of them",
            )),
        }
    }

    fn pointer(text: &str) -> Result<Part, Problem> {
        let wrong = |what: &str| {
            Problem::new(
                Code::BadRequest,
                format!(
                    "pointer {what}; send a JSON pointer (RFC 6901) such as /a/0, with ~0 for ~ and ~1 for /"
                ),
            )
        };
        let tokens = match text.strip_prefix('/') {
            Some(rest) => rest.split('/').map(token).collect::<Option<_>>(),
            None if text.is_empty() => Some(Vec::new()),
            None => return Err(wrong("does not begin with /")),
        };
        Ok(Part::Pointer {
            text: text.into(),
            tokens: tokens.ok_or_else(|| wrong("has a ~ without 0 or 1 behind it"))?,
        })
    }

    /// The pieces of `document`, stored under `id`, that in a row are the part.
    ///
    /// Costs a pass over the document, and for a pointer one over each value on its way.
    ///
    /// # Errors
    /// 404 if there is no such part, 400 if the values on the way of a pointer have more than
    /// `POINTER_SCAN_BYTES_MAX` bytes, each counted with what is in it.
    pub(super) fn show<'d>(&self, id: &Id, document: &'d [u8]) -> Result<Vec<&'d [u8]>, Problem> {
        let document = str::from_utf8(document).expect("a stored document was checked to be UTF-8");
        match self {
            Part::Pointer { text, tokens } => {
                let value = find(document, tokens)?.ok_or_else(|| {
                    let message = format!("document {id} has nothing at {text}");
                    Problem::new(Code::NoSuchPart, message)
                })?;
                Ok(vec![value.as_bytes()])
            }
            Part::Fields(names) => {
                if !document.starts_with('{') {
                    let message = format!("document {id} is no object; read it without fields");
                    return Err(Problem::new(Code::NoSuchPart, message));
                }
                Ok(project(document, names))
            }
        }
    }
}

/// A reference token, unescaped; `None`: a `~` escapes nothing (RFC 6901, section 3).
fn token(escaped: &str) -> Option<Box<str>> {
    let mut parts = escaped.split('~');
    let mut token = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escape, rest) = (part.chars().next()?, part.get(1..)?);
        token.push(match escape {
            '0' => '~',
            '1' => '/',
            _ => return None,
        });
        token.push_str(rest);
    }
    Some(token.into())
}

/// The value in `document` to which `tokens` lead.
fn find<'d>(document: &'d str, tokens: &[Box<str>]) -> Result<Option<&'d str>, Problem> {
    let mut value = document;
    let bytes_max = POINTER_SCAN_BYTES_MAX.max(2 * document.len());
    let mut scanned = 0;
    for token in tokens {
        scanned += value.len();
        if scanned > bytes_max {
            return Err(Problem::new(
                Code::BadRequest,
                format!(
                    "the pointer goes through more than {bytes_max} bytes of values; read the document whole, or a part nearer to its top"
                ),
            ));
        }
        let next = match value.as_bytes().first() {
            Some(b'{') => member(value, token.as_bytes()),
            Some(b'[') => element_index(token).and_then(|index| element(value, index)),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

/// The index that a token is: digits without leading zeros (RFC 6901, section 4).
fn element_index(token: &str) -> Option<usize> {
    let is_canonical = token == "0" || !token.starts_with(['0', '+']);
    token.parse().ok().filter(|_| is_canonical)
}

fn element(list: &str, index: usize) -> Option<&str> {
    let (mut found, mut at) = (None, 0);
    assert_valid(elements(list, |element| {
        if at == index {
            found = Some(element);
        }
        at += 1;
    }));
    found
}

/// The pieces of an object of the members of `document` that are among `names`, in its order.
fn project<'d>(document: &'d str, names: &[Box<str>]) -> Vec<&'d [u8]> {
    let names: HashSet<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let mut pieces: Vec<&[u8]> = vec![b"{"];
    assert_valid(members(document, |key, value| {
        let name = unquote(key);
        if names.contains(&*name) {
            if pieces.len() > 1 {
                pieces.push(b",");
            }
            pieces.extend([key.as_bytes(), b":", value.as_bytes()]);
        }
    }));
    pieces.push(b"}");
    pieces
}
