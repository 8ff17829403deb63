//! From a configuration to a running server, and to its end.
//!
//! The order is what keeps promises: the machine is checked, the directory
//! locked, the log read by all cores and its tail repaired, and only then does
//! anyone listen. So no request is ever answered from a half-loaded store.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant, SystemTime},
};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::{
    core::{Core, Parts, TICK, Waiter},
    log_core::{LogCore, LogPort},
    preflight::{self, PreflightError},
    process::Process,
    reporter::{Journals, Reporter},
    ring::Ring,
    slicer::Slicer,
};
use crate::{
    allocator,
    api::{self, CorsRules},
    config::Config,
    id::CoreId,
    journal::Journal,
    limits::JOURNAL_FLUSH_MS_MAX,
    log::{
        Directory, DirectoryError, Kind, Lsn, Record, RecoveryError, RollError, Survey, Verdict,
        Writer, repair_tail, scan_all_expecting, survey,
    },
    mesh::{Alarm, Builder, Mesh},
    op::Expiry,
    shard::{IdSource, Rules, Shard},
    tls::{Identity, IdentityError, Validity},
};

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 16 * 1024;
/// Bytes of io_uring buffers of each executor: its files are few, its sockets have a ring of their own.
const IO_MEMORY_BYTES: usize = 1024 * 1024;

/// How long tasks of an executor run before others have their turn; ours yield by themselves.
///
/// When it expires before any task ran, because the machine is busy with others, glommio 0.9
/// sleeps although tasks are ready, until something else wakes it: at the start nothing does.
const PREEMPT_TIMER: Duration = Duration::from_secs(10);

/// How long a port that is in use is tried again.
const PORT_PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two such tries.
const PORT_RETRY: Duration = Duration::from_millis(20);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The machine lacks something.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The log cannot be read, or is damaged.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] RollError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", listen_remedy(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("--access-log {path}: {source}; name a file in a directory that the server may write to", path = path.display())]
    AccessLog {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A core could not be started.
    #[error("core {core} cannot start: {message}; {}", preflight::core_remedy())]
    Core {
        /// Which core.
        core: u16,
        /// What the system said.
        message: String,
    },
}

/// A server that answers.
pub struct Running {
    /// The address it listens on.
    pub address: SocketAddr,
    /// Documents that recovery found.
    pub document_count: usize,
    /// How long recovery took.
    pub recovery: Duration,
    /// What recovery cut from the log: records that were never acknowledged.
    pub cut: Option<String>,
    process: Arc<Process>,
    access: Option<Journal>,
    executors: Vec<ExecutorJoinHandle<bool>>,
}

impl Running {
    /// Makes the server answer what is in flight and end.
    pub fn stop(&self) {
        self.process.draining.store(true, Ordering::Relaxed);
        self.process.wake_all();
    }

    /// Opens the file of the access log anew, after it was renamed.
    pub fn reopen_access_log(&self) {
        if let Some(access) = &self.access {
            access.reopen();
        }
    }

    /// Reads the certificate and its key again, for connections that begin from now on; says
    /// in the log how that went.
    pub fn reload_identity(&self) {
        let Some(identity) = &self.process.identity else {
            return;
        };
        match identity.reload() {
            Ok(()) => report_validity(&identity.validity()),
            Err(error) => {
                tracing::error!("the certificate of before stays in force: {error}");
            }
        }
    }

    /// Waits for the end; whether everything was synced and the log closed cleanly.
    ///
    /// # Panics
    /// Panics if a core did.
    #[must_use]
    pub fn join(self) -> bool {
        let closed: Vec<bool> = self
            .executors
            .into_iter()
            .map(|executor| executor.join().expect("a panic of a core ends the process"))
            .collect();
        if let Some(access) = self.access {
            access.flush(Duration::from_millis(JOURNAL_FLUSH_MS_MAX));
        }
        closed.into_iter().all(|closed| closed)
    }
}

/// Starts the server; when this returns it answers requests. What it has to say of itself goes
/// to `tracing`, and on from there to `events`, whose losses are among its figures.
///
/// # Errors
/// [`StartError`] in one sentence that says what to do.
///
/// # Panics
/// Panics if the configuration is not within its limits.
pub fn start(config: &Config, events: &Journal) -> Result<Running, StartError> {
    assert!(
        config.log_core < config.cores,
        "checked where the configuration is read"
    );
    preflight::check()?;
    let config = &preflight::within_descriptors(config);
    let identity = config.tls.as_ref().map(Identity::load).transpose()?;
    let began = Instant::now();
    let directory = Arc::new(Directory::open(&config.data_dir)?);
    // Tried before recovery, which may take long, and not listened on before it is done.
    let address = probe(config.listen)?;
    let access = open_access_log(config)?;
    let rules = Rules {
        same_document: api::same_document,
        edit: api::edit,
        document_bytes_max: config.body_bytes_max,
    };
    let recovered = recover(&directory, config.cores, rules)?;
    repair_tail(&*directory, &recovered.verdict)?;
    allocator::give_back();
    let segment_bytes = u64::from(config.segment_bytes);
    let writer = Writer::open(Arc::clone(&directory), &recovered.verdict, segment_bytes)?;
    let recovery = began.elapsed();

    let ids = IdSource::above(recovered.verdict.floors.chosen_id);
    let mut log = Some((writer, ids));
    let process = Arc::new(Process::new(
        config.cores,
        config.connections_per_address_max,
        identity,
    ));
    let journals = Journals {
        events: events.clone(),
        access: access.clone(),
    };
    let reporter = Reporter::start(&process, config, journals).map_err(|error| {
        let message = error.to_string();
        StartError::Core { core: 0, message }
    })?;
    if let Some(identity) = &process.identity {
        report_validity(&identity.validity());
    }
    process.set_position(recovered.verdict.last(), recovered.verdict.last());
    let builder = Mesh::builder(config.cores, config.mesh_parcels_max).map_err(|error| {
        let message = error.to_string();
        StartError::Core { core: 0, message }
    })?;
    let cors = CorsRules::new(&config.cors_origins);
    let cpus = cpus();
    let (reports, arriving) = mpsc::channel();
    let mut executors = Vec::new();
    let mut document_count = 0;
    for (core, shard) in (0..config.cores).zip(recovered.shards) {
        document_count += shard.document_count();
        let slicer = Slicer::start(Arc::clone(&process), CoreId(core)).map_err(|error| {
            let message = error.to_string();
            StartError::Core { core, message }
        })?;
        let launch = Launch {
            id: CoreId(core),
            config: config.clone(),
            process: Arc::clone(&process),
            disk: Arc::clone(&directory),
            reporter: reporter.clone(),
            slicer,
            access: access.clone(),
            cors: cors.clone(),
            shard,
            log: if core == config.log_core {
                log.take()
            } else {
                None
            },
            listener: listen(address).map_err(|source| StartError::Listen { address, source })?,
            builder: builder.clone(),
        };
        let placement = match cpus.get(usize::from(core)) {
            Some(&cpu) if usize::from(config.cores) <= cpus.len() => Placement::Fixed(cpu),
            _ => Placement::Unbound,
        };
        let ready = Ready {
            core,
            reports: reports.clone(),
            told: false,
        };
        executors.push(launch.begin(placement, ready)?);
    }
    // In the order in which they come: one that fails keeps the others waiting for it.
    let mut wakes: Vec<Option<OwnedFd>> = executors.iter().map(|_| None).collect();
    for _ in 0..config.cores {
        let (core, wake) = arriving.recv().expect("a core that ends reports, too");
        match wake {
            Ok(wake) => wakes[usize::from(core)] = Some(wake),
            Err(message) => {
                let message = match executors.swap_remove(core.into()).join() {
                    Ok(_) => message,
                    Err(error) => error.to_string(),
                };
                return Err(StartError::Core { core, message });
            }
        }
    }
    let wakes = wakes.into_iter();
    let wakes = wakes
        .map(|wake| wake.expect("each core has reported once"))
        .collect();
    let cut = recovered.verdict.cut.map(|cut| cut.to_string());
    process.wakes.set(wakes).expect("set once, here");
    if let Err(error) = directory.note_address(address) {
        tracing::warn!("'oxdaas status' will not know the address: {error}");
    }
    Ok(Running {
        address,
        document_count,
        recovery,
        cut,
        process,
        access,
        executors,
    })
}

/// The access log, if there is to be one.
fn open_access_log(config: &Config) -> Result<Option<Journal>, StartError> {
    let Some(sink) = &config.access_log else {
        return Ok(None);
    };
    let journal = Journal::start("access log", sink.clone());
    journal.map(Some).map_err(|source| StartError::AccessLog {
        path: sink.path().into(),
        source,
    })
}

/// Says until when the certificate in force is valid.
fn report_validity(validity: &Validity) {
    let until = &validity.ends_text;
    match validity.remaining(SystemTime::now()) {
        Some(_) => tracing::info!("the certificate is valid until {until}"),
        None => tracing::warn!(
            "the certificate is not valid now, and clients refuse it: it is from {} until {until}",
            validity.begins_text
        ),
    }
}

/// CPUs that this process may run on, ascending.
fn cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect()
}

struct Recovered {
    shards: Vec<Shard<Waiter>>,
    verdict: Verdict,
}

/// Reads the log once on each core, which keeps the documents that it owns.
fn recover(directory: &Directory, cores: u16, rules: Rules) -> Result<Recovered, RecoveryError> {
    let survey = survey(directory)?;
    let results: Vec<_> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..cores)
            .map(|core| {
                let survey = &survey;
                scope.spawn(move || recover_shard(directory, survey, CoreId(core), cores, rules))
            })
            .collect();
        readers
            .into_iter()
            .map(|reader| reader.join().expect("recovery returns its errors"))
            .collect()
    });
    let mut shards = Vec::new();
    let mut verdicts = Vec::new();
    for result in results {
        let (shard, verdict) = result?;
        shards.push(shard);
        verdicts.push(verdict);
    }
    let verdict = verdicts.pop().expect("there is at least one core");
    assert!(
        verdicts.iter().all(|other| *other == verdict),
        "every core reads the same log"
    );
    for shard in &mut shards {
        shard.begin_versions_above(verdict.floors.version);
        shard.begin_positions_at(Lsn(verdict.next.0 - 1));
    }
    Ok(Recovered { shards, verdict })
}

fn recover_shard(
    directory: &Directory,
    survey: &Survey,
    core: CoreId,
    cores: u16,
    rules: Rules,
) -> Result<(Shard<Waiter>, Verdict), RecoveryError> {
    let shard = RefCell::new(Shard::new(rules));
    let share = |records: usize| {
        shard
            .borrow_mut()
            .expect_documents(records / usize::from(cores))
    };
    let restore = |record: &Record<'_>, location| {
        let id = record.id.to_id();
        if CoreId::owner(id.placement(), cores) != core {
            return;
        }
        let mut shard = shard.borrow_mut();
        match record.kind {
            Kind::Put => shard.restore_put(
                &id,
                record.version,
                location,
                record.document,
                Expiry::of_record(record.expires_at_ms),
            ),
            Kind::Delete => shard.restore_delete(&id),
            Kind::Mark => {}
        }
    };
    let verdict = scan_all_expecting(directory, survey, &mut { share }, &mut { restore })?;
    let mut shard = shard.into_inner();
    shard.end_restore();
    Ok((shard, verdict))
}

/// What the thread of a core is given.
struct Launch {
    id: CoreId,
    config: Config,
    process: Arc<Process>,
    disk: Arc<Directory>,
    reporter: Reporter,
    slicer: Slicer,
    access: Option<Journal>,
    cors: Option<CorsRules>,
    shard: Shard<Waiter>,
    /// For the core that runs the log.
    log: Option<(Writer<Directory>, IdSource)>,
    listener: TcpListener,
    builder: Builder,
}

/// How a core reports the descriptor that wakes it, or why it cannot start.
struct Ready {
    core: u16,
    reports: mpsc::Sender<(u16, Result<OwnedFd, String>)>,
    told: bool,
}

impl Ready {
    fn tell(mut self, wake: io::Result<OwnedFd>) {
        self.told = true;
        let wake = wake.map_err(|error| error.to_string());
        // Nobody listens any more when the start has failed already.
        let _ = self.reports.send((self.core, wake));
    }
}

/// An executor that cannot start drops what it would have run.
impl Drop for Ready {
    fn drop(&mut self) {
        if !self.told {
            let message = "its executor ended".to_owned();
            let _ = self.reports.send((self.core, Err(message)));
        }
    }
}

impl Launch {
    fn begin(
        self,
        placement: Placement,
        ready: Ready,
    ) -> Result<ExecutorJoinHandle<bool>, StartError> {
        let core = self.id.0;
        LocalExecutorBuilder::new(placement)
            .name("oxdaas")
            .io_memory(IO_MEMORY_BYTES)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || self.run(ready))
            .map_err(|error| StartError::Core {
                core,
                message: error.to_string(),
            })
    }

    /// Runs the core to its end; whether the log, if it is here, was closed cleanly.
    async fn run(self, ready: Ready) -> bool {
        let alarm = Rc::new(Alarm::default());
        raise_every(TICK, Rc::clone(&alarm));
        let mesh = Mesh::join(self.builder, self.id, Rc::clone(&alarm)).await;
        let (ring, wake) = match open_ring(&alarm) {
            Ok(opened) => opened,
            Err(error) => {
                ready.tell(Err(error));
                return false;
            }
        };
        let (log, ids, writing) = match self.log {
            None => (None, None, None),
            Some((writer, ids)) => {
                let port = Rc::new(LogPort::new(Rc::clone(&alarm)));
                let Config { fsync, cores, .. } = self.config;
                let log_core = LogCore::new(
                    Rc::clone(&port),
                    Arc::clone(&self.process),
                    writer,
                    fsync,
                    cores,
                );
                (
                    Some(port),
                    Some(ids),
                    Some(glommio::spawn_local(log_core.run())),
                )
            }
        };
        ready.tell(Ok(wake));
        let core = Core::new(Parts {
            id: self.id,
            config: self.config,
            process: self.process,
            shard: self.shard,
            mesh,
            log: log.clone(),
            ids,
            alarm,
            disk: self.disk,
            reporter: self.reporter,
            slicer: self.slicer,
            access: self.access,
            cors: self.cors,
            listener: self.listener,
        });
        core.run(ring).await;
        match (log, writing) {
            (Some(port), Some(writing)) => {
                port.close();
                writing.await
            }
            _ => true,
        }
    }
}

/// A core's ring, which raises `alarm` when it is woken, and the descriptor that wakes it.
fn open_ring(alarm: &Rc<Alarm>) -> io::Result<(Ring, OwnedFd)> {
    let ring = Ring::new()?;
    ring.raise_when_woken(Rc::clone(alarm))?;
    let wake = ring.wake().try_clone_to_owned()?;
    Ok((ring, wake))
}

/// Raises `alarm` again and again, so that timeouts are seen also when nothing happens, and
/// an executor that fell asleep over ready tasks (see [`PREEMPT_TIMER`]) wakes up.
fn raise_every(interval: Duration, alarm: Rc<Alarm>) {
    glommio::spawn_local(async move {
        loop {
            glommio::timer::sleep(interval).await;
            alarm.raise();
        }
    })
    .detach();
}

/// Finds out whether the address is free, and which port a request for port 0 gets.
///
/// Without SO_REUSEPORT: with it, a second server would silently share the port.
/// Tried for a while: the kernel takes an io_uring down after its process ended, and
/// the sockets of a server that was killed stay open until then.
///
/// # Errors
/// [`StartError::Listen`] with the remedy.
pub fn probe(address: SocketAddr) -> Result<SocketAddr, StartError> {
    let until = Instant::now() + PORT_PATIENCE;
    loop {
        match bind_alone(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(PORT_RETRY);
            }
            result => return result.map_err(|source| StartError::Listen { address, source }),
        }
    }
}

fn bind_alone(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = tcp_socket(address)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 1)?;
    TcpListener::from(socket).local_addr()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = tcp_socket(address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    // Connections inherit it: a response never waits for the acknowledgement of the one before.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn tcp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

fn listen_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process has the port: stop it or choose another with --listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface has this address: choose another with --listen"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root: choose another with --listen"
        }
        _ => "choose another address with --listen",
    }
}
