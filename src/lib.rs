//! OxDaaS: a document database behind plain HTTP, for one Linux machine and all
//! of its cores.
//!
//! # How a request travels
//!
//! ```text
//! bytes in -> ring -> connection -> http -> api::plan   -> Op      -> shard of the owner core -> record -> log core
//! bytes out<- ring <- connection <- http <- api::render <- Outcome <- shard <------------------- settled -----'
//! ```
//!
//! [`op::Op`] and [`op::Outcome`] are the narrow waist: plain owned values. A
//! core that does not own an id sends the operation to the one that does, through
//! [`mesh`], and gets the outcome back the same way.
//!
//! # Where things are, each layer importing only from those above it
//!
//! | module | what it owns |
//! |---|---|
//! | [`allocator`] | giving memory back to the system |
//! | [`limits`] | every bound, with the relations between them |
//! | [`id`] | ids, and which core owns one |
//! | [`op`] | what can be asked of a document, and what can come of it |
//! | [`listing`] | what can be asked of the list of all ids |
//! | [`journal`] | lines for the operator, on their way out |
//! | [`access`] | who may come in: tokens and what they grant |
//! | [`config`] | what an operator can set |
//! | [`histogram`] | how durations are counted |
//! | [`tls`] | the server's certificate, and what travels encrypted |
//! | [`http`] | bytes to requests, response heads to bytes (RFC 9110, 9112) |
//! | [`log`] | records, segments, the one writer, recovery; the disk format is in `log/record.rs` and `log/segment.rs` |
//! | [`shard`] | the documents of one core, and the queue in which writes wait for the disk |
//! | [`api`] | JSON: requests to operations, outcomes to responses |
//! | [`mesh`] | parcels between cores, over glommio's channels |
//! | [`server`] | a core's loop, its sockets, the log task, start and end |
//! | [`commands`] | what the binary can be told |
//!
//! `http` and `log` never meet, nor do `shard` and `api`. `tests/layers.rs` holds
//! this table as data.
//!
//! # What stays true
//!
//! - A shard's index holds durable state alone; a write is shown to nobody,
//!   its writer included, before the log says that its record is on disk; only a
//!   writer who asked for it hears earlier that the record is in the log.
//! - Records reach the log in the order in which their shard judged them.
//! - No core waits for room in a channel; whatever gathers meanwhile is bounded.
//! - Nothing listens before the whole log is read.
//! - `unsafe` is in three files: `allocator.rs`, `log/map.rs` and `server/ring.rs`.
//!
//! # The words
//!
//! A *core* is a thread with its executor, pinned to a CPU where there is one for
//! it; a *shard* is the data that a core owns; a *peer* is another core seen from
//! this one. A *document* is a JSON value under an *id*, with a *version* that
//! grows with each change. A *record* is a change as the log holds it, a *segment*
//! one file of records, a *log sequence number* (LSN) the number of a record, the
//! *durable watermark* the last one that is known to be on disk. A *call* asks a
//! peer, a *parcel* carries calls, answers and records of one turn of the loop. A
//! record is *settled* once its writer may be answered. An *atomic batch* is operations that take
//! effect together, a *part* what one shard does of it, its *group* the records of all parts.

pub mod access;
pub mod allocator;
pub mod api;
pub mod commands;
pub mod config;
pub mod histogram;
pub mod http;
pub mod id;
pub mod journal;
pub mod limits;
pub mod listing;
pub mod log;
pub mod mesh;
pub mod op;
pub mod server;
pub mod shard;
pub mod tls;
