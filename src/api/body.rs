//! Request bodies: declared as JSON, present, and read as far as the API needs.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    Code, Problem,
    expiry::json_expires,
    json::{minify, minify_valid, utf8},
    problem::ExtraFields,
    visit::{VisitError, members, unquote},
};
use crate::{
    http::{Coding, Field, Request, gunzip},
    id::{Id, IdError},
    op::Expires,
};

/// What `POST /api` stores.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The id; `None`: the server chooses.
    pub id: Option<Id>,
    /// The document, minified.
    pub document: Bytes,
    /// When it ends by itself.
    pub expires: Expires,
}

/// The body of a request that must have one, in a declared form that is JSON, its coding undone.
///
/// # Errors
/// 400 if it is empty, 415 if it is declared as something else, 400 and 413 as [`gunzip`] says.
pub(super) fn json_body<'r>(request: &'r Request<'_>) -> Result<Cow<'r, [u8]>, Problem> {
    if request.body.is_empty() {
        return Err(empty());
    }
    for content_type in request.fields.all(Field::ContentType) {
        let essence = media_type(content_type)?;
        if !essence.is_empty() && !is_json(essence) {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                format!(
                    "the body is declared as {}; send the header Content-Type: application/json",
                    String::from_utf8_lossy(essence)
                ),
            ));
        }
    }
    match Coding::of_body(&request.fields) {
        Some(Coding::Identity) => Ok(Cow::Borrowed(&request.body)),
        Some(Coding::Gzip) => {
            let body = gunzip(&request.body, request.body_bytes_max)?;
            match body.is_empty() {
                true => Err(empty()),
                false => Ok(Cow::Owned(body)),
            }
        }
        // RFC 7694, section 3.
        None => Err(Problem {
            extra: &[("Accept-Encoding", "gzip")],
            ..Problem::new(
                Code::UnsupportedMediaType,
                "the Content-Encoding is not supported; send the body in gzip or as it is",
            )
        }),
    }
}

fn empty() -> Problem {
    Problem::new(Code::MissingField, "the body is empty; send JSON")
}

/// What the body of a PATCH can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatchForm {
    /// RFC 7396.
    Merge,
    /// RFC 6902.
    Json,
}

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
/// What a PATCH takes (RFC 5789, section 3.1).
pub(super) const ACCEPT_PATCH: ExtraFields = &[(
    "Accept-Patch",
    "application/merge-patch+json, application/json-patch+json",
)];

/// What kind of patch the body is declared as.
///
/// # Errors
/// 415 names those that there are.
pub(super) fn patch_form(request: &Request<'_>) -> Result<PatchForm, Problem> {
    let mut declared = request.fields.all(Field::ContentType);
    let essence = match (declared.next(), declared.next()) {
        (Some(content_type), None) => media_type(content_type)?,
        _ => b"",
    };
    if essence.eq_ignore_ascii_case(MERGE_PATCH.as_bytes()) {
        return Ok(PatchForm::Merge);
    }
    if essence.eq_ignore_ascii_case(JSON_PATCH.as_bytes()) {
        return Ok(PatchForm::Json);
    }
    Err(Problem {
        extra: ACCEPT_PATCH,
        ..Problem::new(
            Code::UnsupportedMediaType,
            format!("a patch is declared as one; send Content-Type: {MERGE_PATCH} or {JSON_PATCH}"),
        )
    })
}

/// The document that the whole body is.
///
/// # Errors
/// 400 if it is not JSON, and those of [`json_body`].
pub(super) fn document(request: &Request<'_>) -> Result<Bytes, Problem> {
    let body = json_body(request)?;
    let minified = minify(&body);
    minified
        .map(owned)
        .map_err(|error| Problem::bad_json(&error))
}

/// Reads the body of `POST /api`, `{"id":..., "data":..., "ttl":...}`.
///
/// Members without a meaning may stand beside these, because ExDaas took them; one that means
/// something elsewhere is never passed over.
///
/// # Errors
/// 400 names what is wrong with the body or its fields.
pub(super) fn envelope(body: &[u8]) -> Result<Envelope, Problem> {
    let body = utf8(body).map_err(|error| Problem::bad_json(&error))?;
    let names = [
        "id",
        "data",
        "ttl",
        "expires_at",
        "if_match",
        "if_none_match",
    ];
    let [id, data, ttl, expires_at, conditions @ ..] = pick(body, names, "the body")?;
    if conditions.iter().any(Option::is_some) {
        return Err(Problem::new(
            Code::BadRequest,
            "if_match and if_none_match have no place in the body here; send the headers \
             If-Match and If-None-Match, or a put of POST /batch",
        ));
    }
    let id = id.map_or(Ok(None), json_id)?;
    let data = data.ok_or_else(|| {
        Problem::new(
            Code::MissingField,
            "data is missing; send it, also if it is null",
        )
    })?;
    let document = document_within(body, data)?;
    let expires = json_expires([ttl, expires_at])?;
    Ok(Envelope {
        id,
        document,
        expires,
    })
}

/// The document `data`, a valid part of the valid text `body`.
///
/// # Errors
/// 400 if it nests too deep, with the offset in `body`.
pub(super) fn document_within(body: &str, data: &str) -> Result<Bytes, Problem> {
    let minified = minify_valid(data).map_err(|mut error| {
        error.offset += data.as_ptr().addr() - body.as_ptr().addr();
        Problem::bad_json(&error)
    })?;
    Ok(owned(minified))
}

/// The raw values of the members `names` of `object`, which `label` names in messages.
///
/// # Errors
/// 400 if `object` is not a JSON object, or if one of the names stands in it twice.
pub(super) fn pick<'t, const N: usize>(
    object: &'t str,
    names: [&'static str; N],
    label: &str,
) -> Result<[Option<&'t str>; N], Problem> {
    pick_and_see(object, names, label, |_| {})
}

/// The same, where no other members may stand beside them.
///
/// # Errors
/// As [`pick`], and 400 if there is another member.
pub(super) fn pick_only<'t, const N: usize>(
    object: &'t str,
    names: [&'static str; N],
    label: &str,
) -> Result<[Option<&'t str>; N], Problem> {
    let mut unknown = None;
    let picked = pick_and_see(object, names, label, |key| unknown = Some(key))?;
    match unknown {
        None => Ok(picked),
        Some(key) => Err(Problem::new(
            Code::BadRequest,
            format!(
                "{label} takes no member {key}; send {} alone",
                names.join(", ")
            ),
        )),
    }
}

/// [`pick`] that shows each key of another member, in its quotes, to `see`.
fn pick_and_see<'t, const N: usize>(
    object: &'t str,
    names: [&'static str; N],
    label: &str,
    mut see: impl FnMut(&'t str),
) -> Result<[Option<&'t str>; N], Problem> {
    let mut values = [None; N];
    let mut twice = None;
    let visited = members(object, |raw_key, value| {
        let key = unquote(raw_key);
        let mut known = names.iter().zip(&mut values);
        let Some((name, slot)) = known.find(|(name, _)| name.as_bytes() == key.as_ref()) else {
            return see(raw_key);
        };
        if slot.replace(value).is_some() {
            twice = Some(name);
        }
    });
    match (visited, twice) {
        (Ok(()), None) => Ok(values),
        (Ok(()), Some(name)) => Err(Problem::new(
            Code::BadRequest,
            format!("{name} stands in {label} twice; send it once"),
        )),
        (Err(VisitError::Json(error)), _) => Err(Problem::bad_json(&error)),
        (Err(VisitError::OtherType), _) => Err(Problem::new(
            Code::BadRequest,
            format!(
                "{label} is not an object; send one with {}",
                names.join(", ")
            ),
        )),
    }
}

/// The id that a JSON value is; `None` if it is null.
///
/// # Errors
/// 400 if it is neither an integer of 64 bits, a string that is an id, nor null.
pub(super) fn json_id(raw: &str) -> Result<Option<Id>, Problem> {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let integer = raw.parse().map_err(|_| IdError::IntegerTooLarge)?;
        return Ok(Some(Id::Integer(integer)));
    }
    let found = match raw.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => {
            return match str::from_utf8(&unquote(raw)) {
                Ok(text) => Ok(Some(Id::from_text(text)?)),
                Err(_) => Err(Problem::new(
                    Code::BadId,
                    "the id holds half a surrogate pair; a name is UTF-8",
                )),
            };
        }
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a bool",
        _ => "a number with a fraction or an exponent",
    };
    Err(Problem::new(
        Code::BadId,
        format!("id is {found}; send an integer, a string, or null to have one chosen"),
    ))
}

/// The bytes with nothing beside them, since they may be kept for ever.
fn owned(minified: Cow<'_, [u8]>) -> Bytes {
    match minified {
        Cow::Borrowed(text) => Bytes::copy_from_slice(text),
        Cow::Owned(text) => Bytes::from(text.into_boxed_slice()),
    }
}

/// The media type of a body without its parameters, of which a charset must be UTF-8 (RFC 8259,
/// section 8.1).
fn media_type(value: &[u8]) -> Result<&[u8], Problem> {
    let mut parts = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let essence = parts.next().unwrap_or_default();
    for parameter in parts {
        let mut sides = parameter.splitn(2, |&byte| byte == b'=');
        let (name, value) = (sides.next(), sides.next().unwrap_or_default());
        let is_charset = name.is_some_and(|name| name.eq_ignore_ascii_case(b"charset"));
        let charset = value.trim_ascii_start();
        let charset = charset
            .strip_prefix(b"\"")
            .and_then(|charset| charset.strip_suffix(b"\""))
            .unwrap_or(charset);
        if is_charset && !charset.eq_ignore_ascii_case(b"utf-8") {
            return Err(Problem::new(
                Code::UnsupportedMediaType,
                "the charset of the body is not utf-8; JSON is sent in UTF-8",
            ));
        }
    }
    Ok(essence)
}

/// `application/json` and every `+json`.
fn is_json(essence: &[u8]) -> bool {
    if essence.eq_ignore_ascii_case(b"application/json") {
        return true;
    }
    let Some((name, suffix)) = essence.split_last_chunk::<5>() else {
        return false;
    };
    let slash = memchr::memchr(b'/', name).unwrap_or_default();
    suffix.eq_ignore_ascii_case(b"+json") && slash > 0 && slash + 1 < name.len()
}
