//! The client's side of HTTP, for the commands that talk to a running server.
//!
//! A [`Client`] is one server and the token for it; connections are kept alive
//! and shared by its clones, which may be on several threads. Nothing here
//! prints a token, and every wait has a bound, so that a server that hangs is an
//! error and not a command that hangs.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::{
    Agent,
    http::{
        Request, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    },
    tls::{Certificate, RootCerts, TlsConfig},
};

use crate::{
    id::Id,
    limits::{CLIENT_CONNECT_TIMEOUT_MS, CLIENT_READ_TIMEOUT_MS, TOKEN_FILE_BYTES_MAX},
    tls::{self, IdentityError},
};

/// What stays as it is in a path or a query; `.` does not, so that no name is a dot segment.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// The variable that holds a token itself, where there is no file for it.
const TOKEN_VARIABLE: &str = "OXDAAS_TOKEN";

/// Which server, as typed.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// The server [default: http://127.0.0.1:4000, or its port $PORT when PORT is set]
    #[arg(long, value_name = "URL", env = "OXDAAS_URL")]
    url: Option<String>,

    /// Port of the server on this machine, as hosting platforms set it
    #[arg(long, value_name = "PORT", env = "PORT", hide = true)]
    port: Option<u16>,

    /// File with the certificates, in PEM, of the authorities that an https:// server may be
    /// certified by [default: those that this machine trusts]
    #[arg(long, value_name = "FILE", env = "OXDAAS_CA_FILE")]
    ca_file: Option<PathBuf>,

    /// File whose first token is sent, as the server takes it; a token may also be in OXDAAS_TOKEN
    #[arg(long, value_name = "FILE", env = "OXDAAS_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

impl ClientArgs {
    /// The server at `url`, without a token.
    pub fn for_url(url: &str) -> ClientArgs {
        ClientArgs {
            url: Some(url.to_owned()),
            port: None,
            ca_file: None,
            token_file: None,
        }
    }
}

/// What is asked of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Stores under the id in the path.
    Put,
    /// Stores, or asks what needs a body.
    Post,
    /// Removes.
    Delete,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

/// One server, and what it is told of who asks.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    /// Without a slash at its end.
    url: String,
    /// The `Authorization` field, marked as one that is not shown.
    authorization: Option<HeaderValue>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error(
        "{0} is not the address of a server; write it as http://127.0.0.1:4000 or https://NAME:4000"
    )]
    Url(String),
    /// The authorities cannot be read.
    #[error("--ca-file {0}")]
    Authorities(#[from] IdentityError),
    /// This machine trusts nobody.
    #[error(
        "this machine has no certificates of authorities: install ca-certificates, or name a file with --ca-file"
    )]
    NoAuthorities,
    /// The token cannot be read.
    #[error("the token cannot be read from {source_name}: {reason}")]
    Token {
        /// The file or variable.
        source_name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server did not answer, or not in HTTP.
    #[error("no answer from {url}: {reason}; {}", remedy(reason))]
    NoAnswer {
        /// The server.
        url: String,
        /// What happened.
        reason: String,
    },
}

/// A response whose head is there; its body may still be on its way.
pub struct Response {
    url: String,
    inner: ureq::http::Response<ureq::Body>,
}

impl Client {
    /// The client that the flags and the environment describe.
    ///
    /// # Errors
    /// [`ClientError::Url`] and [`ClientError::Token`]; the server is not asked yet.
    pub fn new(args: &ClientArgs) -> Result<Client, ClientError> {
        let url = match (&args.url, args.port) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(port)) => format!("http://127.0.0.1:{port}"),
            (None, None) => "http://127.0.0.1:4000".to_owned(),
        };
        let parsed: Option<Uri> = url.parse().ok();
        let has_host = |uri: &Uri| uri.host().is_some();
        let scheme = parsed.filter(has_host);
        let scheme = scheme.as_ref().and_then(Uri::scheme_str);
        let tls = match scheme {
            Some("http") => TlsConfig::default(),
            Some("https") => TlsConfig::builder()
                .root_certs(authorities(args.ca_file.as_deref())?)
                .unversioned_rustls_crypto_provider(tls::provider())
                .build(),
            _ => return Err(ClientError::Url(url)),
        };
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(Duration::from_millis(CLIENT_CONNECT_TIMEOUT_MS)))
            .timeout_per_read(Some(Duration::from_millis(CLIENT_READ_TIMEOUT_MS)))
            .timeout_per_write(Some(Duration::from_millis(CLIENT_READ_TIMEOUT_MS)))
            .user_agent(concat!("oxdaas/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Client {
            agent: Agent::new_with_config(config),
            url,
            authorization: authorization(args.token_file.as_deref())?,
        })
    }

    /// The address of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request and waits for the head of its response, whatever its status.
    ///
    /// `target` begins with a slash and is encoded; a body is declared as JSON.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`]; whether a write took place is not known then.
    pub fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<&[u8]>,
    ) -> Result<Response, ClientError> {
        let mut request = Request::builder()
            .method(method.name())
            .uri(format!("{}{target}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let answered = match body {
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(body)
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
        };
        match answered {
            Ok(inner) => Ok(Response {
                url: self.url.clone(),
                inner,
            }),
            Err(error) => Err(no_answer(&self.url, &error)),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.url).finish()
    }
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    /// Whether the status is a 2xx.
    pub fn is_success(&self) -> bool {
        self.inner.status().is_success()
    }

    /// The body as it comes, whatever its length; an error when it breaks off.
    pub fn into_reader(self) -> impl Read {
        self.inner.into_body().into_reader()
    }

    /// The body, as far as `bytes_max`.
    ///
    /// # Errors
    /// [`ClientError::NoAnswer`] when it breaks off or is longer.
    pub fn into_bytes(self, bytes_max: u64) -> Result<Vec<u8>, ClientError> {
        let body = self.inner.into_body().into_with_config();
        body.limit(bytes_max)
            .read_to_vec()
            .map_err(|error| no_answer(&self.url, &error))
    }
}

/// The target of a document.
#[must_use]
pub fn document_target(id: &Id) -> String {
    format!("/docs/{}", encoded(&id.to_string()))
}

/// Text as it stands in a path segment or in a value of a query.
pub fn encoded(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, ENCODED)
}

fn no_answer(url: &str, error: &ureq::Error) -> ClientError {
    ClientError::NoAnswer {
        url: url.to_owned(),
        reason: error.to_string(),
    }
}

/// Who may certify the server.
fn authorities(ca_file: Option<&Path>) -> Result<RootCerts, ClientError> {
    let trusted = match ca_file {
        Some(path) => tls::read_certificates(path)?,
        // What of it cannot be read is not trusted.
        None => rustls_native_certs::load_native_certs().certs,
    };
    if trusted.is_empty() {
        return Err(ClientError::NoAuthorities);
    }
    let trusted = trusted.iter();
    let trusted = trusted.map(|certificate| Certificate::from_der(certificate).to_owned());
    Ok(RootCerts::Specific(Arc::new(trusted.collect())))
}

/// What to do when there is no answer for this reason.
fn remedy(reason: &str) -> &'static str {
    match reason {
        _ if reason.contains("CaUsedAsEndEntity") => {
            "the server's certificate is that of an authority: make it with basicConstraints=CA:FALSE"
        }
        _ if reason.contains("invalid peer certificate") => {
            "--url must have a name of the server's certificate, and --ca-file the certificate of its authority"
        }
        _ => "is the server running there?",
    }
}

/// The field that carries the token, if there is one: of the file, else of the environment.
fn authorization(token_file: Option<&Path>) -> Result<Option<HeaderValue>, ClientError> {
    let (token, source_name) = match token_file {
        Some(path) => {
            let name = path.display().to_string();
            match first_token(path) {
                Ok(token) => (token, name),
                Err(error) => {
                    return Err(ClientError::Token {
                        source_name: name,
                        reason: error.to_string(),
                    });
                }
            }
        }
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(token) if !token.is_empty() => (token, TOKEN_VARIABLE.to_owned()),
            _ => return Ok(None),
        },
    };
    // The token itself is in no message.
    let mut field =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ClientError::Token {
            source_name,
            reason: "it holds a control character or one beyond ASCII".to_owned(),
        })?;
    field.set_sensitive(true);
    Ok(Some(field))
}

/// The first word of the first line that has one and is no comment; what follows it says what
/// the token may do.
fn first_token(path: &Path) -> io::Result<String> {
    let bytes_max = u64::try_from(TOKEN_FILE_BYTES_MAX).expect("a small constant");
    let content = io::read_to_string(File::open(path)?.take(bytes_max))?;
    let mut words = content
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    match words.find(|word| !word.starts_with('#')) {
        Some(token) => Ok(token.to_owned()),
        None => Err(io::Error::other("it has no line with a token")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_has_a_target_without_special_characters() {
        let target = |text: &str| document_target(&Id::from_text(text).expect("an id"));
        assert_eq!(target("-12"), "/docs/-12");
        assert_eq!(target("user:7"), "/docs/user%3A7");
        assert_eq!(target(".."), "/docs/%2E%2E");
        assert_eq!(target("a/b?c#d e%"), "/docs/a%2Fb%3Fc%23d%20e%25");
        assert_eq!(target("ü"), "/docs/%C3%BC");
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        for url in ["", "localhost", "ftp://localhost", "http://", "http:// x"] {
            let client = Client::new(&ClientArgs::for_url(url));
            assert!(matches!(client, Err(ClientError::Url(_))), "{url:?}");
        }
    }
}
