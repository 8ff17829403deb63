//! Parts of a document: what `pointer=` and `fields=` show of it, byte for byte.

use std::collections::HashSet;

use super::{
    Code, Problem,
    command::{assert_valid, given_twice},
    pointer::{find, pointer},
    visit::{members, unquote},
    work::{TooMuch, Work},
};
use crate::{http::query_pairs, id::Id, limits::POINTER_SCAN_BYTES_MAX, op};

/// What of a document is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The value that a JSON pointer names (RFC 6901).
    Pointer {
        /// The pointer as it was sent.
        text: Box<str>,
        /// What it says.
        pointer: op::Pointer,
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
        let (mut place, mut fields) = (None, None);
        for pair in query_pairs(query) {
            let (name, value) = pair?;
            let slot = match name.as_ref() {
                "pointer" => &mut place,
                "fields" => &mut fields,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(given_twice(&name));
            }
        }
        match (place, fields) {
            (None, None) => Ok(None),
            (Some(text), None) => Ok(Some(Part::Pointer {
                pointer: pointer(&text, "pointer")?,
                text: text.into(),
            })),
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
            Part::Pointer { text, pointer } => {
                let bytes_max = POINTER_SCAN_BYTES_MAX.max(2 * document.len());
                let found = find(document, &pointer.0, &mut Work::up_to(bytes_max))
                    .map_err(|TooMuch| too_long(bytes_max))?;
                let value = found.ok_or_else(|| {
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
    /// How many bytes the part has; 0 if there is none to show.
    pub(super) fn bytes(&self, id: &Id, document: &[u8]) -> usize {
        let pieces = self.show(id, document).unwrap_or_default();
        pieces.iter().map(|piece| piece.len()).sum()
    }
}

fn too_long(bytes_max: usize) -> Problem {
    Problem::new(
        Code::BadRequest,
        format!(
            "the pointer goes through more than {bytes_max} bytes of values; read the document whole, or a part nearer to its top"
        ),
    )
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
