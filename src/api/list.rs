//! `GET /docs`: from its query to a listing or to ids, from a page to the response.

use std::borrow::Cow;

use super::{
    BodyMode, Code, Gathering, Plan, Problem,
    command::given_twice,
    cursor,
    many::{plan_ids, write_document},
    render::{Reply, ReplyContext, id_json},
};
use crate::{
    http::{Request, query_pairs},
    id::{Id, IdError},
    limits::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, NAME_BYTES_MAX},
    listing::{Listing, Page},
    op::Outcome,
};

/// How a page of ids is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRender {
    body_mode: BodyMode,
    content: Content,
}

/// What a page shows of each document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Ids,
    Documents,
}

impl ListRender {
    /// Whether the page shows documents, for [`render_documents`], and not ids alone.
    #[must_use]
    pub fn has_documents(&self) -> bool {
        self.content == Content::Documents
    }
}

/// Plans `GET /docs`: the documents that `ids=` names, or a page of all.
///
/// # Errors
/// 400 names the parameter that is wrong.
pub(super) fn plan_documents(request: &Request<'_>) -> Result<Plan, Problem> {
    let [ids, limit, after, prefix, include] = parameters(
        request.query.unwrap_or_default(),
        ["ids", "limit", "after", "prefix", "include"],
    )?;
    let body_mode = BodyMode::of(request);
    if let Some(ids) = ids {
        let others = [&limit, &after, &prefix, &include];
        if others.iter().any(|other| other.is_some()) {
            return Err(Problem::new(
                Code::BadRequest,
                "ids names the documents; leave limit, after, prefix and include out beside it",
            ));
        }
        return Ok(Plan::Gather(plan_ids(&ids, body_mode)?));
    }
    let content = match include.as_deref() {
        None => Content::Ids,
        Some("data") => Content::Documents,
        Some(_) => {
            return Err(Problem::new(
                Code::BadRequest,
                "include is not data; send include=data, or leave it out for ids alone",
            ));
        }
    };
    let listing = Listing {
        after: after.map(|text| after_of(&text)).transpose()?,
        prefix: prefix.map(|text| prefix_of(&text)).transpose()?,
        limit: limit.map_or(Ok(LIST_LIMIT_DEFAULT), |text| limit_of(&text))?,
    };
    let render = ListRender { body_mode, content };
    Ok(Plan::Gather(Gathering::List { listing, render }))
}

/// Appends the whole response that shows `page` to `out`.
pub fn render_list(
    render: &ListRender,
    page: &Page,
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    let mut body = b"{\"ids\":[".to_vec();
    for (n, entry) in page.entries.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&id_json(&entry.id));
    }
    write_end(page, &mut body);
    Reply::new(render.body_mode, context, out).ok(&[&body]);
}

/// Appends the whole response that shows the documents of `page` to `out`.
///
/// `outcomes` are those of reading them; documents that are gone since are left out.
pub fn render_documents(
    render: &ListRender,
    page: &Page,
    outcomes: &[Outcome],
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    let mut body = b"{\"docs\":[".to_vec();
    for (entry, outcome) in page.entries.iter().zip(outcomes) {
        if let Outcome::Found { document, ttl, .. } = outcome {
            if !body.ends_with(b"[") {
                body.push(b',');
            }
            write_document(&entry.id, document, *ttl, &mut body);
        }
    }
    write_end(page, &mut body);
    Reply::new(render.body_mode, context, out).ok(&[&body]);
}

/// Ends the list of a page and gives the cursor of the next.
fn write_end(page: &Page, body: &mut Vec<u8>) {
    body.extend_from_slice(b"],\"after\":");
    match page.next() {
        Some(last) => {
            body.push(b'"');
            body.extend_from_slice(cursor::encode(last).as_bytes());
            body.push(b'"');
        }
        None => body.extend_from_slice(b"null"),
    }
    body.push(b'}');
}

/// The values of the parameters `names` of a query; others are not looked at.
pub(super) fn parameters<'r, const N: usize>(
    query: &'r str,
    names: [&'static str; N],
) -> Result<[Option<Cow<'r, str>>; N], Problem> {
    let mut values = [const { None }; N];
    for pair in query_pairs(query) {
        let (name, value) = pair?;
        let known = names.iter().zip(&mut values);
        for (_, slot) in known.filter(|(known, _)| **known == name) {
            if slot.replace(value.clone()).is_some() {
                return Err(given_twice(&name));
            }
        }
    }
    Ok(values)
}

fn limit_of(text: &str) -> Result<usize, Problem> {
    let limit = text.parse().ok().filter(|_| !text.starts_with('+'));
    limit
        .filter(|limit| (1..=LIST_LIMIT_MAX).contains(limit))
        .ok_or_else(|| {
            Problem::new(
                Code::BadRequest,
                format!("limit is not a number from 1 to {LIST_LIMIT_MAX}; send one, or leave it out for {LIST_LIMIT_DEFAULT}"),
            )
        })
}

fn after_of(text: &str) -> Result<Id, Problem> {
    cursor::decode(text).ok_or_else(|| {
        Problem::new(
            Code::BadRequest,
            "after is not a cursor; send the \"after\" of the page before, as it was received",
        )
    })
}

/// The prefix of names that a parameter says.
pub(super) fn prefix_of(text: &str) -> Result<Box<str>, Problem> {
    if text.len() > NAME_BYTES_MAX {
        return Err(IdError::TooLong(text.len()).into());
    }
    Ok(text.into())
}
