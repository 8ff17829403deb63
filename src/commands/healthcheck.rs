//! `oxdaas healthcheck`: whether the server of a data directory answers, for a container engine.
//!
//! The lock file says where the server listens, so that this needs no options
//! but those of `serve`, and an image needs no HTTP client beside the binary.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
};

use super::{
    client::{Client, ClientArgs, ClientError, Method},
    serve::ServeArgs,
};
use crate::{
    api::Code,
    limits::CLIENT_BODY_BYTES_MAX,
    log::{Holder, holder},
};

/// Why the server is not well.
#[derive(Debug, thiserror::Error)]
enum Illness {
    #[error("no server uses {0}")]
    NotRunning(String),
    #[error("the server of {0} does not answer yet")]
    Starting(String),
    #[error("{0} is in use by a process that cannot be told from here, as one in a container")]
    Unknown(String),
    #[error("{0}: {1}")]
    Lock(String, std::io::Error),
    #[error(transparent)]
    NoAnswer(#[from] ClientError),
    #[error("{url} answered {status} for /healthz")]
    Status { url: String, status: u16 },
}

/// Asks the server for /healthz; 0: it answers, 1: it does not, and why.
pub fn healthcheck(args: &ServeArgs) -> ExitCode {
    match ask(args) {
        Ok(url) => {
            println!("{url} answers");
            ExitCode::SUCCESS
        }
        Err(illness) => {
            eprintln!("oxdaas: {illness}");
            ExitCode::FAILURE
        }
    }
}

/// Where the server answers.
fn ask(args: &ServeArgs) -> Result<String, Illness> {
    let data_dir = args.data_dir();
    let path = data_dir.display().to_string();
    let address = match holder(data_dir) {
        Ok(Holder::Process {
            address: Some(address),
            ..
        }) => address,
        Ok(Holder::Process { address: None, .. }) => return Err(Illness::Starting(path)),
        Ok(Holder::Nobody) => return Err(Illness::NotRunning(path)),
        Ok(Holder::Unknown) => return Err(Illness::Unknown(path)),
        Err(error) => return Err(Illness::Lock(path, error)),
    };
    let address = reachable(&address);
    let url = format!("http://{address}");
    let client = Client::new(&ClientArgs::for_url(&url))?;
    let response = client.send(Method::Get, "/healthz", None)?;
    match response.status() {
        200 => Ok(url),
        // One that speaks TLS says so to who asks without; that it answers is what was asked.
        400 if asks_for_tls(&response.into_bytes(CLIENT_BODY_BYTES_MAX)?) => {
            Ok(format!("https://{address}"))
        }
        status => Err(Illness::Status { url, status }),
    }
}

/// Whether a body tells of the fault that is answered to who speaks no TLS.
fn asks_for_tls(body: &[u8]) -> bool {
    let code = format!("\"error\":\"{}\"", Code::TlsRequired.text());
    String::from_utf8_lossy(body).contains(&code)
}

/// The address to ask at: of a server that listens everywhere, the loopback.
fn reachable(address: &str) -> String {
    let Ok(mut parsed) = address.parse::<SocketAddr>() else {
        return address.to_owned();
    };
    if parsed.ip().is_unspecified() {
        parsed.set_ip(match parsed {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    parsed.to_string()
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_at_the_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:4000", "127.0.0.1:4000"),
            ("[::]:4000", "[::1]:4000"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reachable(listens), asked);
        }
    }
}
