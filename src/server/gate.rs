//! The gate of a core: which requests are served at all.
//!
//! What a connection's peer must show is settled once, when it is accepted. Requests of one that
//! must show nothing cost a comparison; the others are judged before anything of them but the
//! head is looked at.

use std::{net::IpAddr, sync::Arc};

use arc_swap::{ArcSwap, Cache};

use crate::{
    access::{Access, Grant, Tokens, is_loopback},
    api::{self, Need, Problem},
    http::Request,
};

/// What the peer of a connection must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Open,
    /// It is on another machine, and there are no tokens: it can show nothing.
    Stranger,
    /// A token, with each request.
    Token,
}

/// What a core knows of who may come in.
pub enum Gate {
    /// Peers on this machine are answered.
    Loopback,
    /// Everyone is.
    Anyone,
    /// Those who show a token; they are looked up without a lock while they stay the same.
    Tokens(Cache<Arc<ArcSwap<Tokens>>, Arc<Tokens>>),
}

impl Gate {
    pub fn new(access: &Access) -> Gate {
        match access {
            Access::Loopback => Gate::Loopback,
            Access::Anyone => Gate::Anyone,
            Access::Tokens(file) => Gate::Tokens(Cache::new(file.current())),
        }
    }

    /// What a peer with this address must show.
    ///
    /// A listener of the loopback is no proof: the system can be told to pass on to it what comes
    /// from other machines (`route_localnet`).
    pub fn guard(&self, peer: IpAddr) -> Guard {
        match self {
            Gate::Loopback if is_loopback(peer) => Guard::Open,
            Gate::Loopback => Guard::Stranger,
            Gate::Anyone => Guard::Open,
            Gate::Tokens(_) => Guard::Token,
        }
    }

    /// A number that is the same as long as those who were let in still are.
    pub fn edition(&mut self) -> u64 {
        match self {
            Gate::Loopback | Gate::Anyone => 0,
            Gate::Tokens(tokens) => tokens.load().edition(),
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
        match (guard, self) {
            (Guard::Open, _) => Ok(Grant::Write),
            (Guard::Token, Gate::Tokens(tokens)) => api::admit(request, need, tokens.load()),
            (Guard::Stranger | Guard::Token, _) => api::admit_stranger(need),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tokens_a_peer_of_another_machine_is_a_stranger() {
        for (access, peer, guard) in [
            (Access::Loopback, "127.0.0.1", Guard::Open),
            (Access::Loopback, "::ffff:127.0.0.1", Guard::Open),
            (Access::Loopback, "192.0.2.1", Guard::Stranger),
            (Access::Loopback, "::ffff:192.0.2.1", Guard::Stranger),
            (Access::Anyone, "192.0.2.1", Guard::Open),
        ] {
            let address = peer.parse().expect("an address");
            assert_eq!(
                Gate::new(&access).guard(address),
                guard,
                "{access:?} {peer}"
            );
        }
    }
}
