//! Requests about many documents: their operations, and the response from all outcomes.

use super::{
    BodyMode, Code, Element, Gathering, Problem,
    render::{ReadVerdict, Reply, ReplyContext, id_json, read_verdict},
    visit::write_string,
};
use crate::{
    http::Status,
    id::Id,
    limits::GET_IDS_MAX,
    op::{AtomicFailure, Condition, Op, Outcome, Ttl, Version},
};

/// How the outcomes of many operations are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManyRender {
    body_mode: BodyMode,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// `{"docs":[...]}`, all operations being reads.
    Documents,
    /// `{"results":[...]}`.
    Results(Vec<ElementFace>),
}

/// What an operation of a batch was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ElementFace {
    Get {
        /// What must hold for the document to be shown.
        condition: Option<Box<Condition>>,
    },
    Put,
    Patch,
    Increment,
    Delete,
}

impl ManyRender {
    /// The answer to a batch of operations that were `faces`.
    pub(super) fn results(body_mode: BodyMode, faces: Vec<ElementFace>) -> ManyRender {
        ManyRender {
            body_mode,
            form: Form::Results(faces),
        }
    }

    /// For each operation what must hold of the document that it reads.
    #[must_use]
    pub fn guards(&self) -> Vec<Option<Box<Condition>>> {
        let Form::Results(faces) = &self.form else {
            return Vec::new();
        };
        let guard = |face: &ElementFace| match face {
            ElementFace::Get { condition } => condition.clone(),
            _ => None,
        };
        faces.iter().map(guard).collect()
    }
}

/// Plans `GET /docs?ids=`, whose value is `ids`.
///
/// # Errors
/// 400 names the id that is wrong by its place in the list.
pub(super) fn plan_ids(ids: &str, body_mode: BodyMode) -> Result<Gathering, Problem> {
    let reads = ids_of(ids)?.into_iter();
    Ok(Gathering::Many {
        elements: reads.map(|id| Element::Run(Op::Get { id })).collect(),
        render: ManyRender {
            body_mode,
            form: Form::Documents,
        },
    })
}

/// The ids of a list of them.
///
/// # Errors
/// 400 when they are too many or one of them is none.
pub(super) fn ids_of(ids: &str) -> Result<Vec<Id>, Problem> {
    let count = ids.split(',').count();
    if count > GET_IDS_MAX {
        return Err(Problem::new(
            Code::BadRequest,
            format!("ids has {count} ids; send at most {GET_IDS_MAX} in one request"),
        ));
    }
    let id_of = |(place, text): (usize, &str)| {
        Id::from_text(text)
            .map_err(|error| Problem::new(Code::BadId, format!("ids[{place}]: {error}")))
    };
    ids.split(',').enumerate().map(id_of).collect()
}

/// Appends the whole response for `outcomes`, each that of the operation on the id beside it.
///
/// # Panics
/// If `ids` and `outcomes` are not of the plan that `render` is from.
pub fn render_many(
    render: &ManyRender,
    ids: &[Option<Id>],
    outcomes: &[Outcome],
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    let answered = ids.iter().zip(outcomes);
    let mut body = Vec::new();
    match &render.form {
        Form::Documents => {
            body.extend_from_slice(b"{\"docs\":[");
            for (n, (id, outcome)) in answered.enumerate() {
                separate(n, &mut body);
                let id = id.as_ref().expect("the client named it");
                write_read(id, outcome, &mut body);
            }
        }
        Form::Results(faces) => {
            body.extend_from_slice(b"{\"results\":[");
            for (n, (face, (id, outcome))) in faces.iter().zip(answered).enumerate() {
                separate(n, &mut body);
                write_result(face, id.as_ref(), outcome, &mut body);
            }
        }
    }
    body.extend_from_slice(b"]}");
    let position = outcomes.iter().filter_map(Outcome::position).max();
    Reply::new(render.body_mode, context, out)
        .positioned(position)
        .ok(&[&body]);
}

/// Appends the whole response for operations of which nothing took effect because of `failure`.
///
/// # Panics
/// As [`render_many`].
pub fn render_failure(
    render: &ManyRender,
    ids: &[Option<Id>],
    failure: &AtomicFailure,
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    let AtomicFailure { place, outcome } = failure;
    let id = place.and_then(|place| ids[place].as_ref());
    let problem = match (outcome, id) {
        (Outcome::Refused(refusal), _) => Problem::from(*refusal),
        (Outcome::Missing, Some(id)) => Problem::not_found(id),
        _ => Problem::precondition_failed(),
    };
    let reply = Reply::new(render.body_mode, context, out);
    let Some(place) = place else {
        return reply.problem(&problem);
    };
    let label = format!("nothing of the batch was applied; ops[{place}]");
    reply.problem(&Problem {
        index: Some(*place),
        ..problem.at(&label)
    });
}

fn separate(place: usize, out: &mut Vec<u8>) {
    if place > 0 {
        out.push(b',');
    }
}

/// Appends the document that was read, or what stands in its place.
fn write_read(id: &Id, outcome: &Outcome, out: &mut Vec<u8>) {
    let code = match outcome {
        Outcome::Found { document, ttl, .. } => return write_document(id, document, *ttl, out),
        Outcome::Missing => Code::NotFound.text(),
        Outcome::Refused(refusal) => Problem::from(*refusal).code,
        other => unreachable!("{other:?} is no outcome of a read"),
    };
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(&id_json(id));
    out.extend_from_slice(b",\"data\":null,\"error\":");
    write_string(code, out);
    out.push(b'}');
}

/// Appends a document as an element of a list.
pub(super) fn write_document(id: &Id, document: &[u8], ttl: Option<Ttl>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(&id_json(id));
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(document);
    write_ttl(ttl, out);
    out.push(b'}');
}

/// Appends the member that tells how long a document still has, if it expires.
fn write_ttl(ttl: Option<Ttl>, out: &mut Vec<u8>) {
    if let Some(ttl) = ttl {
        out.extend_from_slice(b",\"ttl\":");
        out.extend_from_slice(ttl.to_string().as_bytes());
    }
}

/// Appends the result of one operation of a batch: the status that it would have alone, and
/// what else its response would say.
fn write_result(face: &ElementFace, id: Option<&Id>, outcome: &Outcome, out: &mut Vec<u8>) {
    match result(face, id, outcome) {
        Ok(result) => result.write(out),
        Err(problem) => {
            write_status(problem.status, out);
            out.extend_from_slice(b",\"error\":");
            write_string(problem.code, out);
            out.extend_from_slice(b",\"message\":");
            write_string(&problem.message, out);
            out.push(b'}');
        }
    }
}

/// What an operation that was not refused answers.
struct ElementResult<'a> {
    status: Status,
    id: &'a Id,
    etag: Option<Version>,
    shown: Option<Member<'a>>,
    ttl: Option<Ttl>,
}

/// A name that needs no escapes, and a JSON text.
type Member<'a> = (&'static str, &'a [u8]);

fn result<'a>(
    face: &ElementFace,
    id: Option<&'a Id>,
    outcome: &'a Outcome,
) -> Result<ElementResult<'a>, Problem> {
    if let Outcome::Refused(refusal) = outcome {
        return Err(Problem::from(*refusal));
    }
    let id = id.expect("only a refused operation has no id");
    let stored = |created: bool| match created {
        true => Status::Created,
        false => Status::Ok,
    };
    let (status, etag, shown) = match (face, outcome) {
        (_, Outcome::ConditionFailed) => return Err(Problem::precondition_failed()),
        (
            ElementFace::Get { condition },
            Outcome::Found {
                document, version, ..
            },
        ) => match read_verdict(condition.as_deref(), *version) {
            ReadVerdict::Shown => {
                let data: Member<'a> = ("data", &document[..]);
                (Status::Ok, Some(*version), Some(data))
            }
            ReadVerdict::NotModified => (Status::NotModified, Some(*version), None),
            ReadVerdict::Failed => return Err(Problem::precondition_failed()),
        },
        (_, Outcome::Missing) => return Err(Problem::not_found(id)),
        (
            ElementFace::Put,
            Outcome::Stored {
                created, version, ..
            },
        )
        | (
            ElementFace::Patch,
            Outcome::Edited {
                created, version, ..
            },
        ) => (stored(*created), Some(*version), None),
        (
            ElementFace::Increment,
            Outcome::Edited {
                created,
                version,
                shown,
                ..
            },
        ) => (
            stored(*created),
            Some(*version),
            Some(("value", &shown[..])),
        ),
        (ElementFace::Delete, Outcome::Deleted { .. }) => (Status::NoContent, None, None),
        (face, outcome) => unreachable!("{outcome:?} is no outcome of {face:?}"),
    };
    Ok(ElementResult {
        status,
        id,
        etag,
        shown,
        ttl: outcome.ttl(),
    })
}

impl ElementResult<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        write_status(self.status, out);
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(&id_json(self.id));
        if let Some(Version(version)) = self.etag {
            out.extend_from_slice(b",\"etag\":\"\\\"");
            out.extend_from_slice(itoa::Buffer::new().format(version).as_bytes());
            out.extend_from_slice(b"\\\"\"");
        }
        if let Some((name, value)) = self.shown {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value);
        }
        write_ttl(self.ttl, out);
        out.push(b'}');
    }
}

fn write_status(status: Status, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status\":");
    out.extend_from_slice(itoa::Buffer::new().format(status.code()).as_bytes());
}
