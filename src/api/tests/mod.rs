//! The API from request bytes to response bytes, with outcomes made by hand.

mod commands;
mod docs;
mod edits;
mod exdaas;
mod parts;
mod preferences;
mod requests;

use super::*;
use crate::{
    http::{Bounds, DateField, Decoder, Persistence, Step},
    id::Id,
    op::{Lsn, Op, Outcome, Version},
};

/// The id that the "server" chooses in these tests.
const CHOSEN: Id = Id::Integer(9);

/// A request: its method and target, further header lines, and its body.
#[derive(Clone, Copy, Debug)]
struct Ask<'t>(&'t str, &'t [&'t str], &'t str);

impl Ask<'_> {
    fn planned(self) -> (Result<Plan, Problem>, BodyMode) {
        let Ask(line, fields, body) = self;
        let length = body.len();
        let mut text = format!("{line} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n");
        fields
            .iter()
            .for_each(|field| text += &format!("{field}\r\n"));
        text += &format!("\r\n{body}");
        let bounds = Bounds {
            body_bytes_max: 1 << 24,
        };
        match Decoder::new(bounds).next(text.as_bytes()) {
            Ok(Step::Request { request, .. }) => (plan(&request), BodyMode::of(&request)),
            other => panic!("{self:?}: {other:?}"),
        }
    }

    fn plan(self) -> Plan {
        self.planned()
            .0
            .unwrap_or_else(|problem| panic!("{self:?}: {problem:?}"))
    }

    /// The response, `outcome` being what comes of the operation.
    fn response(self, outcome: &Outcome) -> String {
        let date = DateField::new(0);
        let context = ReplyContext {
            date: &date,
            persistence: Persistence::KeepAlive,
        };
        let mut out = Vec::new();
        match self.planned() {
            (Ok(Plan::Answer(answer)), _) => render_answer(&answer, &context, &mut out),
            (Ok(Plan::Run { render: how, .. }), _) => {
                render(&how, outcome, None, &context, &mut out);
            }
            (Ok(Plan::Create { render: how, .. }), _) => {
                render(&how, outcome, Some(&CHOSEN), &context, &mut out);
            }
            (Ok(Plan::Report { report, body_mode }), _) => match report {
                Report::Health => render_health(body_mode, &context, &mut out),
                Report::Readiness => render_readiness(Ok(()), body_mode, &context, &mut out),
            },
            (Ok(plan @ (Plan::Gather(_) | Plan::Figures { .. } | Plan::Stream(_))), _) => {
                panic!("{self:?} has no outcome: {plan:?}")
            }
            (Err(problem), body_mode) => render_problem(&problem, body_mode, &context, &mut out),
        }
        let out = String::from_utf8(out).expect("UTF-8");
        shown(&out)
    }
}

/// A response as `STATUS; FIELD; FIELD | BODY`, less the fields that only say what they must.
fn shown(response: &str) -> String {
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.get(9..12))
        .expect("a status");
    let mut shown = status.to_owned();
    let (length, kind) = (
        format!("Content-Length: {}", body.len()),
        "Content-Type: application/json",
    );
    let is_told = |line: &&str| !line.starts_with("Date: ") && *line != "Log-Position: 3";
    for line in lines.filter(is_told) {
        if line != kind && (line != length || body.is_empty()) {
            shown += &format!("; {line}");
        }
    }
    assert_eq!(
        head.contains(kind),
        head.contains("Content-Length") && !head.contains("Content-Length: 0\r\n"),
        "{response}"
    );
    assert!(body.is_empty() || head.contains(&length), "{response}");
    if !body.is_empty() {
        serde_json::from_str::<serde_json::Value>(body).expect("JSON");
        shown += &format!(" | {body}");
    }
    shown
}

/// Expects `ask` to be answered with `expected`, as [`shown`] writes it.
fn check(ask: Ask<'_>, outcome: &Outcome, expected: &str) {
    assert_eq!(ask.response(outcome), expected, "{ask:?} {outcome:?}");
}

/// Expects `ask` to be refused with a status and code (`400 bad_id`) and a message with `part`.
fn check_refused(ask: Ask<'_>, expected: &str, part: &str) {
    match ask.planned().0 {
        Ok(plan) => panic!("{ask:?} is planned: {plan:?}"),
        Err(problem) => {
            let got = format!("{} {}", problem.status.code(), problem.code);
            assert_eq!(got, expected, "{ask:?}: {}", problem.message);
            assert!(
                problem.message.contains(part),
                "{ask:?}: {}",
                problem.message
            );
        }
    }
}

fn found(document: &'static str) -> Outcome {
    Outcome::Found {
        document: document.into(),
        version: Version(7),
        ttl: None,
    }
}

fn stored(created: bool) -> Outcome {
    Outcome::Stored {
        created,
        version: Version(7),
        position: Lsn(3),
    }
}

fn name(text: &str) -> Id {
    Id::Name(text.into())
}

/// The operation of a plan that has one.
fn op(plan: Plan) -> Op {
    match plan {
        Plan::Run { op, .. } => op,
        other => panic!("no operation: {other:?}"),
    }
}
