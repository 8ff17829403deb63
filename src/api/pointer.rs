//! JSON pointers (RFC 6901): read from requests, followed into documents.

use super::{
    Code, Problem,
    command::{assert_valid, member},
    visit::elements,
    work::{TooMuch, Work},
};
use crate::op::Pointer;

/// Reads a pointer, which `label` names in messages.
///
/// # Errors
/// 400 says what is wrong with it.
pub(super) fn pointer(text: &str, label: &str) -> Result<Pointer, Problem> {
    let wrong = |what: &str| {
        Problem::new(
            Code::BadRequest,
            format!(
                "{label} {what}; send a JSON pointer (RFC 6901) such as /a/0, with ~0 for ~ and ~1 for /"
            ),
        )
    };
    let tokens = match text.strip_prefix('/') {
        Some(rest) => rest.split('/').map(token).collect::<Option<_>>(),
        None if text.is_empty() => return Ok(Pointer::default()),
        None => return Err(wrong("does not begin with /")),
    };
    let tokens = tokens.ok_or_else(|| wrong("has a ~ without 0 or 1 behind it"))?;
    Ok(Pointer(tokens))
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

/// The value in `document`, a stored one, to which `tokens` lead.
///
/// Costs a pass over each value on the way, with all that is in it.
pub(super) fn find<'d>(
    document: &'d str,
    tokens: &[Box<str>],
    work: &mut Work,
) -> Result<Option<&'d str>, TooMuch> {
    let mut value = document;
    for token in tokens {
        work.spend(value.len())?;
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
pub(super) fn element_index(token: &str) -> Option<usize> {
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
