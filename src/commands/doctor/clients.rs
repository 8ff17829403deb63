//! What is checked of who may come in, and of what their tokens are shown to on the way.

use std::net::SocketAddr;

use super::Finding;
use crate::{
    access::{Access, TokenFile, is_loopback},
    config::Config,
};

/// Whose requests are answered, where from, and whether what they show stays secret.
pub(super) fn check(config: &Config) -> Finding {
    let reach = Reach {
        listen: config.listen,
        speaks_tls: config.tls.is_some(),
    };
    match &config.access {
        Access::Loopback => reach.judge_loopback(),
        Access::Anyone => reach.judge_anyone(),
        Access::Tokens(file) => reach.judge_tokens(file),
    }
}

/// Where the server is reached, and how.
struct Reach {
    listen: SocketAddr,
    speaks_tls: bool,
}

impl Reach {
    /// Whether other machines may reach it.
    fn is_wide(&self) -> bool {
        !is_loopback(self.listen.ip())
    }

    /// The address, and who gets as far as that.
    fn place(&self) -> String {
        let listen = self.listen;
        match self.is_wide() {
            true if listen.ip().is_unspecified() => {
                format!("{listen}, which is every address of this machine")
            }
            true => format!("{listen}, which other machines may reach"),
            false => format!("{listen}, which this machine alone reaches"),
        }
    }

    fn judge_loopback(&self) -> Finding {
        let place = self.place();
        match self.is_wide() {
            true => Finding::Warning(
                format!("without tokens, at {place}: all but this machine are refused"),
                "give --token-file FILE to let others in (scripts/secret.sh makes a token), or listen on 127.0.0.1",
            ),
            false => Finding::Fine(format!("everyone on this machine, at {place}")),
        }
    }

    fn judge_anyone(&self) -> Finding {
        let place = self.place();
        match self.is_wide() {
            true => Finding::Warning(
                format!("everyone reads and writes, at {place}"),
                "give --token-file FILE in place of --allow-anonymous (scripts/secret.sh makes a token), unless a firewall keeps strangers out",
            ),
            false => Finding::Fine(format!("everyone, at {place}")),
        }
    }

    fn judge_tokens(&self, file: &TokenFile) -> Finding {
        let (count, path) = (file.token_count(), file.path().display());
        let tokens = if count == 1 { "token" } else { "tokens" };
        let found = format!(
            "whoever shows one of {count} {tokens} of {path}, at {}",
            self.place()
        );
        if self.is_wide() && !self.speaks_tls {
            return Finding::Warning(
                format!("{found}, in plain text: who listens on the way has the token"),
                "give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that has TLS",
            );
        }
        match file.cautions().first() {
            Some(caution) => Finding::Warning(
                format!("{found}; {caution}"),
                "then send a server that runs SIGHUP",
            ),
            None => Finding::Fine(format!(
                "{found}{}",
                if self.speaks_tls { ", by TLS" } else { "" }
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_reach_is_told_and_warned_of() {
        let reach = |listen: &str| Reach {
            listen: listen.parse().expect("an address"),
            speaks_tls: false,
        };
        for (listen, mark, place) in [
            ("127.0.0.1:1", "ok", "this machine alone"),
            ("127.9.9.9:1", "ok", "this machine alone"),
            ("[::1]:1", "ok", "this machine alone"),
            ("[::ffff:127.0.0.1]:1", "ok", "this machine alone"),
            ("0.0.0.0:1", "warn", "every address"),
            ("[::]:1", "warn", "every address"),
            ("10.0.0.1:1", "warn", "other machines may reach"),
            ("[fe80::1]:1", "warn", "other machines may reach"),
        ] {
            for finding in [reach(listen).judge_loopback(), reach(listen).judge_anyone()] {
                assert_eq!(finding.mark(), mark, "{listen}: {finding}");
                assert!(finding.to_string().contains(place), "{listen}: {finding}");
            }
        }
    }
}
