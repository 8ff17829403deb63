//! Edits of documents: what each makes of the document that its owner has.

use super::{Code, Problem, increment::increment};
use crate::op::{Edit, EditRefusal, EditResult};

/// What `edit` makes of `document`, a stored one.
///
/// # Errors
/// [`EditRefusal`]: there is no result, or it has more than `document_bytes_max` bytes.
pub fn edit(edit: &Edit, document: Option<&[u8]>, document_bytes_max: usize) -> EditResult {
    let document = document
        .map(|text| str::from_utf8(text).expect("a stored document was checked to be UTF-8"));
    let edited = match edit {
        Edit::Increment(by) => increment(by, document)?,
    };
    match edited {
        Some(edited) if edited.document.len() > document_bytes_max => Err(EditRefusal::TooLarge),
        edited => Ok(edited),
    }
}

impl From<EditRefusal> for Problem {
    fn from(refusal: EditRefusal) -> Problem {
        match refusal {
            EditRefusal::NoSuchPart => Problem::new(
                Code::NoSuchPart,
                "the document has nothing at the pointer; send default to begin with",
            ),
            EditRefusal::NoSuchParent => Problem::new(
                Code::EditConflict,
                "the pointer leads to no member of an object of the document, so there is no place \
                 for default; store the object first",
            ),
            EditRefusal::NotAnInteger => Problem::new(
                Code::NotAnInteger,
                "the value at the pointer is no integer of 64 bits, written without fraction and \
                 exponent; nothing was changed",
            ),
            EditRefusal::Overflow => Problem::new(
                Code::IntegerOverflow,
                "the sum does not fit 64 bits; nothing was changed",
            ),
            EditRefusal::TooLarge => Problem::new(
                Code::EditTooLarge,
                "the document would have more bytes than a body may, or the way to the part is too \
                 long; nothing was changed; keep parts in documents of their own",
            ),
        }
    }
}
