//! Figures in the text format of Prometheus, version 0.0.4.
//!
//! Names follow its conventions: base units, `_total` for what only grows, and the same label
//! for the same thing. What each core has is labelled `core`; sums are left to the one who asks.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, prometheus_text},
    metrics::MetricType,
    registry::Registry,
};

use super::{CoreFigures, Figures, JournalFigures, Latency};
use crate::histogram::Histogram;

/// The shortest bucket of latencies, as a power of two of microseconds: 8 us.
const SHORTEST_LOG2: u32 = 3;
/// The longest one: 17 s.
const LONGEST_LOG2: u32 = 24;

/// All figures as text.
pub(super) fn write(figures: Figures) -> String {
    let mut registry = Registry::with_prefix("oxdaas");
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("a string takes all writes");
    text
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        page.server(self)?;
        page.requests(self)?;
        page.cores(&self.cores)?;
        page.log(self)?;
        page.journals(&self.journals)?;
        page.process(self)
    }
}

/// The page being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn server(&mut self, figures: &Figures) -> fmt::Result {
        let version = [("version", figures.version), ("fsync", figures.fsync)];
        let mut build = self.family(
            "build_info",
            "The version and the sync policy",
            MetricType::Gauge,
        )?;
        build.encode_family(&version)?.encode_gauge(&1_u64)?;
        self.gauge(
            "uptime_seconds",
            "Seconds since the server began to listen",
            figures.uptime_seconds,
        )?;
        let ready = u64::from(figures.ready);
        self.gauge("ready", "1 if the server can do all of its work", ready)?;
        let connections = &figures.connections;
        self.gauge(
            "connections_max",
            "Connections that are accepted at most",
            connections.max,
        )
    }

    fn requests(&mut self, figures: &Figures) -> fmt::Result {
        let help = "Requests answered, by the core of the connection, path, method and status";
        let mut family = self.family("requests", help, MetricType::Counter)?;
        for request in &figures.requests {
            let (core, status) = (request.core.to_string(), request.status.to_string());
            let labels = [
                ("core", core.as_str()),
                ("path", request.path),
                ("method", request.method),
                ("status", status.as_str()),
            ];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&request.count, None)?;
        }
        let help = "Seconds from when a request was received until its response was handed to \
                    the kernel, by what it does";
        let mut family = self.family("request_duration_seconds", help, MetricType::Histogram)?;
        for core in &figures.cores {
            let number = core.core.to_string();
            for (kind, latency) in [("read", &core.read_latency), ("write", &core.write_latency)] {
                encode(
                    &mut family,
                    &[("core", number.as_str()), ("kind", kind)],
                    latency,
                )?;
            }
        }
        Ok(())
    }

    fn cores(&mut self, cores: &[CoreFigures]) -> fmt::Result {
        type Count = (&'static str, &'static str, fn(&CoreFigures) -> u64);
        const COUNTERS: [Count; 3] = [
            (
                "operations_local",
                "Operations of a core's requests on documents of its own",
                |c| c.local,
            ),
            (
                "operations_forwarded",
                "Operations of a core's requests that other cores executed",
                |c| c.forwarded,
            ),
            (
                "operations_served",
                "Operations that a core executed for others",
                |c| c.served,
            ),
        ];
        const GAUGES: [Count; 8] = [
            ("connections", "Open connections", |c| c.connections),
            ("documents", "Documents", |c| c.documents),
            (
                "live_bytes",
                "Bytes of the documents' records in the log",
                |c| c.live_bytes,
            ),
            ("calls", "Calls to other cores under way", |c| {
                c.queues.calls
            }),
            (
                "gathers",
                "Requests about many documents, under way or waiting",
                |c| c.queues.gathers,
            ),
            ("streams", "Streamed responses under way", |c| {
                c.queues.streams
            }),
            (
                "parked_connections",
                "Connections that are not read until there is room",
                |c| c.queues.parked,
            ),
            (
                "unsettled_bytes",
                "Bytes of writes that the log has not settled",
                |c| c.queues.unsettled_bytes,
            ),
        ];
        for (name, help, count) in COUNTERS {
            let mut family = self.family(name, help, MetricType::Counter)?;
            for core in cores {
                let labels = [("core", core.core)];
                let mut metric = family.encode_family(&labels)?;
                metric.encode_counter::<NoLabelSet, _, u64>(&count(core), None)?;
            }
        }
        let help = "Seconds that a core worked";
        let mut family = self.family("busy_seconds", help, MetricType::Counter)?;
        for core in cores {
            let labels = [("core", core.core)];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&core.busy_seconds, None)?;
        }
        for (name, help, count) in GAUGES {
            let mut family = self.family(name, help, MetricType::Gauge)?;
            for core in cores {
                let labels = [("core", core.core)];
                family.encode_family(&labels)?.encode_gauge(&count(core))?;
            }
        }
        Ok(())
    }

    fn log(&mut self, figures: &Figures) -> fmt::Result {
        let (log, connections) = (&figures.log, &figures.connections);
        self.counter(
            "connections_accepted",
            "Connections accepted",
            connections.accepted,
        )?;
        let help = "Connections turned away because there were too many, in all or of an address";
        let mut family = self.family("connections_turned_away", help, MetricType::Counter)?;
        for (bound, count) in [
            ("connections-max", connections.turned_away),
            (
                "connections-per-address-max",
                connections.turned_away_by_address,
            ),
        ] {
            let labels = [("bound", bound)];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let help = "Connections closed to make room for new ones, those that waited the longest";
        self.counter(
            "connections_closed_for_others",
            help,
            connections.closed_for_others,
        )?;
        let help = "Connections kept waiting because their addresses sent what is no request";
        self.counter("connections_kept_waiting", help, connections.kept_waiting)?;
        let help =
            "Connections closed because requests under way and unread responses were too much";
        self.counter(
            "connections_closed_for_memory",
            help,
            connections.closed_for_memory,
        )?;
        let help = "TLS handshakes completed";
        self.counter("tls_handshakes", help, connections.tls_handshakes)?;
        let help =
            "Connections ended by TLS: a handshake failed or was too slow, or a peer broke it";
        self.counter("tls_faults", help, connections.tls_faults)?;
        self.gauge(
            "log_appended_lsn",
            "The last record that is in the log",
            log.appended,
        )?;
        self.gauge(
            "log_durable_lsn",
            "The last record that may be shown",
            log.durable,
        )?;
        let lag = log.appended.saturating_sub(log.durable);
        self.gauge(
            "log_lag_records",
            "Records in the log that may not be shown yet",
            lag,
        )?;
        self.counter(
            "log_appended_bytes",
            "Bytes of records appended",
            log.appended_bytes,
        )?;
        let mut family = self.family(
            "log_sync_duration_seconds",
            "Seconds that syncs of the log took",
            MetricType::Histogram,
        )?;
        encode_into(&mut family, &log.sync_latency)?;
        self.gauge(
            "log_failed",
            "1 once a sync failed: no writes are taken",
            u64::from(log.failed),
        )?;
        self.gauge("log_segments", "Segments", log.segments)?;
        self.gauge(
            "log_held_bytes",
            "Bytes that the files of the log take",
            log.held_bytes,
        )?;
        self.counter("log_rolls", "New segments begun", log.rolls)?;
        let compaction = &log.compaction;
        let running = u64::from(compaction.running);
        self.gauge(
            "compaction_running",
            "1 while segments are rewritten",
            running,
        )?;
        let help = "Segments that took the place of others";
        self.counter("compactions", help, compaction.installed)?;
        let help = "Compactions that could not end what they began";
        self.counter("compaction_failures", help, compaction.failed)?;
        let help = "Bytes that the file system of the data directory has left";
        self.known("disk_free_bytes", help, log.free_bytes)
    }

    fn journals(&mut self, journals: &JournalFigures) -> fmt::Result {
        let help = "Lines for the operator that were lost, of the server's events and of the \
                    access log";
        let mut family = self.family("journal_lines_lost", help, MetricType::Counter)?;
        for (journal, lost) in [
            ("events", journals.events_lost),
            ("access", journals.access_lost),
        ] {
            let labels = [("journal", journal)];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&lost, None)?;
        }
        Ok(())
    }

    fn process(&mut self, figures: &Figures) -> fmt::Result {
        let process = &figures.process;
        self.counter("cpu_seconds", "Processor time used", process.cpu_seconds)?;
        self.known("resident_bytes", "Resident memory", process.resident_bytes)?;
        let help = "Resident memory that is no file";
        self.known("anonymous_bytes", help, process.anonymous_bytes)
    }

    fn family<'p>(
        &'p mut self,
        name: &'p str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'p>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl prometheus_client::encoding::EncodeGaugeValue,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    fn known(&mut self, name: &str, help: &str, value: Option<u64>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.gauge(name, help, value))
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl prometheus_client::encoding::EncodeCounterValue,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }
}

fn encode(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    latency: &Latency,
) -> fmt::Result {
    encode_into(&mut family.encode_family(labels)?, latency)
}

/// Doublings are enough for a scraper; `/stats` has all buckets.
fn encode_into(metric: &mut MetricEncoder<'_>, Latency(histogram): &Latency) -> fmt::Result {
    let mut buckets = Vec::new();
    let mut below = 0;
    for log2 in SHORTEST_LOG2..=LONGEST_LOG2 {
        let count = histogram.below(log2);
        buckets.push((seconds(1 << log2), count - below));
        below = count;
    }
    metric.encode_histogram::<NoLabelSet>(sum_seconds(histogram), histogram.count(), &buckets, None)
}

fn sum_seconds(histogram: &Histogram) -> f64 {
    seconds(histogram.sum_us())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 microseconds are 285 years"
)]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
