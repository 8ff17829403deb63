//! Edits of documents: what each makes of the document that its owner has.

use bytes::Bytes;

use super::{
    Code, Problem,
    body::{PatchForm, document, patch_form},
    increment::increment,
    json_patch::{apply, steps},
    merge::merge,
    work::Work,
};
use crate::{
    http::Request,
    limits::{EDIT_WORK_BYTES_MAX, JSON_DEPTH_MAX},
    op::{Absent, Attempt, Condition, Edit, EditRefusal, EditResult, Edited, Match},
};

/// The edit that the body of a PATCH under `condition` describes.
///
/// # Errors
/// 415 if it is declared as no kind of patch, 400 if it is not the one it is declared as.
pub(super) fn patch_of(
    request: &Request<'_>,
    condition: Option<&Condition>,
) -> Result<Edit, Problem> {
    let form = patch_form(request)?;
    let patch = document(request)?;
    match form {
        PatchForm::Merge => Ok(Edit::Merge {
            patch,
            absent: absent_under(condition),
        }),
        PatchForm::Json => Ok(Edit::Patch(steps(&patch)?)),
    }
}

/// Whether a merge under `condition` makes the document: only if there must be none.
pub(super) fn absent_under(condition: Option<&Condition>) -> Absent {
    let if_none_match = condition.and_then(|condition| condition.if_none_match.as_ref());
    match if_none_match {
        Some(Match::Any) => Absent::Create,
        _ => Absent::Missing,
    }
}

/// What `edit` makes of `document`, a stored one: of at most `document_bytes_max` bytes.
#[must_use]
pub fn edit(edit: &Edit, document: Option<&[u8]>, document_bytes_max: usize) -> Attempt {
    let document_bytes = document.map_or(0, <[u8]>::len);
    let mut work = Work::up_to(EDIT_WORK_BYTES_MAX.max(32 * document_bytes));
    Attempt {
        result: result(edit, document, document_bytes_max, &mut work),
        work_bytes: work.spent(),
    }
}

fn result(
    edit: &Edit,
    document: Option<&[u8]>,
    document_bytes_max: usize,
    work: &mut Work,
) -> EditResult {
    let document = document
        .map(|text| str::from_utf8(text).expect("a stored document was checked to be UTF-8"));
    let edited = match edit {
        Edit::Replace { document, .. } => Some(Edited {
            document: document.clone(),
            shown: Bytes::new(),
        }),
        Edit::Merge { patch, absent } => merge(patch, *absent, document, work)?,
        Edit::Patch(steps) => apply(steps, document, document_bytes_max, work)?,
        Edit::Increment(by) => increment(by, document, work)?,
    };
    match edited {
        Some(edited) if edited.document.len() > document_bytes_max => Err(EditRefusal::TooLarge),
        edited => Ok(edited),
    }
}

impl From<EditRefusal> for Problem {
    fn from(refusal: EditRefusal) -> Problem {
        match refusal {
            EditRefusal::TestFailed { step } => Problem::new(
                Code::TestFailed,
                format!(
                    "patch[{step}]: the test does not hold; nothing was changed; read the document again"
                ),
            ),
            EditRefusal::NoTarget { step } => Problem::new(
                Code::EditConflict,
                format!(
                    "patch[{step}]: its path or from leads nowhere in the document; nothing was changed; add what they lead through first"
                ),
            ),
            EditRefusal::TooDeep { step } => Problem::new(
                Code::EditConflict,
                format!(
                    "patch[{step}]: lists and objects would nest deeper than {JSON_DEPTH_MAX}; \
                     nothing was changed; keep parts in documents of their own"
                ),
            ),
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
                 exponent; nothing was changed; store an integer there first",
            ),
            EditRefusal::Overflow => Problem::new(
                Code::IntegerOverflow,
                "the sum does not fit 64 bits; nothing was changed; add less",
            ),
            EditRefusal::TooLarge => Problem::new(
                Code::EditTooLarge,
                "the document would have more bytes than a body may, or the edit goes over too many \
                 of them; nothing was changed; send fewer operations at once, or keep parts in \
                 documents of their own",
            ),
        }
    }
}
