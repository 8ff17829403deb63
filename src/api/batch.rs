//! `POST /batch`: from its body to operations, each checked before any of them runs.
//!
//! A member that nobody knows is refused: a condition that is misspelt and then
//! ignored could destroy what it protects.

use super::{
    BodyMode, Code, Element, Gathering, Plan, Problem,
    body::{document_within, json_body, json_id, pick_only},
    edit::absent_under,
    expiry::json_expires,
    increment::increment_with,
    json::utf8,
    json_patch::steps,
    many::{ElementFace, ManyRender},
    visit::{VisitError, elements, members, unquote},
};
use crate::{
    http::{EntityTags, Field, Request},
    id::Id,
    limits::BATCH_OPS_MAX,
    op::{Chosen, Condition, Edit, Match, Op, Shows},
};

/// Plans `POST /batch`.
///
/// # Errors
/// 400 names the operation that is wrong by its place in the list.
pub(super) fn plan_batch(request: &Request<'_>) -> Result<Plan, Problem> {
    if request.fields.has(Field::IfMatch) || request.fields.has(Field::IfNoneMatch) {
        return Err(Problem::new(
            Code::BadRequest,
            "If-Match and If-None-Match are for one document; \
             give operations of a batch if_match and if_none_match",
        ));
    }
    let body = json_body(request)?;
    let body = utf8(&body).map_err(|error| Problem::bad_json(&error))?;
    let [ops, atomic] = pick_only(body, ["ops", "atomic"], "the body")?;
    let is_atomic = match atomic {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            return Err(Problem::new(
                Code::BadRequest,
                "atomic is neither true nor false",
            ));
        }
    };
    let ops = ops.ok_or_else(|| {
        Problem::new(
            Code::MissingField,
            "ops is missing; send a list of operations",
        )
    })?;
    let mut raw = Vec::new();
    match elements(ops, |element| raw.push(element)) {
        Ok(()) => {}
        Err(VisitError::Json(error)) => return Err(Problem::bad_json(&error)),
        Err(VisitError::OtherType) => {
            return Err(Problem::new(
                Code::BadRequest,
                "ops is not a list; send a list of operations",
            ));
        }
    }
    if raw.len() > BATCH_OPS_MAX {
        let count = raw.len();
        return Err(Problem::new(
            Code::BadRequest,
            format!("ops has {count} operations; send at most {BATCH_OPS_MAX} in one batch"),
        ));
    }
    let mut elements = Vec::with_capacity(raw.len());
    let mut faces = Vec::with_capacity(raw.len());
    for (place, raw) in raw.into_iter().enumerate() {
        let label = format!("ops[{place}]");
        let (element, face) = operation(raw, body).map_err(|problem| problem.at(&label))?;
        elements.push(element);
        faces.push(face);
    }
    let render = ManyRender::results(BodyMode::of(request), faces);
    Ok(Plan::Gather(match is_atomic {
        true => Gathering::Atomic { elements, render },
        false => Gathering::Many { elements, render },
    }))
}

/// Reads one operation of `body`, an object with its name as the only member.
fn operation(raw: &str, body: &str) -> Result<(Element, ElementFace), Problem> {
    let mut found = Vec::new();
    match members(raw, |key, value| found.push((unquote(key), value))) {
        Ok(()) => {}
        Err(VisitError::Json(error)) => return Err(Problem::bad_json(&error)),
        Err(VisitError::OtherType) => return Err(no_operation()),
    }
    let [(name, fields)] = found.as_slice() else {
        return Err(no_operation());
    };
    match name.as_ref() {
        b"get" => {
            let [id, conditions @ ..] =
                pick_only(fields, ["id", "if_match", "if_none_match"], "get")?;
            let id = named(id)?;
            let condition = condition(conditions)?;
            Ok((Element::Run(Op::Get { id }), ElementFace::Get { condition }))
        }
        b"put" => {
            let names = [
                "id",
                "data",
                "ttl",
                "expires_at",
                "if_match",
                "if_none_match",
            ];
            let [id, data, ttl, expires_at, conditions @ ..] = pick_only(fields, names, "put")?;
            let id = id.map_or(Ok(None), json_id)?;
            let data = data.ok_or_else(|| {
                Problem::new(
                    Code::MissingField,
                    "data is missing; send it, also if it is null",
                )
            })?;
            let document = document_within(body, data)?;
            let expires = json_expires([ttl, expires_at])?;
            let condition = condition(conditions)?;
            let element = match id {
                Some(id) => Element::Run(Op::Put {
                    id,
                    document,
                    condition,
                    chosen: Chosen::ByClient,
                    expires,
                }),
                None if condition.is_some() => {
                    return Err(Problem::new(
                        Code::BadRequest,
                        "a document whose id is chosen is new; leave if_match and if_none_match out",
                    ));
                }
                None => Element::Create { document, expires },
            };
            Ok((element, ElementFace::Put))
        }
        b"patch" => {
            let names = ["id", "merge", "json_patch", "if_match", "if_none_match"];
            let [id, merge, json_patch, conditions @ ..] = pick_only(fields, names, "patch")?;
            let condition = condition(conditions)?;
            let edit = match (merge, json_patch) {
                (Some(merge), None) => Edit::Merge {
                    patch: document_within(body, merge)?,
                    absent: absent_under(condition.as_deref()),
                },
                (None, Some(patch)) => Edit::Patch(steps(&document_within(body, patch)?)?),
                _ => {
                    return Err(Problem::new(
                        Code::BadRequest,
                        "a patch has one of merge (RFC 7396) and json_patch (RFC 6902)",
                    ));
                }
            };
            let op = Op::Edit {
                id: named(id)?,
                edit,
                condition,
                shows: Shows::Answer,
            };
            Ok((Element::Run(op), ElementFace::Patch))
        }
        b"increment" => {
            let names = [
                "id",
                "pointer",
                "by",
                "default",
                "if_match",
                "if_none_match",
            ];
            let [id, pointer, by, default, conditions @ ..] =
                pick_only(fields, names, "increment")?;
            let op = Op::Edit {
                id: named(id)?,
                edit: Edit::Increment(Box::new(increment_with([pointer, by, default])?)),
                condition: condition(conditions)?,
                shows: Shows::Answer,
            };
            Ok((Element::Run(op), ElementFace::Increment))
        }
        b"delete" => {
            let [id, conditions @ ..] =
                pick_only(fields, ["id", "if_match", "if_none_match"], "delete")?;
            let op = Op::Delete {
                id: named(id)?,
                condition: condition(conditions)?,
            };
            Ok((Element::Run(op), ElementFace::Delete))
        }
        _ => Err(no_operation()),
    }
}

fn no_operation() -> Problem {
    Problem::new(
        Code::BadRequest,
        "not an operation; send an object with one of get, put, patch, increment, delete, like {\"get\":{\"id\":1}}",
    )
}

/// The id of an operation on a document that must be named.
fn named(id: Option<&str>) -> Result<Id, Problem> {
    id.map_or(Ok(None), json_id)?
        .ok_or_else(|| Problem::new(Code::MissingField, "id is missing; send the document's id"))
}

/// The condition that `if_match` and `if_none_match` make, if one of them is there.
fn condition(
    [if_match, if_none_match]: [Option<&str>; 2],
) -> Result<Option<Box<Condition>>, Problem> {
    if if_match.is_none() && if_none_match.is_none() {
        return Ok(None);
    }
    Ok(Some(Box::new(Condition {
        if_match: versions(if_match, "if_match", |tags| tags.versions_strong())?,
        if_none_match: versions(if_none_match, "if_none_match", |tags| tags.versions_weak())?,
    })))
}

/// The versions that the string `raw` names as a header field would.
fn versions(
    raw: Option<&str>,
    name: &str,
    versions_of: fn(&EntityTags<'_>) -> Match,
) -> Result<Option<Match>, Problem> {
    let Some(raw) = raw else { return Ok(None) };
    if !raw.starts_with('"') {
        return Err(Problem::new(
            Code::BadRequest,
            format!("{name} is not a string; send an ETag as it was received, or \"*\""),
        ));
    }
    let text = unquote(raw);
    let tags = EntityTags::parse([text.as_ref()])
        .map_err(|error| Problem::new(Code::BadRequest, format!("{name}: {error}")))?;
    Ok(tags.map(|tags| versions_of(&tags)))
}
