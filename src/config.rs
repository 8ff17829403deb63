//! What an operator can set, as the server means it.
//!
//! `commands` reads flags and environment variables into a [`Config`]; tests and
//! the simulator build one by hand, with sizes as small as the bounds allow.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    access::{Access, Origin},
    journal::Sink,
    limits,
};

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fsync {
    /// After its fdatasync: a crash or power loss loses nothing acknowledged
    Always,
    /// Before it, with one fdatasync a second: a crash of the machine can lose the last second or two
    Everysec,
    /// Before it, left to the kernel: a crash of the machine can lose some 30 seconds
    Never,
}

impl Fsync {
    /// The policy's name, as the flag takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fsync::Always => "always",
            Fsync::Everysec => "everysec",
            Fsync::Never => "never",
        }
    }
}

/// How lines for the operator are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people, and for what reads the Common Log Format
    Text,
    /// One JSON object a line
    Json,
}

/// Everything that `serve` can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the log lives.
    pub data_dir: PathBuf,
    /// How many cores to run on.
    pub cores: u16,
    /// The core that runs the log writer, below `cores`.
    pub log_core: u16,
    /// When a write is acknowledged.
    pub fsync: Fsync,
    /// The length of a segment.
    pub segment_bytes: u32,
    /// The longest request body.
    pub body_bytes_max: usize,
    /// The most connections at a time.
    pub connections_max: usize,
    /// Who is answered.
    pub access: Access,
    /// The most of them from one address (IPv6: from one /64); those of this machine do not count.
    pub connections_per_address_max: usize,
    /// Origins whose pages may use the server, beside its own.
    pub cors_origins: Vec<Origin>,
    /// The certificate and key, when the listener speaks TLS.
    pub tls: Option<TlsFiles>,
    /// How long clients may take.
    pub timeouts: Timeouts,
    /// How many parcels fit a channel between two cores.
    pub mesh_parcels_max: usize,
    /// How the access log is written.
    pub log_format: LogFormat,
    /// Where each request is noted.
    pub access_log: Option<Sink>,
    /// From when on a request is slow, and told of.
    pub slow: Option<Duration>,
}

/// Files in PEM that say who the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then the chain to its authority.
    pub cert: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// How long a client may take for each part of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// For the next [`limits::BODY_RATE_BYTES_MIN`] of a body.
    pub body: Duration,
    /// Between requests.
    pub idle: Duration,
    /// For the next byte of a response to be taken.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            head: Duration::from_millis(limits::HEAD_TIMEOUT_MS_DEFAULT),
            body: Duration::from_millis(limits::BODY_TIMEOUT_MS_DEFAULT),
            idle: Duration::from_millis(limits::IDLE_TIMEOUT_MS_DEFAULT),
            write: Duration::from_millis(limits::WRITE_TIMEOUT_MS_DEFAULT),
        }
    }
}
