//! `Prefer: return=` (RFC 7240): what a client wants to see of what it wrote.

use crate::http::{Field, Request};

/// What the answer to a write has in its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Returned {
    /// What it has when nothing is preferred.
    #[default]
    Usual,
    /// Nothing: `return=minimal`.
    Minimal,
    /// The document as it is stored: `return=representation`.
    Representation,
}

impl Returned {
    /// What the request prefers; what is no known preference has no meaning.
    pub(super) fn of(request: &Request<'_>) -> Returned {
        if !request.fields.has(Field::Prefer) {
            return Returned::Usual;
        }
        let mut preferences = request.fields.all(Field::Prefer).flat_map(elements);
        // Of one that is given twice the first counts (RFC 7240, section 2).
        let value = preferences.find_map(|preference| {
            let end = preference.iter().position(|&byte| byte == b';');
            let preference = &preference[..end.unwrap_or(preference.len())];
            let equals = preference.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (&preference[..equals], &preference[equals + 1..]);
            let is_return = name.trim_ascii().eq_ignore_ascii_case(b"return");
            is_return.then(|| value.trim_ascii())
        });
        match value {
            Some(b"minimal" | b"\"minimal\"") => Returned::Minimal,
            Some(b"representation" | b"\"representation\"") => Returned::Representation,
            _ => Returned::Usual,
        }
    }
}

/// The elements of a comma-separated list whose quoted strings may hold commas.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    value.split(move |&byte| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' => is_escaped = is_quoted,
            _ => {}
        }
        byte == b',' && !is_quoted
    })
}
