//! Admission: whether a request may be served, by its head alone.
//!
//! A request needs a right that its method and its path tell; only of a batch the body does, and
//! it is looked at again as a [`Plan`]. The rest of a request that is refused is never read.

use super::{Code, Element, Gathering, Plan, Problem, problem::ExtraFields, route::Route};
use crate::{
    access::{Grant, Tokens},
    http::{Cors, Field, Method, Request},
    op::Op,
};

/// What a request needs to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nothing: everyone may see whether the server is well, and what methods a path takes.
    Nothing,
    /// To read; of a batch its plan tells whether it needs more.
    Read,
    /// To write.
    Write,
}

impl Need {
    /// That of `request`.
    #[must_use]
    pub fn of(request: &Request<'_>) -> Need {
        let route = || Route::locate(request.path).1;
        match request.method {
            Method::Options => Need::Nothing,
            Method::Get | Method::Head => match route() {
                Some(route) if route.is_open() => Need::Nothing,
                _ => Need::Read,
            },
            Method::Post if matches!(route(), Some(Route::Command | Route::Batch)) => Need::Read,
            _ => Need::Write,
        }
    }

    /// The same of a request whose body is yet to come: nobody unknown has it kept here.
    #[must_use]
    pub fn with_body(self) -> Need {
        self.max(Need::Read)
    }
}

impl Plan {
    /// Whether it may change a document.
    fn writes(&self) -> bool {
        let changes = |op: &Op| !matches!(op, Op::Get { .. });
        match self {
            Plan::Run { op, .. } => changes(op),
            Plan::Create { .. } => true,
            Plan::Gather(Gathering::Many { elements, .. } | Gathering::Atomic { elements, .. }) => {
                elements.iter().any(|element| match element {
                    Element::Run(op) => changes(op),
                    Element::Create { .. } => true,
                })
            }
            Plan::Gather(Gathering::List { .. })
            | Plan::Answer(_)
            | Plan::Report { .. }
            | Plan::Figures { .. }
            | Plan::Stream(_) => false,
        }
    }

    /// The plan, if someone with `grant` may have it carried out.
    ///
    /// # Errors
    /// 403 for a write of someone who may only read.
    pub fn granted(self, grant: Grant) -> Result<Plan, Problem> {
        match grant == Grant::Read && self.writes() {
            true => Err(reads_only()),
            false => Ok(self),
        }
    }
}

/// What the token of `request` grants, if that is what it needs.
///
/// # Errors
/// 401 without a token that is known, 403 for one that grants too little, 400 for two.
pub fn admit(request: &Request<'_>, need: Need, tokens: &Tokens) -> Result<Grant, Problem> {
    if need == Need::Nothing {
        return Ok(Grant::Read);
    }
    let mut fields = request.fields.all(Field::Authorization);
    let Some(field) = fields.next() else {
        return Err(unauthorized(
            CHALLENGE,
            "this server asks for a token; send Authorization: Bearer TOKEN",
        ));
    };
    // RFC 6750, section 3.1; two readers could each take another one.
    if fields.next().is_some() {
        return Err(Problem::new(
            Code::BadRequest,
            "the request has two Authorization fields; send one",
        ));
    }
    let Some(token) = bearer_token(field) else {
        return Err(unauthorized(
            CHALLENGE,
            "this server takes bearer tokens alone; send Authorization: Bearer TOKEN",
        ));
    };
    match tokens.grant(token) {
        None => Err(unauthorized(
            CHALLENGE_INVALID,
            "the token is not one that this server knows; ask its operator for one",
        )),
        Some(Grant::Read) if need == Need::Write => Err(reads_only()),
        Some(grant) => Ok(grant),
    }
}

/// What a request from another machine may do while there are no tokens.
///
/// # Errors
/// 403 that says how to configure the server, unless it needs nothing.
pub fn admit_stranger(need: Need) -> Result<Grant, Problem> {
    match need {
        Need::Nothing => Ok(Grant::Read),
        Need::Read | Need::Write => Err(Problem::new(
            Code::Forbidden,
            "this server has no tokens, so it answers its own machine alone; start it with \
             --token-file FILE (OXDAAS_TOKEN_FILE) and send Authorization: Bearer TOKEN, or with \
             --allow-anonymous (OXDAAS_ALLOW_ANONYMOUS=1) to let everyone read and write",
        )),
    }
}

/// Whether a request with an `Origin` may have `plan` carried out where nobody shows a token.
///
/// A browser sends simple requests of any page to any server, also to one that trusts this
/// machine; the page sees nothing of the answer, but a write would have taken place.
///
/// # Errors
/// 403 for a write of a page of another origin that is not allowed.
pub fn admit_page(request: &Request<'_>, plan: &Plan) -> Result<(), Problem> {
    match !plan.writes() || matches!(request.cors, Cors::Allowed(_)) || is_same_origin(request) {
        true => Ok(()),
        false => Err(Problem::new(
            Code::Forbidden,
            "pages of other origins may not write here; \
             the operator lets those of one with --cors-origin ORIGIN",
        )),
    }
}

/// Whether the page has the host and the port that it asks.
fn is_same_origin(request: &Request<'_>) -> bool {
    let mut origins = request.fields.all(Field::Origin);
    let host = request.fields.first(Field::Host).unwrap_or_default();
    origins.all(|origin| {
        let schemes: [&[u8]; 2] = [b"http://", b"https://"];
        let authority = schemes
            .iter()
            .find_map(|scheme| origin.strip_prefix(*scheme));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    })
}

/// The challenge to someone who shows no token (RFC 6750, section 3).
const CHALLENGE: &[(&str, &str)] = &[("WWW-Authenticate", "Bearer realm=\"oxdaas\"")];
/// The challenge to someone whose token is not known.
const CHALLENGE_INVALID: &[(&str, &str)] = &[(
    "WWW-Authenticate",
    "Bearer realm=\"oxdaas\", error=\"invalid_token\"",
)];
/// The challenge to someone whose token grants too little.
const CHALLENGE_SCOPE: &[(&str, &str)] = &[(
    "WWW-Authenticate",
    "Bearer realm=\"oxdaas\", error=\"insufficient_scope\"",
)];

/// The token in the value of an `Authorization` field; the scheme is in any case
/// (RFC 9110, section 11.1).
fn bearer_token(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked("Bearer".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer") && token.first() == Some(&b' ');
    is_bearer.then(|| token.trim_ascii_start())
}

fn unauthorized(challenge: ExtraFields, message: &'static str) -> Problem {
    Problem {
        extra: challenge,
        ..Problem::new(Code::Unauthorized, message)
    }
}

fn reads_only() -> Problem {
    Problem {
        extra: CHALLENGE_SCOPE,
        ..Problem::new(
            Code::Forbidden,
            "the token may only read; send one that may write (rw in the token file)",
        )
    }
}
