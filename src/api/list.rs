//! `GET /docs`: from its query to a listing, from a page to the response.

use std::borrow::Cow;

use super::{
    BodyMode, Code, Plan, Problem,
    command::given_twice,
    cursor,
    render::{Reply, ReplyContext, id_json},
};
use crate::{
    http::{Request, query_pairs},
    id::{Id, IdError},
    limits::{LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, NAME_BYTES_MAX},
    listing::{Listing, Page},
};

/// How a page of ids is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRender {
    body_mode: BodyMode,
}

/// Plans `GET /docs`.
///
/// # Errors
/// 400 names the parameter that is wrong.
pub(super) fn plan_list(request: &Request<'_>) -> Result<Plan, Problem> {
    let [limit, after, prefix] = parameters(
        request.query.unwrap_or_default(),
        ["limit", "after", "prefix"],
    )?;
    let listing = Listing {
        after: after.map(|text| after_of(&text)).transpose()?,
        prefix: prefix.map(|text| prefix_of(&text)).transpose()?,
        limit: limit.map_or(Ok(LIST_LIMIT_DEFAULT), |text| limit_of(&text))?,
    };
    let body_mode = BodyMode::of(request.method);
    Ok(Plan::List {
        listing,
        render: ListRender { body_mode },
    })
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
    body.extend_from_slice(b"],\"after\":");
    match page.entries.last() {
        Some(last) if page.more => {
            body.push(b'"');
            body.extend_from_slice(cursor::encode(&last.id).as_bytes());
            body.push(b'"');
        }
        _ => body.extend_from_slice(b"null"),
    }
    body.push(b'}');
    Reply::new(render.body_mode, context, out).ok(&[&body]);
}

/// The values of the parameters `names` of a query; others are not looked at.
fn parameters<'r, const N: usize>(
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

fn prefix_of(text: &str) -> Result<Box<str>, Problem> {
    if text.len() > NAME_BYTES_MAX {
        return Err(IdError::TooLong(text.len()).into());
    }
    Ok(text.into())
}
