//! CORS: what pages of other origins may send and see (the Fetch standard, section 3.3).
//!
//! The fields are written once, when the server starts, and kept as long as the process: a
//! response then has them for the price of a copy.

use crate::{
    access::Origin,
    http::{Cors, CorsFields, Field, Fields},
};

/// Fields of a response that a page sees beside those that it always does.
const EXPOSED: &str = "Accept-Encoding, Accept-Patch, Allow, Content-Location, ETag, Expires-In, \
                       Location, Log-Position, Preference-Applied, Retry-After, WWW-Authenticate";
/// Fields of a request that a page may set beside those that it always may.
const ALLOWED: &str = "Authorization, Content-Encoding, Content-Type, Durability, If-Match, \
                       If-None-Match, Last-Event-ID, Prefer";
/// Seconds for which a page need not ask again.
const PREFLIGHT_AGE_S: &str = "600";

/// The origins whose pages may use the server.
#[derive(Clone, Debug)]
pub struct CorsRules {
    /// Each with the fields of a response to it; `*` is alone.
    origins: Vec<(Origin, Cors)>,
}

impl CorsRules {
    /// The rules for these origins; `None`: pages of the server's own origin alone.
    #[must_use]
    pub fn new(origins: &[Origin]) -> Option<CorsRules> {
        let any = origins.iter().find(|origin| origin.is_any());
        let origins = any.map_or(origins, std::slice::from_ref);
        let rules = origins.iter().map(|origin| {
            let vary = if origin.is_any() {
                ""
            } else {
                "Vary: Origin\r\n"
            };
            let lines = format!(
                "Access-Control-Allow-Origin: {origin}\r\n\
                 Access-Control-Expose-Headers: {EXPOSED}\r\n{vary}"
            );
            (origin.clone(), Cors::Allowed(CorsFields::keep(&lines)))
        });
        let origins: Vec<_> = rules.collect();
        (!origins.is_empty()).then_some(CorsRules { origins })
    }

    /// What the response to a request with these fields says.
    #[must_use]
    pub fn of(&self, fields: &Fields<'_>) -> Cors {
        let asked = fields.first(Field::Origin).unwrap_or_default();
        let mut rules = self.origins.iter();
        let found = rules.find(|(origin, _)| origin.is_any() || origin.text().as_bytes() == asked);
        found.map_or(Cors::Refused, |&(_, cors)| cors)
    }

    /// What the response to something that was no request says: nobody knows whose page sent it.
    #[must_use]
    pub fn of_unread(&self) -> Cors {
        match self.origins.as_slice() {
            [(_, cors)] => *cors,
            _ => Cors::Refused,
        }
    }
}

/// What a preflight for a path is answered beside that, whose methods are `allow`.
pub(super) fn preflight_fields(allow: &str) -> [(&'static str, &str); 3] {
    [
        ("Access-Control-Allow-Methods", allow),
        ("Access-Control-Allow-Headers", ALLOWED),
        ("Access-Control-Max-Age", PREFLIGHT_AGE_S),
    ]
}
