//! Figures: what the server counts of itself, for those who watch it.
//!
//! They are values, brought together from all cores when someone asks. `/stats` is this
//! structure as JSON, field by field; `prometheus` writes the same for Prometheus.

mod prometheus;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::render::{BodyMode, Reply, ReplyContext};
use crate::{histogram::Histogram, http::MediaType};

/// How figures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FiguresFormat {
    /// For Prometheus: `/metrics`.
    Prometheus,
    /// As JSON: `/stats`.
    Json,
}

/// Everything that the server counts; totals are since it started.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The version of the server.
    pub version: &'static str,
    /// Seconds since it began to listen.
    pub uptime_seconds: f64,
    /// When a write is acknowledged: `always`, `everysec` or `never`.
    pub fsync: &'static str,
    /// Whether it can do all of its work.
    pub ready: bool,
    /// Requests that were answered, by path, method and status; none that are 0.
    pub requests: Vec<RequestCount>,
    /// How long requests that read took, from when they were received until their response was
    /// handed to the kernel.
    pub read_latency: Latency,
    /// The same of requests that may write.
    pub write_latency: Latency,
    /// Connections of clients.
    pub connections: ConnectionFigures,
    /// Documents of all cores.
    pub documents: u64,
    /// The log, its syncs, and its disk.
    pub log: LogFigures,
    /// Lines for the operator.
    pub journals: JournalFigures,
    /// The process as the system sees it.
    pub process: ProcessFigures,
    /// Each core by itself.
    pub cores: Vec<CoreFigures>,
}

/// How many requests of a kind were answered with a status.
#[derive(Clone, Debug, Serialize)]
pub struct RequestCount {
    /// The core whose connections they came from.
    pub core: u16,
    /// The path, `{id}` standing for the id; `unknown`: another one; `none`: no request could
    /// be read.
    pub path: &'static str,
    /// The method; `other`: one that the server does not know.
    pub method: &'static str,
    /// The status of the response.
    pub status: u16,
    /// How many.
    pub count: u64,
}

/// How long something took.
#[derive(Clone, Debug, Default)]
pub struct Latency(pub Histogram);

/// Connections of clients.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionFigures {
    /// Open now.
    pub open: u64,
    /// The most that may be: `--connections-max`.
    pub max: u64,
    /// Accepted so far.
    pub accepted: u64,
    /// Turned away, because there were too many in all.
    pub turned_away: u64,
    /// Turned away, because their addresses had too many.
    pub turned_away_by_address: u64,
    /// Kept waiting for a moment, because their addresses had sent what is no request.
    pub kept_waiting: u64,
    /// Closed, because there were too many and their peers kept the server waiting the longest.
    pub closed_for_others: u64,
    /// Closed, because what all held for their peers was too much and these had kept the server
    /// waiting the longest.
    pub closed_for_memory: u64,
    /// TLS handshakes that were completed.
    pub tls_handshakes: u64,
    /// Connections that TLS ended: nothing could be agreed on, or the peer broke it or was too
    /// slow in the handshake.
    pub tls_faults: u64,
}

/// The log.
#[derive(Clone, Debug, Serialize)]
pub struct LogFigures {
    /// The number of the last record that is in the log.
    pub appended: u64,
    /// The last one that may be shown: no crash takes it back, as far as `--fsync` says so.
    pub durable: u64,
    /// Bytes of records that were appended.
    pub appended_bytes: u64,
    /// How long syncs took.
    pub sync_latency: Latency,
    /// Whether a sync failed: no writes are taken any more.
    pub failed: bool,
    /// Segments.
    pub segments: u64,
    /// Bytes that the files take, the one that is kept for what comes next included.
    pub held_bytes: u64,
    /// Bytes of the records of documents that are there.
    pub live_bytes: u64,
    /// New segments that were begun.
    pub rolls: u64,
    /// Bytes that the file system of the data directory has left; `null` if it does not say.
    pub free_bytes: Option<u64>,
    /// Rewriting of segments.
    pub compaction: CompactionFigures,
}

/// Rewriting of segments.
#[derive(Clone, Debug, Serialize)]
pub struct CompactionFigures {
    /// Whether it is at work.
    pub running: bool,
    /// Segments that took the place of others.
    pub installed: u64,
    /// Times it could not end what it began.
    pub failed: u64,
}

/// Lines for the operator that were lost: they came faster than they could be written.
#[derive(Clone, Debug, Serialize)]
pub struct JournalFigures {
    /// Of what the server says of itself.
    pub events_lost: u64,
    /// Of the access log.
    pub access_lost: u64,
}

/// The process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessFigures {
    /// Its id.
    pub pid: u32,
    /// Processor time that it used, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes; `null` if the system does not say.
    pub resident_bytes: Option<u64>,
    /// The part of it that is no file: the documents, and what serves them.
    pub anonymous_bytes: Option<u64>,
}

/// One core.
#[derive(Clone, Debug, Serialize)]
pub struct CoreFigures {
    /// Which.
    pub core: u16,
    /// Whether it runs the log.
    pub runs_log: bool,
    /// Requests of its connections that were answered.
    pub requests: u64,
    /// Operations of its requests on documents of its own.
    pub local: u64,
    /// Operations of its requests that other cores executed.
    pub forwarded: u64,
    /// Operations that it executed for other cores.
    pub served: u64,
    /// Its connections.
    pub connections: u64,
    /// Its documents.
    pub documents: u64,
    /// Bytes of their records in the log.
    pub live_bytes: u64,
    /// Seconds that it worked.
    pub busy_seconds: f64,
    /// What waits.
    pub queues: QueueFigures,
    /// How long requests of its connections took that read.
    pub read_latency: Latency,
    /// The same of those that may write.
    pub write_latency: Latency,
}

/// What waits on a core.
#[derive(Clone, Debug, Serialize)]
pub struct QueueFigures {
    /// Calls to other cores under way.
    pub calls: u64,
    /// Requests about many documents under way, and those whose turn has not come.
    pub gathers: u64,
    /// Streamed responses.
    pub streams: u64,
    /// Connections that are not read until there is room.
    pub parked: u64,
    /// Bytes of writes that the log has not settled.
    pub unsettled_bytes: u64,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let histogram = &self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &histogram.count())?;
        map.serialize_entry("sum_us", &histogram.sum_us())?;
        for (name, share) in [
            ("p50_us", 0.5),
            ("p90_us", 0.9),
            ("p99_us", 0.99),
            ("p999_us", 0.999),
        ] {
            map.serialize_entry(name, &histogram.quantile_us(share))?;
        }
        // Of each bucket with any: the shortest duration it counts, and how many.
        let buckets: Vec<(u64, u64)> = histogram.buckets().collect();
        map.serialize_entry("buckets", &buckets)?;
        map.end()
    }
}

impl Figures {
    /// The body of an answer; costs time in proportion to the cores.
    #[must_use]
    pub fn write(self, format: FiguresFormat) -> Vec<u8> {
        match format {
            FiguresFormat::Prometheus => prometheus::write(self).into_bytes(),
            FiguresFormat::Json => {
                serde_json::to_vec(&self).expect("numbers and texts under names of texts")
            }
        }
    }
}

/// Appends the answer to `/metrics` or `/stats` with a `body` that [`Figures::write`] made.
pub fn render_figures(
    format: FiguresFormat,
    body: &[u8],
    body_mode: BodyMode,
    context: &ReplyContext<'_>,
    out: &mut Vec<u8>,
) {
    let reply = Reply::new(body_mode, context, out);
    match format {
        FiguresFormat::Prometheus => reply.text(MediaType::Metrics, body),
        FiguresFormat::Json => reply.ok(&[body]),
    }
}
