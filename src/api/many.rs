//! Requests about many documents: their operations, and the response from all outcomes.

use super::{
    BodyMode, Code, Gathering, Problem,
    render::{Reply, ReplyContext, id_json},
    visit::write_string,
};
use crate::{
    id::Id,
    limits::GET_IDS_MAX,
    op::{Op, Outcome},
};

/// How the outcomes of many operations are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManyRender {
    body_mode: BodyMode,
}

/// Plans `GET /docs?ids=`, whose value is `ids`.
///
/// # Errors
/// 400 names the id that is wrong by its place in the list.
pub(super) fn plan_ids(ids: &str, body_mode: BodyMode) -> Result<Gathering, Problem> {
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
    let ids = ids.split(',').enumerate().map(id_of);
    let ops = ids.map(|id| id.map(|id| Op::Get { id }));
    Ok(Gathering::Many {
        ops: ops.collect::<Result<_, _>>()?,
        render: ManyRender { body_mode },
    })
}

/// Appends the whole response for `outcomes`, each that of the operation on the id beside it.
pub fn render_many(
    render: &ManyRender,
    ids: &[Id],
    outcomes: &[Outcome],
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    let mut body = b"{\"docs\":[".to_vec();
    for (n, (id, outcome)) in ids.iter().zip(outcomes).enumerate() {
        if n > 0 {
            body.push(b',');
        }
        match outcome {
            Outcome::Found { document, .. } => write_document(id, document, &mut body),
            Outcome::Missing => write_error(id, Code::NotFound.text(), &mut body),
            Outcome::Refused(refusal) => {
                write_error(id, Problem::from(*refusal).code, &mut body);
            }
            other => unreachable!("{other:?} is no outcome of a read"),
        }
    }
    body.extend_from_slice(b"]}");
    Reply::new(render.body_mode, context, out).ok(&[&body]);
}

/// Appends a document as an element of a list.
pub(super) fn write_document(id: &Id, document: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(&id_json(id));
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(document);
    out.push(b'}');
}

/// Appends what stands in place of a document that cannot be shown.
fn write_error(id: &Id, code: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(&id_json(id));
    out.extend_from_slice(b",\"data\":null,\"error\":");
    write_string(code, out);
    out.push(b'}');
}
