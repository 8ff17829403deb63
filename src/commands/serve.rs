//! `oxdaas serve`: flags and environment to a configuration, then run to the end.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use sd_notify::NotifyState;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::logging::{LogLevel, journal_events};
use crate::{
    access::{Access, Origin, OriginError, TokenFile, TokenFileError, is_loopback},
    config::{Config, Fsync, LogFormat, Timeouts, TlsFiles},
    journal::{Journal, Sink},
    limits,
    server::{self, Running},
};

/// How long the last lines of the log may take.
const FLUSH_PATIENCE: Duration = Duration::from_millis(limits::JOURNAL_FLUSH_MS_MAX);

/// The options of `serve`, as typed.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:4000, or
    /// 0.0.0.0:$PORT when PORT is set]
    #[arg(long, value_name = "ADDR:PORT", env = "OXDAAS_LISTEN")]
    listen: Option<String>,

    /// Port to listen on at all addresses, as hosting platforms set it
    #[arg(long, value_name = "PORT", env = "PORT", hide = true)]
    port: Option<u16>,

    /// Directory of the log; created if missing, locked while in use
    #[arg(
        long,
        value_name = "DIR",
        env = "OXDAAS_DATA_DIR",
        default_value = "./oxdaas-data"
    )]
    data_dir: PathBuf,

    /// How many cores to run on [default: every CPU that the process may use]; more than
    /// there are CPUs run unpinned
    #[arg(long, value_name = "N", env = "OXDAAS_CORES", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    cores: Option<u16>,

    /// Which core runs the log writer, counted from 0
    #[arg(long, value_name = "K", env = "OXDAAS_LOG_CORE", default_value_t = 0)]
    log_core: u16,

    /// When a write is acknowledged
    #[arg(long, value_enum, env = "OXDAAS_FSYNC", default_value_t = Fsync::Always)]
    fsync: Fsync,

    /// Bytes of a log segment (4096 to 1073741824)
    #[arg(long, value_name = "N", env = "OXDAAS_SEGMENT_BYTES", default_value_t = 64 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(4096..=1024 * 1024 * 1024))]
    segment_bytes: u32,

    /// File with the tokens that clients must show, one a line, ro after those that only read;
    /// read again on SIGHUP
    #[arg(long, value_name = "FILE", env = "OXDAAS_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// Answer everyone without a token; otherwise a server without a token file answers its own
    /// machine alone
    #[arg(long, env = "OXDAAS_ALLOW_ANONYMOUS", value_parser = yes_or_no)]
    allow_anonymous: bool,

    /// Origin whose pages may use the server from a browser, as https://app.example, or * for all;
    /// may be given several times, in the variable with commas between
    #[arg(long, value_name = "ORIGIN", env = "OXDAAS_CORS_ORIGIN", value_delimiter = ',',
          value_parser = origin)]
    cors_origin: Vec<Option<Origin>>,

    /// Longest request body, in bytes (up to 268435456); beyond it the answer is 413
    #[arg(long, value_name = "N", env = "OXDAAS_BODY_BYTES_MAX",
          default_value_t = limits::BODY_BYTES_MAX_DEFAULT)]
    body_bytes_max: usize,

    /// Most connections at a time; beyond it the answer is 503
    #[arg(long, value_name = "N", env = "OXDAAS_CONNECTIONS_MAX",
          default_value_t = limits::CONNECTIONS_MAX_DEFAULT)]
    connections_max: usize,

    /// Most connections from one address, for IPv6 from one /64; beyond it the answer is 503;
    /// those of this machine do not count [default: a half of --connections-max]
    #[arg(long, value_name = "N", env = "OXDAAS_CONNECTIONS_PER_ADDRESS_MAX")]
    connections_per_address_max: Option<usize>,

    /// File with the server's certificate and its chain, in PEM: with it the server speaks TLS (1.2
    /// and 1.3) and nothing else; read again on SIGHUP
    #[arg(long, value_name = "FILE", env = "OXDAAS_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// File with the private key of that certificate, in PEM (PKCS#8, SEC1 or PKCS#1)
    #[arg(long, value_name = "FILE", env = "OXDAAS_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Milliseconds from the first byte of a request head to its end; beyond it the answer is 408
    #[arg(long, value_name = "MS", env = "OXDAAS_HEAD_TIMEOUT_MS",
          default_value_t = limits::HEAD_TIMEOUT_MS_DEFAULT)]
    head_timeout_ms: u64,

    /// Milliseconds for the next 1024 bytes of a request body; beyond it the answer is 408
    #[arg(long, value_name = "MS", env = "OXDAAS_BODY_TIMEOUT_MS",
          default_value_t = limits::BODY_TIMEOUT_MS_DEFAULT)]
    body_timeout_ms: u64,

    /// Milliseconds that a connection may be idle between requests before it is closed
    #[arg(long, value_name = "MS", env = "OXDAAS_IDLE_TIMEOUT_MS",
          default_value_t = limits::IDLE_TIMEOUT_MS_DEFAULT)]
    idle_timeout_ms: u64,

    /// Milliseconds that a client may take no byte of a response before it is cut off
    #[arg(long, value_name = "MS", env = "OXDAAS_WRITE_TIMEOUT_MS",
          default_value_t = limits::WRITE_TIMEOUT_MS_DEFAULT)]
    write_timeout_ms: u64,

    /// How log lines are written, to standard error and to the access log
    #[arg(long, value_enum, env = "OXDAAS_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// How much the server says of itself on standard error
    #[arg(long, value_enum, env = "OXDAAS_LOG", default_value_t = LogLevel::Info)]
    log_level: LogLevel,

    /// File to note each request in, '-' for standard output; SIGHUP opens it anew
    #[arg(long, value_name = "FILE", env = "OXDAAS_ACCESS_LOG")]
    access_log: Option<PathBuf>,

    /// Milliseconds from which on a request is slow, and the log says so; 0: none is
    #[arg(long, value_name = "MS", env = "OXDAAS_SLOW_MS",
          default_value_t = limits::SLOW_MS_DEFAULT)]
    slow_ms: u64,

    /// Run in a session of its own, as `oxdaas start` has it
    #[arg(long, hide = true)]
    detached: bool,

    /// Parcels that fit the channel between two cores; small values are for tests
    #[arg(long, value_name = "N", env = "OXDAAS_MESH_PARCELS_MAX", hide = true,
          default_value_t = limits::MESH_PARCELS_MAX)]
    mesh_parcels_max: usize,
}

/// Why the flags do not make a configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArgsError {
    #[error("--listen {0} is not an address and a port; write it as 127.0.0.1:4000 or [::1]:4000")]
    Listen(String),
    #[error("--log-core {log_core} does not exist; there are {cores} cores, counted from 0")]
    LogCore { log_core: u16, cores: u16 },
    #[error("--body-bytes-max {0} is too large; at most {max} bytes fit a record", max = limits::BODY_BYTES_MAX_CEILING)]
    Body(usize),
    #[error("--{0} must be at least 1")]
    Zero(&'static str),
    #[error("--allow-anonymous lets everyone in and --token-file does not: give one of them")]
    Anonymous,
    #[error("--cors-origin has {0} origins; give {max} at most", max = limits::CORS_ORIGINS_MAX)]
    Origins(usize),
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    #[error("--{given} needs --{missing} as well: TLS takes a certificate and its key")]
    Tls {
        given: &'static str,
        missing: &'static str,
    },
}

impl ServeArgs {
    /// Where the log lives.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether the access log is standard output.
    pub(super) fn logs_access_to_stdout(&self) -> bool {
        self.access_log.as_deref() == Some(Path::new("-"))
    }

    pub(super) fn to_config(&self) -> Result<Config, ArgsError> {
        let cores = self.cores.unwrap_or_else(available_cores);
        if self.log_core >= cores {
            return Err(ArgsError::LogCore {
                log_core: self.log_core,
                cores,
            });
        }
        if self.body_bytes_max > limits::BODY_BYTES_MAX_CEILING {
            return Err(ArgsError::Body(self.body_bytes_max));
        }
        let connections_per_address_max = self.connections_per_address_max.unwrap_or_else(|| {
            self.connections_max
                .div_ceil(limits::CONNECTIONS_PER_ADDRESS_SHARE)
        });
        for (name, value) in [
            ("body-bytes-max", self.body_bytes_max),
            ("connections-max", self.connections_max),
            ("connections-per-address-max", connections_per_address_max),
            ("mesh-parcels-max", self.mesh_parcels_max),
        ] {
            if value == 0 {
                return Err(ArgsError::Zero(name));
            }
        }
        Ok(Config {
            listen: self.address()?,
            data_dir: self.data_dir.clone(),
            cores,
            log_core: self.log_core,
            fsync: self.fsync,
            segment_bytes: self.segment_bytes,
            body_bytes_max: self.body_bytes_max,
            connections_max: self.connections_max,
            access: self.access()?,
            cors_origins: self.cors_origins()?,
            connections_per_address_max,
            tls: self.tls_files()?,
            timeouts: Timeouts {
                head: Duration::from_millis(self.head_timeout_ms),
                body: Duration::from_millis(self.body_timeout_ms),
                idle: Duration::from_millis(self.idle_timeout_ms),
                write: Duration::from_millis(self.write_timeout_ms),
            },
            mesh_parcels_max: self.mesh_parcels_max,
            log_format: self.log_format,
            access_log: self
                .access_log
                .clone()
                .map(|path| match self.logs_access_to_stdout() {
                    true => Sink::Stdout,
                    false => Sink::File(path),
                }),
            slow: Some(Duration::from_millis(self.slow_ms)).filter(|slow| !slow.is_zero()),
        })
    }

    fn cors_origins(&self) -> Result<Vec<Origin>, ArgsError> {
        let origins: Vec<Origin> = self.cors_origin.iter().flatten().cloned().collect();
        match origins.len() > limits::CORS_ORIGINS_MAX {
            true => Err(ArgsError::Origins(origins.len())),
            false => Ok(origins),
        }
    }

    fn access(&self) -> Result<Access, ArgsError> {
        match &self.token_file {
            Some(_) if self.allow_anonymous => Err(ArgsError::Anonymous),
            Some(path) => Ok(Access::Tokens(TokenFile::open(path)?)),
            None if self.allow_anonymous => Ok(Access::Anyone),
            None => Ok(Access::Loopback),
        }
    }

    fn tls_files(&self) -> Result<Option<TlsFiles>, ArgsError> {
        // A variable that is set to nothing is as good as unset.
        let given =
            |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let lone = |given, missing| Err(ArgsError::Tls { given, missing });
        match (given(&self.tls_cert), given(&self.tls_key)) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
            (Some(_), None) => lone("tls-cert", "tls-key"),
            (None, Some(_)) => lone("tls-key", "tls-cert"),
        }
    }

    fn address(&self) -> Result<SocketAddr, ArgsError> {
        let Some(listen) = &self.listen else {
            return Ok(match self.port {
                Some(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
                None => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4000),
            });
        };
        let mut addresses = listen
            .to_socket_addrs()
            .map_err(|_| ArgsError::Listen(listen.clone()))?;
        addresses
            .next()
            .ok_or_else(|| ArgsError::Listen(listen.clone()))
    }
}

/// The value of a variable that stands for a flag; one that is set to nothing is as good as unset.
fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("write 1 or 0"),
    }
}

/// An origin as it is typed; in a variable that is set to nothing there is none.
fn origin(text: &str) -> Result<Option<Origin>, OriginError> {
    match text.trim() {
        "" => Ok(None),
        text => Origin::parse(text).map(Some),
    }
}

/// CPUs that affinity masks and cgroup quotas leave to this process.
pub(super) fn available_cores() -> u16 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cpus.min(limits::CORES_MAX)).expect("CORES_MAX fits 16 bits")
}

/// Runs the server until SIGTERM or SIGINT; the exit code says whether all went well.
pub fn serve(args: &ServeArgs) -> ExitCode {
    // First of all, so that no signal is lost: neither while files are read that SIGHUP has
    // read again, nor during recovery.
    let signals = match Signals::new([SIGHUP, SIGTERM, SIGINT]) {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("signals cannot be handled: {error}")),
    };
    let config = match args.to_config() {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    let events = match journal_events(args.log_format, args.log_level) {
        Ok(events) => events,
        Err(error) => return fail(&format!("the log has no thread: {error}")),
    };
    end_the_process_when_a_core_panics(events.clone());
    let code = run(&config, args, &events, signals);
    events.flush(FLUSH_PATIENCE);
    code
}

/// Runs the server; what it says goes to `events`.
fn run(config: &Config, args: &ServeArgs, events: &Journal, mut signals: Signals) -> ExitCode {
    // Best effort: a process that already leads a session has no terminal to lose.
    if args.detached {
        let _ = rustix::process::setsid();
    }
    if usize::from(config.cores) > usize::from(available_cores()) {
        tracing::warn!(
            cores = config.cores,
            cpus = available_cores(),
            "more cores than CPUs: they run unpinned"
        );
    }
    tell_access(config);
    let running = match server::start(config, events) {
        Ok(running) => running,
        Err(error) => return fail(&error),
    };
    if let Some(cut) = &running.cut {
        tracing::warn!("recovery: {cut}");
    }
    tracing::info!(
        address = %running.address,
        cores = config.cores,
        documents = running.document_count,
        recovery_s = running.recovery.as_secs_f64(),
        fsync = config.fsync.name(),
        "ready"
    );
    // What was said so far is there when the server is.
    events.flush(FLUSH_PATIENCE);
    if announce(config, &running).is_err() {
        tracing::warn!("nobody reads standard output; the server runs all the same");
    }
    tell_manager(&[
        NotifyState::Ready,
        NotifyState::Status(&format!("listening on {}", running.address)),
    ]);
    while signals.forever().next() == Some(SIGHUP) {
        read_again(config, &running);
    }
    tracing::info!("draining");
    tell_manager(&[NotifyState::Stopping]);
    running.stop();
    // A second signal does not wait for slow clients.
    std::thread::spawn(move || {
        if signals.forever().any(|signal| signal != SIGHUP) {
            std::process::exit(1);
        }
    });
    match running.join() {
        true => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        false => fail(
            &"the log could not be synced at the end; writes that were not acknowledged may be missing",
        ),
    }
}

/// Reads again, on SIGHUP, each file whose content can change while the server runs. One that
/// is wrong is told in the log, and what it said before stays in force.
fn read_again(config: &Config, running: &Running) {
    tracing::info!("SIGHUP: files of settings are read again, the access log is opened anew");
    running.reopen_access_log();
    running.reload_identity();
    if let Access::Tokens(file) = &config.access {
        match file.reload() {
            Ok(()) => tell_tokens(file),
            Err(error) => tracing::error!("{error}; the tokens stay what they were"),
        }
    }
}

/// What the log says of who is answered.
fn tell_access(config: &Config) {
    let address = config.listen;
    let is_reachable = !is_loopback(address.ip());
    match &config.access {
        Access::Tokens(file) => tell_tokens(file),
        Access::Loopback if is_reachable => tracing::warn!(
            "without tokens, only this machine is answered on {address}: give --token-file FILE, \
             or --allow-anonymous to let everyone in"
        ),
        Access::Anyone if is_reachable => {
            tracing::warn!("everyone who reaches {address} can read and write");
        }
        Access::Loopback | Access::Anyone => {}
    }
}

/// What the log says of a token file that was read.
fn tell_tokens(file: &TokenFile) {
    let path = file.path().display();
    tracing::info!("{count} tokens in {path}", count = file.token_count());
    for caution in file.cautions() {
        tracing::warn!("{caution}");
    }
}

/// The one line that says that the server is ready.
fn announce(config: &Config, running: &Running) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "oxdaas {version} listening on {address}{tls}, {cores} {noun}, {documents} documents recovered in {seconds:.3} s, fsync {fsync}",
        version = env!("CARGO_PKG_VERSION"),
        address = running.address,
        tls = if config.tls.is_some() { " (TLS)" } else { "" },
        cores = config.cores,
        noun = if config.cores == 1 { "core" } else { "cores" },
        documents = running.document_count,
        seconds = running.recovery.as_secs_f64(),
        fsync = config.fsync.name(),
    )?;
    out.flush()
}

/// Tells a service manager that waits for it (sd_notify(3)); without one, nothing.
fn tell_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("oxdaas: {error}");
    ExitCode::FAILURE
}

/// A broken invariant on one core must not leave the others serving without it.
fn end_the_process_when_a_core_panics(events: Journal) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        events.flush(FLUSH_PATIENCE);
        std::process::abort();
    }));
}
