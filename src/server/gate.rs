//! The gate of a core: which requests are served at all.
//!
//! What a connection's peer must show is settled once, when it is accepted. Requests of one that
//! must show nothing cost a comparison; the others are judged before anything of them but the
//! head is looked at.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use crate::{
    access::{Access, Grant, Tokens},
    api::{self, Need, Problem},
    http::Request,
};

/// What the peer of a connection must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Open,
    /// A token, with each request.
    Token,
}

/// What a core knows of who may come in.
pub struct Gate {
    /// The tokens, looked up without a lock while they stay the same.
    tokens: Option<Cache<Arc<ArcSwap<Tokens>>, Arc<Tokens>>>,
}

impl Gate {
    pub fn new(access: &Access) -> Gate {
        Gate {
            tokens: match access {
                Access::Anyone => None,
                Access::Tokens(file) => Some(Cache::new(file.current())),
            },
        }
    }

    /// What the peer of a new connection must show.
    pub fn guard(&self) -> Guard {
        match self.tokens {
            Some(_) => Guard::Token,
            None => Guard::Open,
        }
    }

    /// What `request`, which needs `need`, may do.
    ///
    /// # Errors
    /// The [`Problem`] that it is refused with.
    pub fn admit(
        &mut self,
        guard: Guard,
        request: &Request<'_>,
        need: Need,
    ) -> Result<Grant, Problem> {
        match (guard, &mut self.tokens) {
            (Guard::Token, Some(tokens)) => api::admit(request, need, tokens.load()),
            _ => Ok(Grant::Write),
        }
    }
}
