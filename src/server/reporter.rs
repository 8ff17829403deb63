//! The thread that brings together what all cores count.
//!
//! A core hands a request for figures over and goes on: reading every counter and writing them
//! as text takes longer the more cores there are, and none of them should wait for it.

use std::{
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Instant,
};

use super::{core::Core, desk::Seat, process::Process, tally::Tally};
use crate::{
    api::{
        self, BodyMode, Code, CompactionFigures, ConnectionFigures, CoreFigures, Figures,
        FiguresFormat, JournalFigures, Latency, LogFigures, Problem, ProcessFigures, QueueFigures,
        ReplyContext, RequestCount,
    },
    config::Config,
    http::Persistence,
    id::CoreId,
    journal::Journal,
    limits::REPORTS_MAX,
};

/// Who asks for figures.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    seat: Seat,
    persistence: Persistence,
    body_mode: BodyMode,
    format: FiguresFormat,
}

/// Bodies that are done, of one core.
type Done = Arc<Mutex<Vec<(Reader, Vec<u8>)>>>;

/// Figures for someone.
struct Job {
    core: CoreId,
    reader: Reader,
    done: Done,
}

/// Where figures are asked for; the thread ends with the last of these.
#[derive(Clone)]
pub struct Reporter(mpsc::Sender<Job>);

impl Reporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub fn start(
        process: &Arc<Process>,
        config: &Config,
        journals: Journals,
    ) -> std::io::Result<Reporter> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let source = Source {
            process: Arc::clone(process),
            config: config.clone(),
            journals,
            began: Instant::now(),
        };
        let work = move || {
            for job in jobs {
                let body = source.figures().write(job.reader.format);
                lock(&job.done).push((job.reader, body));
                source.process.wake(job.core);
            }
        };
        thread::Builder::new()
            .name("oxdaas-report".to_owned())
            .spawn(work)?;
        Ok(Reporter(sender))
    }
}

/// What a core asked for.
pub struct Reports {
    reporter: Reporter,
    done: Done,
    under_way: usize,
}

impl Reports {
    pub fn new(reporter: Reporter) -> Reports {
        Reports {
            reporter,
            done: Done::default(),
            under_way: 0,
        }
    }
}

impl Core {
    /// Has the figures brought together for a request.
    pub(super) fn ask_for_figures(
        &mut self,
        token: super::ring::Token,
        format: FiguresFormat,
        body_mode: BodyMode,
        persistence: Persistence,
    ) {
        if self.reports.under_way >= REPORTS_MAX {
            let message =
                format!("{REPORTS_MAX} requests for figures are under way; ask less often");
            let problem = Problem::new(Code::Overloaded, message);
            let mut response = Vec::new();
            let context = ReplyContext {
                persistence,
                date: self.desk.date(),
            };
            api::render_problem(&problem, body_mode, &context, &mut response);
            return self.respond(token, &response, persistence);
        }
        let number = self.desk.connection(token).await_gather(persistence);
        let reader = Reader {
            seat: Seat { token, number },
            persistence,
            body_mode,
            format,
        };
        self.reports.under_way += 1;
        let job = Job {
            core: self.id,
            reader,
            done: Arc::clone(&self.reports.done),
        };
        let sent = self.reports.reporter.0.send(job);
        sent.expect("the thread lives as long as the cores");
    }

    /// Answers with the figures that are done; whether there were any.
    pub(super) fn take_reports(&mut self) -> bool {
        if self.reports.under_way == 0 {
            return false;
        }
        let done = std::mem::take(&mut *lock(&self.reports.done));
        self.reports.under_way -= done.len();
        let any = !done.is_empty();
        for (reader, body) in done {
            let mut response = Vec::new();
            let context = ReplyContext {
                persistence: reader.persistence,
                date: self.desk.date(),
            };
            let Reader {
                format, body_mode, ..
            } = reader;
            api::render_figures(format, &body, body_mode, &context, &mut response);
            self.desk.finish(reader.seat, response);
        }
        any
    }
}

/// Nobody panics while they hold it.
fn lock(done: &Done) -> MutexGuard<'_, Vec<(Reader, Vec<u8>)>> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The journals of the process.
pub struct Journals {
    pub events: Journal,
    pub access: Option<Journal>,
}

/// Where figures come from.
struct Source {
    process: Arc<Process>,
    config: Config,
    journals: Journals,
    began: Instant,
}

impl Source {
    fn figures(&self) -> Figures {
        let cores: Vec<CoreFigures> = (0..)
            .zip(&self.process.tallies)
            .map(|(core, tally)| self.core(core, tally))
            .collect();
        let sum = |of: fn(&CoreFigures) -> u64| cores.iter().map(of).sum();
        let total = |of: fn(&Tally) -> u64| self.process.tallies.iter().map(of).sum();
        let together = |of: fn(&CoreFigures) -> &Latency| {
            let mut all = Latency::default();
            cores.iter().for_each(|core| all.0.absorb(&of(core).0));
            all
        };
        Figures {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.began.elapsed().as_secs_f64(),
            fsync: self.config.fsync.name(),
            ready: self.process.readiness().is_ok(),
            requests: self.requests(),
            read_latency: together(|core| &core.read_latency),
            write_latency: together(|core| &core.write_latency),
            connections: ConnectionFigures {
                open: sum(|core| core.connections),
                max: u64::try_from(self.config.connections_max).unwrap_or(u64::MAX),
                accepted: total(|tally| tally.accepted.get()),
                turned_away: total(|tally| tally.turned_away.get()),
                turned_away_by_address: total(|tally| tally.turned_away_by_address.get()),
                kept_waiting: total(|tally| tally.kept_waiting.get()),
                closed_for_others: total(|tally| tally.closed_for_others.get()),
                closed_for_memory: total(|tally| tally.closed_for_memory.get()),
                tls_handshakes: total(|tally| tally.tls_handshakes.get()),
                tls_faults: total(|tally| tally.tls_faults.get()),
            },
            documents: sum(|core| core.documents),
            log: self.log(sum(|core| core.live_bytes)),
            journals: JournalFigures {
                events_lost: self.journals.events.lost_lines(),
                access_lost: self.journals.access.as_ref().map_or(0, Journal::lost_lines),
            },
            process: process_figures(),
            cores,
        }
    }

    fn requests(&self) -> Vec<RequestCount> {
        let tallies = (0..).zip(&self.process.tallies);
        let counts = tallies.flat_map(|(core, tally)| {
            tally
                .requests()
                .map(move |(path, method, status, count)| RequestCount {
                    core,
                    path,
                    method,
                    status,
                    count,
                })
        });
        counts.collect()
    }

    fn core(&self, core: u16, tally: &Tally) -> CoreFigures {
        CoreFigures {
            core,
            runs_log: core == self.config.log_core,
            requests: tally.requests().map(|(.., count)| count).sum(),
            local: tally.local.get(),
            forwarded: tally.forwarded.get(),
            served: tally.served.get(),
            connections: tally.connections.get(),
            documents: tally.documents.get(),
            live_bytes: tally.live_bytes.get(),
            busy_seconds: std::time::Duration::from_micros(tally.busy_us.get()).as_secs_f64(),
            queues: QueueFigures {
                calls: tally.calls.get(),
                gathers: tally.gathers.get(),
                streams: tally.streams.get(),
                parked: tally.parked.get(),
                unsettled_bytes: tally.unsettled_bytes.get(),
            },
            read_latency: tally.read_latency(),
            write_latency: tally.write_latency(),
        }
    }

    fn log(&self, live_bytes: u64) -> LogFigures {
        let tally = &self.process.log_tally;
        let disk = rustix::fs::statvfs(&self.config.data_dir).ok();
        // In this order: what may be shown was appended before.
        let durable = self.process.position().0;
        LogFigures {
            appended: self.process.appended().0,
            durable,
            appended_bytes: tally.appended_bytes.get(),
            sync_latency: tally.syncs.latency(),
            failed: self
                .process
                .log_failed
                .load(std::sync::atomic::Ordering::Relaxed),
            segments: tally.segments.get(),
            held_bytes: tally.held_bytes.get(),
            live_bytes,
            rolls: tally.rolls.get(),
            free_bytes: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
            compaction: CompactionFigures {
                running: tally.compacting.get() != 0,
                installed: tally.compactions.get(),
                failed: tally.failed_compactions.get(),
            },
        }
    }
}

fn process_figures() -> ProcessFigures {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = std::time::Duration::try_from(cpu).unwrap_or_default();
    ProcessFigures {
        pid: std::process::id(),
        cpu_seconds: cpu.as_secs_f64(),
        resident_bytes: kibibytes(&status, "VmRSS:"),
        anonymous_bytes: kibibytes(&status, "RssAnon:"),
    }
}

/// A line of /proc/self/status that is a number of kB (proc_pid_status(5)), in bytes.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number = line.trim().strip_suffix("kB")?.trim_end();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_memory_and_time() {
        let figures = process_figures();
        let (resident, anonymous) = (figures.resident_bytes, figures.anonymous_bytes);
        assert!(
            resident >= anonymous && anonymous > Some(4096),
            "{figures:?}"
        );
        assert!(figures.cpu_seconds > 0.0);
        assert_eq!(kibibytes("VmRSS:\t   12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(kibibytes("VmRSS: none", "VmRSS:"), None);
    }
}
