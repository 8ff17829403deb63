//! JSON Patch (RFC 6902): read from requests, applied to documents.

use bytes::Bytes;

use super::{
    Code, Problem,
    body::pick,
    increment::string,
    pointer::pointer,
    tree::{Node, Tree, TreeError},
    visit::{VisitError, elements},
    work::Work,
};
use crate::{
    limits::PATCH_STEPS_MAX,
    op::{EditRefusal, EditResult, Edited, PatchStep},
};

/// Reads the steps of `patch`, minified JSON.
///
/// # Errors
/// 400 names the step that is wrong by its place in the list.
pub(super) fn steps(patch: &Bytes) -> Result<Box<[PatchStep]>, Problem> {
    let text = str::from_utf8(patch).expect("minified JSON is UTF-8");
    let mut raw = Vec::new();
    match elements(text, |element| raw.push(element)) {
        Ok(()) => {}
        Err(VisitError::Json(error)) => return Err(Problem::bad_json(&error)),
        Err(VisitError::OtherType) => {
            return Err(Problem::new(
                Code::BadRequest,
                "a JSON patch is a list of operations (RFC 6902); send one, or a merge patch",
            ));
        }
    }
    if raw.len() > PATCH_STEPS_MAX {
        return Err(Problem::new(
            Code::BadRequest,
            format!(
                "the patch has {} operations; send at most {PATCH_STEPS_MAX} in one",
                raw.len()
            ),
        ));
    }
    let steps = raw.into_iter().enumerate();
    steps
        .map(|(n, raw)| step(raw, patch).map_err(|problem| problem.at(&format!("patch[{n}]"))))
        .collect()
}

fn step(raw: &str, patch: &Bytes) -> Result<PatchStep, Problem> {
    let [op, path, from, value] = pick(raw, ["op", "path", "from", "value"], "the operation")?;
    let op = string(required(op, "op")?, "op")?;
    let place = |raw, label| pointer(&string(required(raw, label)?, label)?, label);
    let path = place(path, "path")?;
    let value = || required(value, "value").map(|value| patch.slice_ref(value.as_bytes()));
    match op.as_str() {
        "add" => Ok(PatchStep::Add {
            path,
            value: value()?,
        }),
        "remove" if path.0.is_empty() => Err(Problem::new(
            Code::BadRequest,
            "the path of remove is the whole document; remove that with DELETE",
        )),
        "remove" => Ok(PatchStep::Remove { path }),
        "replace" => Ok(PatchStep::Replace {
            path,
            value: value()?,
        }),
        "move" => {
            let from = place(from, "from")?;
            match from.0.len() < path.0.len() && path.0.starts_with(&from.0) {
                true => Err(Problem::new(
                    Code::BadRequest,
                    "from of move is around path; a value cannot move into itself",
                )),
                false => Ok(PatchStep::Move { from, path }),
            }
        }
        "copy" => Ok(PatchStep::Copy {
            from: place(from, "from")?,
            path,
        }),
        "test" => Ok(PatchStep::Test {
            path,
            value: value()?,
        }),
        _ => Err(Problem::new(
            Code::BadRequest,
            "op is none of add, remove, replace, move, copy, test; send one of them",
        )),
    }
}

fn required<'t>(raw: Option<&'t str>, label: &str) -> Result<&'t str, Problem> {
    raw.ok_or_else(|| {
        Problem::new(
            Code::MissingField,
            format!("{label} is missing; RFC 6902 says what each operation needs"),
        )
    })
}

/// What `steps` make of `document`, in order, of at most `document_bytes_max` bytes.
pub(super) fn apply(
    steps: &[PatchStep],
    document: Option<&str>,
    document_bytes_max: usize,
    work: &mut Work,
) -> EditResult {
    let Some(document) = document else {
        return Ok(None);
    };
    let mut tree = Tree::of(document, work);
    for (n, step) in (0..).zip(steps) {
        take(&mut tree, step).map_err(|error| match error {
            StepError::TestFailed => EditRefusal::TestFailed { step: n },
            StepError::Tree(TreeError::NoTarget) => EditRefusal::NoTarget { step: n },
            StepError::Tree(TreeError::TooDeep) => EditRefusal::TooDeep { step: n },
            StepError::Tree(TreeError::TooMuch) => EditRefusal::TooLarge,
        })?;
    }
    Ok(Some(Edited {
        document: Bytes::from(tree.write(document_bytes_max)?),
        shown: Bytes::new(),
    }))
}

enum StepError {
    TestFailed,
    Tree(TreeError),
}

impl From<TreeError> for StepError {
    fn from(error: TreeError) -> StepError {
        StepError::Tree(error)
    }
}

fn take<'t>(tree: &mut Tree<'t, '_>, step: &'t PatchStep) -> Result<(), StepError> {
    match step {
        PatchStep::Add { path, value } => tree.add(&path.0, text(value))?,
        PatchStep::Remove { path } => drop(tree.remove(&path.0)?),
        PatchStep::Replace { path, value } => tree.replace(&path.0, text(value))?,
        PatchStep::Copy { from, path } => {
            let copied = tree.copy(&from.0)?;
            tree.add(&path.0, copied)?;
        }
        // Taking it out and putting it back would change its place among the members.
        PatchStep::Move { from, path } if from == path => drop(tree.copy(&from.0)?),
        PatchStep::Move { from, path } => {
            let moved = tree.remove(&from.0)?;
            tree.add(&path.0, moved)?;
        }
        PatchStep::Test { path, value } => match tree.is(&path.0, value)? {
            true => {}
            false => return Err(StepError::TestFailed),
        },
    }
    Ok(())
}

fn text(value: &Bytes) -> Node<'_> {
    Node::Text(str::from_utf8(value).expect("a part of minified JSON is UTF-8"))
}

#[cfg(test)]
mod tests;
