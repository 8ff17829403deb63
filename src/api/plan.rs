//! Plans: from a request to the operation that it asks for.
//!
//! Everything that can be wrong with a request by itself is found here, before
//! anything is looked up or stored: the route, the id, conditions, the body.

use bytes::Bytes;

use super::{
    Code, Problem,
    batch::plan_batch,
    body::{ACCEPT_PATCH, document, envelope, json_body},
    changes::plan_changes,
    command::{command, given_twice},
    durability::durability,
    edit::patch_of,
    expiry::{out_of_place, query_expires},
    figures::FiguresFormat,
    increment::increment_of,
    list::{ListRender, plan_documents},
    many::ManyRender,
    part::Part,
    prefer::Returned,
    render::{BodyMode, Face, ReadCondition, Render},
    route::Route,
    stream::{Stream, StreamKind},
};
use crate::{
    http::{Coding, Cors, EntityTags, Field, Method, Request, decode_segment, query_pairs},
    id::Id,
    listing::Listing,
    op::{Chosen, Condition, Edit, Expires, Match, Op, Shows},
};

/// What the server must do for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Answer at once: there is nothing to look up.
    Answer(Answer),
    /// Run `op` at the owner of its id and render the outcome.
    Run {
        /// The operation.
        op: Op,
        /// How its outcome is answered.
        render: Render,
    },
    /// Store `document` under an id that the server chooses, on the condition that there is
    /// none yet, and render the outcome with that id.
    Create {
        /// Valid JSON without insignificant white space.
        document: Bytes,
        /// When it ends by itself.
        expires: Expires,
        /// How its outcome is answered.
        render: Render,
    },
    /// Bring together what several cores know.
    Gather(Gathering),
    /// Say how the server itself does.
    Report {
        /// What about it.
        report: Report,
        /// Whether the answer has its body.
        body_mode: BodyMode,
    },
    /// Bring together what all cores count.
    Figures {
        /// How it is written.
        format: FiguresFormat,
        /// Whether the answer has its body, and how.
        body_mode: BodyMode,
    },
    /// Answer with a body that is made while it is sent.
    Stream(Stream),
}

/// What is brought together for a request about many documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gathering {
    /// Ask every shard for its next ids, merge them and render the page.
    List {
        /// Which ids.
        listing: Listing,
        /// How the page is answered.
        render: ListRender,
    },
    /// Run each of `elements` at the owner of its id and render all outcomes.
    Many {
        /// The operations; those on one id take effect in order.
        elements: Vec<Element>,
        /// How their outcomes are answered.
        render: ManyRender,
    },
    /// The same, all of them together or not at all.
    Atomic {
        /// The operations; those on one id take effect in order.
        elements: Vec<Element>,
        /// How their outcomes, or the first failure, are answered.
        render: ManyRender,
    },
}

/// One of many operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// An operation on a document that the client named.
    Run(Op),
    /// A document that is stored under an id that the server chooses, on the condition that
    /// there is none yet.
    Create {
        /// Valid JSON without insignificant white space.
        document: Bytes,
        /// When it ends by itself.
        expires: Expires,
    },
}

/// What can be asked about the server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// `/healthz`: whether the process answers at all.
    Health,
    /// `/readyz`: whether it can do all of its work.
    Readiness,
}

/// A response that depends on nothing but the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 204 to an OPTIONS.
    Options {
        /// The methods of the path, as `Allow`.
        allow: &'static str,
        /// Further fields, name and value.
        extra: &'static [(&'static str, &'static str)],
        /// What a page of another origin may do.
        cors: Cors,
    },
    /// The description of the API.
    Description {
        /// Whether the answer has its body, and how.
        body_mode: BodyMode,
    },
    /// The dashboard.
    Dashboard {
        /// As before.
        body_mode: BodyMode,
    },
}

/// Plans what to do for `request`.
///
/// Costs a pass or two over the body, and for a GET of an integer no allocation.
///
/// # Errors
/// The [`Problem`] to answer with; nothing is to be done.
pub fn plan(request: &Request<'_>) -> Result<Plan, Problem> {
    let route = Route::of(request.path)?;
    let expires = request.query.map_or(Ok(Expires::Never), query_expires);
    let expires = match (route, request.method) {
        (Route::Document(_), Method::Put) | (Route::Documents, Method::Post) => expires?,
        _ if matches!(expires, Ok(Expires::Never)) => Expires::Never,
        // What the query says does not matter to a method that there is not.
        (_, method) if !route.takes(method) => {
            return Err(Problem::method_not_allowed(route.allow()));
        }
        _ => return Err(expires.err().unwrap_or_else(out_of_place)),
    };
    match (route, request.method) {
        (Route::Document(segment), Method::Get | Method::Head) => get_document(request, segment),
        (Route::Document(segment), Method::Put) => put_document(request, segment, expires),
        (Route::Document(segment), Method::Patch) => patch_document(request, segment),
        (Route::Document(segment), Method::Delete) => delete_document(request, segment),
        (Route::Increment(segment), Method::Post) => increment_document(request, segment),
        (Route::Documents, Method::Post) => create_document(request, expires),
        (Route::Documents, Method::Get | Method::Head) => plan_documents(request),
        (Route::Changes, Method::Get | Method::Head) => plan_changes(request),
        (Route::Backup, Method::Get | Method::Head) => {
            Ok(Plan::Stream(Stream::new(request, StreamKind::Backup)))
        }
        (Route::Batch, Method::Post) => plan_batch(request),
        (Route::Api, Method::Get | Method::Head) => get_api(request),
        (Route::Api, Method::Post) => post_api(request),
        (Route::Command, Method::Get | Method::Head | Method::Post) => run_command(request),
        (Route::Report(report), Method::Get | Method::Head) => Ok(Plan::Report {
            report,
            body_mode: BodyMode::of(request),
        }),
        (Route::Figures(format), Method::Get | Method::Head) => Ok(Plan::Figures {
            format,
            body_mode: BodyMode::of(request),
        }),
        (Route::Dashboard, Method::Get | Method::Head) => Ok(Plan::Answer(Answer::Dashboard {
            body_mode: BodyMode::of(request),
        })),
        (Route::Description, Method::Get | Method::Head) => Ok(Plan::Answer(Answer::Description {
            body_mode: BodyMode::of(request),
        })),
        (_, Method::Options) => Ok(Plan::Answer(Answer::Options {
            allow: route.allow(),
            extra: match route {
                Route::Document(_) => ACCEPT_PATCH,
                _ => &[],
            },
            cors: request.cors,
        })),
        _ => Err(Problem::method_not_allowed(route.allow())),
    }
}

fn get_document(request: &Request<'_>, segment: &str) -> Result<Plan, Problem> {
    let id = path_id(segment)?;
    let part = match request.query {
        Some(query) => Part::of(query)?.map(Box::new),
        None => None,
    };
    let face = Face::Document {
        condition: read_condition(request)?,
        part,
    };
    Ok(Plan::Run {
        op: Op::Get { id: id.clone() },
        render: Render::new(request, Some(id), face),
    })
}

fn put_document(request: &Request<'_>, segment: &str, expires: Expires) -> Result<Plan, Problem> {
    let id = path_id(segment)?;
    // RFC 9110, section 14.5: taking a part for the whole would destroy the rest.
    if request.fields.has(Field::ContentRange) {
        return Err(Problem::new(
            Code::BadRequest,
            "Content-Range: a document is stored whole; send all of it without the header",
        ));
    }
    let document = document(request)?;
    let condition = condition(request)?;
    let returned = Returned::of(request);
    let op = match returned {
        Returned::Usual | Returned::Minimal => Op::Put {
            id: id.clone(),
            document,
            condition,
            chosen: Chosen::ByClient,
            expires,
        },
        // What is stored may be another way to write an equal document.
        Returned::Representation => Op::Edit {
            id: id.clone(),
            edit: Edit::Replace { document, expires },
            condition,
            shows: Shows::Document,
        },
    };
    Ok(Plan::Run {
        op,
        render: Render::new(request, Some(id), Face::Put).returning(returned),
    })
}

fn patch_document(request: &Request<'_>, segment: &str) -> Result<Plan, Problem> {
    let id = path_id(segment)?;
    let condition = condition(request)?;
    let returned = Returned::of(request);
    Ok(Plan::Run {
        op: Op::Edit {
            id: id.clone(),
            edit: patch_of(request, condition.as_deref())?,
            condition,
            shows: shows(returned),
        },
        render: Render::new(request, Some(id), Face::Patch).returning(returned),
    })
}

fn increment_document(request: &Request<'_>, segment: &str) -> Result<Plan, Problem> {
    let id = path_id(segment)?;
    let returned = Returned::of(request);
    Ok(Plan::Run {
        op: Op::Edit {
            id: id.clone(),
            edit: Edit::Increment(Box::new(increment_of(request)?)),
            condition: condition(request)?,
            shows: shows(returned),
        },
        render: Render::new(request, Some(id), Face::Increment).returning(returned),
    })
}

/// What an edit must show so that `returned` can be answered.
fn shows(returned: Returned) -> Shows {
    match returned {
        Returned::Usual | Returned::Minimal => Shows::Answer,
        Returned::Representation => Shows::Document,
    }
}

fn delete_document(request: &Request<'_>, segment: &str) -> Result<Plan, Problem> {
    let id = path_id(segment)?;
    Ok(Plan::Run {
        op: Op::Delete {
            id: id.clone(),
            condition: condition(request)?,
        },
        render: Render::new(request, Some(id), Face::Delete),
    })
}

fn create_document(request: &Request<'_>, expires: Expires) -> Result<Plan, Problem> {
    let document = document(request)?;
    holds_of_nothing(request)?;
    let returned = Returned::of(request);
    let face = Face::Create {
        document: (returned == Returned::Representation).then(|| document.clone()),
    };
    Ok(Plan::Create {
        document,
        expires,
        render: Render::new(request, None, face).returning(returned),
    })
}

fn get_api(request: &Request<'_>) -> Result<Plan, Problem> {
    let mut found = None;
    for pair in query_pairs(request.query.unwrap_or_default()) {
        let (name, value) = pair?;
        if name == "id" && found.replace(Id::from_text(&value)?).is_some() {
            return Err(given_twice(&name));
        }
    }
    let id = found
        .ok_or_else(|| Problem::new(Code::MissingField, "id is missing; send it as /api?id=ID"))?;
    Ok(Plan::Run {
        op: Op::Get { id: id.clone() },
        render: Render::new(request, Some(id), Face::ApiGet),
    })
}

fn post_api(request: &Request<'_>) -> Result<Plan, Problem> {
    let envelope = envelope(&json_body(request)?)?;
    let condition = condition(request)?;
    let (document, expires) = (envelope.document, envelope.expires);
    let face = Face::ApiPost {
        document: document.clone(),
    };
    let render = Render::new(request, envelope.id.clone(), face);
    match envelope.id {
        Some(id) => Ok(Plan::Run {
            op: Op::Put {
                id,
                document,
                condition,
                chosen: Chosen::ByClient,
                expires,
            },
            render,
        }),
        None => {
            holds_of_nothing(request)?;
            Ok(Plan::Create {
                document,
                expires,
                render,
            })
        }
    }
}

fn run_command(request: &Request<'_>) -> Result<Plan, Problem> {
    let (id, command) = command(request)?;
    Ok(Plan::Run {
        op: Op::Get { id },
        render: Render::new(request, None, Face::Command(Box::new(command))),
    })
}

/// The id that a segment of a path names.
fn path_id(segment: &str) -> Result<Id, Problem> {
    Ok(Id::from_text(&decode_segment(segment)?)?)
}

/// The condition that `If-Match` and `If-None-Match` make, if one of them is there.
fn condition(request: &Request<'_>) -> Result<Option<Box<Condition>>, Problem> {
    Ok(condition_of(request, |tags| tags.versions_weak())?.map(Box::new))
}

/// The same for a read: what the client has is current if it is in the coding of the answer.
fn read_condition(request: &Request<'_>) -> Result<Option<Box<ReadCondition>>, Problem> {
    let condition = |coding| condition_of(request, |tags| tags.versions_in(coding));
    let (Some(identity), Some(gzip)) = (condition(Coding::Identity)?, condition(Coding::Gzip)?)
    else {
        return Ok(None);
    };
    Ok(Some(Box::new(ReadCondition { identity, gzip })))
}

/// The condition, `of_none` being the versions that the tags of `If-None-Match` name.
fn condition_of(
    request: &Request<'_>,
    of_none: impl Fn(&EntityTags<'_>) -> Match,
) -> Result<Option<Condition>, Problem> {
    let fields = &request.fields;
    if !fields.has(Field::IfMatch) && !fields.has(Field::IfNoneMatch) {
        return Ok(None);
    }
    let tags = |field| EntityTags::parse(fields.all(field));
    Ok(Some(Condition {
        if_match: tags(Field::IfMatch)?.map(|tags| tags.versions_strong()),
        if_none_match: tags(Field::IfNoneMatch)?.map(|tags| of_none(&tags)),
    }))
}

/// A document whose id is yet to be chosen does not exist: 412 for a condition that needs it to.
fn holds_of_nothing(request: &Request<'_>) -> Result<(), Problem> {
    let condition = condition(request)?;
    // What is wrong with the request itself goes before what it depends on.
    durability(request)?;
    match condition {
        Some(condition) if !condition.holds(None) => Err(Problem::precondition_failed()),
        _ => Ok(()),
    }
}
