//! `GET /changes`: from its query to what is asked of the log, from a change to its line.

use std::collections::HashSet;

use super::{
    Code, Plan, Problem, Stream, StreamKind,
    list::{parameters, prefix_of},
    many::ids_of,
    render::id_json,
};
use crate::{
    http::{Field, Request},
    id::Id,
    limits::CHANGES_WAIT_S_MAX,
    op::Lsn,
};

/// Which changes are asked for, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// After which position; `None`: what happens from now on.
    pub since: Option<Lsn>,
    /// When the answer ends.
    pub patience: Patience,
    /// What a change looks like.
    pub format: ChangeFormat,
    filter: Filter,
}

/// When an answer with changes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It goes on.
    Live,
    /// Once it has all there are; if there are none, with the first ones, or after so many seconds.
    Seconds(u64),
}

/// What a change looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeFormat {
    /// A line of JSON.
    NdJson,
    /// A server-sent event whose data is that line.
    Events,
}

/// Documents whose changes are shown: all, or those that one of the two names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter {
    ids: Option<HashSet<Id>>,
    prefix: Option<Box<str>>,
}

impl Changes {
    /// Whether changes of the document `id` are shown.
    #[must_use]
    pub fn shows(&self, id: &Id) -> bool {
        let Filter { ids, prefix } = &self.filter;
        if ids.is_none() && prefix.is_none() {
            return true;
        }
        let is_listed = ids.as_ref().is_some_and(|ids| ids.contains(id));
        let has_prefix = |prefix: &str| matches!(id, Id::Name(name) if name.starts_with(prefix));
        is_listed || prefix.as_deref().is_some_and(has_prefix)
    }
}

/// Plans `GET /changes`.
///
/// # Errors
/// 400 names the parameter that is wrong.
pub(super) fn plan_changes(request: &Request<'_>) -> Result<Plan, Problem> {
    let [since, wait, ids, prefix] = parameters(
        request.query.unwrap_or_default(),
        ["since", "wait", "ids", "prefix"],
    )?;
    let since = since.map(|text| position_of(&text, "since")).transpose()?;
    let changes = Changes {
        // A browser that connects anew repeats the query, and says here how far it came.
        since: last_event_id(request)?.or(since),
        patience: wait.map_or(Ok(Patience::Live), |text| patience_of(&text))?,
        format: format_of(request),
        filter: Filter {
            ids: ids
                .map(|text| ids_of(&text))
                .transpose()?
                .map(|ids| ids.into_iter().collect()),
            prefix: prefix.map(|text| prefix_of(&text)).transpose()?,
        },
    };
    let kind = StreamKind::Changes(changes);
    Ok(Plan::Stream(Stream::new(request, kind)))
}

/// Appends a change of the document `id`, which is `document` now, or gone, to `out`.
pub fn write_change(
    format: ChangeFormat,
    lsn: Lsn,
    id: &Id,
    document: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    let mut number = itoa::Buffer::new();
    let lsn = number.format(lsn.0).as_bytes();
    if format == ChangeFormat::Events {
        for part in [b"id: ".as_slice(), lsn, b"\ndata: "] {
            out.extend_from_slice(part);
        }
    }
    // A document holds no line end: it is stored without white space.
    for part in [b"{\"lsn\":".as_slice(), lsn, b",\"id\":", &id_json(id)] {
        out.extend_from_slice(part);
    }
    match document {
        Some(document) => {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(document);
            out.extend_from_slice(b"}\n");
        }
        None => out.extend_from_slice(b",\"deleted\":true}\n"),
    }
    if format == ChangeFormat::Events {
        out.push(b'\n');
    }
}

/// Appends what says that there is nothing new: an empty line, or an event's comment.
pub fn write_heartbeat(format: ChangeFormat, out: &mut Vec<u8>) {
    out.extend_from_slice(match format {
        ChangeFormat::NdJson => b"\n",
        ChangeFormat::Events => b":\n\n",
    });
}

/// 410: changes after `since` are gone; those after `oldest` are all there, and the log is at
/// `position`.
#[must_use]
pub fn changes_compacted(since: Lsn, oldest: Lsn, position: Lsn) -> Problem {
    Problem::new(
        Code::ChangesCompacted,
        format!(
            "compaction has passed position {since}: some changes after it are no longer in the \
             log. since={oldest} is the oldest that is answered; to have every document, read \
             them all and then ask for since={position}"
        ),
    )
}

/// 400: the log has not come to `since` yet.
#[must_use]
pub fn position_unknown(since: Lsn, position: Lsn) -> Problem {
    Problem::new(
        Code::BadRequest,
        format!(
            "since={since} is beyond the log, which is at {position}; the position is of another \
             store, or of a state that is gone: read the documents anew"
        ),
    )
}

fn position_of(text: &str, name: &str) -> Result<Lsn, Problem> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let position = text.parse().ok().filter(|_| is_number);
    position.map(Lsn).ok_or_else(|| {
        Problem::new(
            Code::BadRequest,
            format!(
                "{name} is not a log position; send the lsn of the last change that was received, \
                 or 0 for all"
            ),
        )
    })
}

fn last_event_id(request: &Request<'_>) -> Result<Option<Lsn>, Problem> {
    let Some(value) = request.fields.first(Field::LastEventId) else {
        return Ok(None);
    };
    if value.is_empty() {
        return Ok(None);
    }
    let text = str::from_utf8(value).unwrap_or_default();
    position_of(text, "Last-Event-ID").map(Some)
}

fn patience_of(text: &str) -> Result<Patience, Problem> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| is_number);
    seconds
        .filter(|&seconds| seconds <= CHANGES_WAIT_S_MAX)
        .map(Patience::Seconds)
        .ok_or_else(|| {
            Problem::new(
                Code::BadRequest,
                format!(
                    "wait is not a number of seconds up to {CHANGES_WAIT_S_MAX}; send one, or \
                     leave it out for an answer that goes on"
                ),
            )
        })
}

/// Server-sent events for whoever lists them, lines for all others.
fn format_of(request: &Request<'_>) -> ChangeFormat {
    let mut accepted = request.fields.all(Field::Accept);
    let lists_events = |value: &[u8]| {
        value.split(|&byte| byte == b',').any(|range| {
            let name = range.split(|&byte| byte == b';').next();
            name.unwrap_or_default()
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        })
    };
    match accepted.any(lists_events) {
        true => ChangeFormat::Events,
        false => ChangeFormat::NdJson,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line_and_an_event_has_its_number() {
        let check = |format, id: Id, document: Option<&[u8]>, expected: &str| {
            let mut out = Vec::new();
            write_change(format, Lsn(9), &id, document, &mut out);
            assert_eq!(str::from_utf8(&out), Ok(expected));
        };
        let name = Id::Name("a\"b".into());
        check(
            ChangeFormat::NdJson,
            Id::Integer(-1),
            Some(b"[1.0]"),
            "{\"lsn\":9,\"id\":-1,\"data\":[1.0]}\n",
        );
        check(
            ChangeFormat::Events,
            name,
            None,
            "id: 9\ndata: {\"lsn\":9,\"id\":\"a\\\"b\",\"deleted\":true}\n\n",
        );
    }

    #[test]
    fn a_filter_shows_what_either_of_its_parts_names() {
        let changes = |ids: Option<&str>, prefix: Option<&str>| Changes {
            since: None,
            patience: Patience::Live,
            format: ChangeFormat::NdJson,
            filter: Filter {
                ids: ids.map(|ids| ids_of(ids).expect("ids").into_iter().collect()),
                prefix: prefix.map(Into::into),
            },
        };
        let shown = |changes: Changes| {
            let ids = ["1", "12", "user:7", "user:8", "u"];
            let ids = ids.map(|text| (text, Id::from_text(text).expect("an id")));
            let shown = ids.iter().filter(|(_, id)| changes.shows(id));
            shown.map(|(text, _)| *text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(changes(None, None)), "1 12 user:7 user:8 u");
        assert_eq!(shown(changes(Some("1,user:8"), None)), "1 user:8");
        assert_eq!(shown(changes(None, Some("user:"))), "user:7 user:8");
        assert_eq!(shown(changes(None, Some("1"))), "");
        assert_eq!(shown(changes(Some("1"), Some("user:8"))), "1 user:8");
    }
}
