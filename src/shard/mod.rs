//! One core's share of the documents, and the writes on their way to disk.
//!
//! A shard knows neither sockets nor files nor other cores. The server hands it
//! operations and carries its encoded records to the log; the log's answer comes
//! back through [`Shard::settle`], or [`Shard::conclude`] for atomic batches; nothing else
//! changes what readers see.

mod atomic;
mod census;
mod entry;
mod expiry;
mod ids;
mod index;
mod list;
mod order;
mod queue;
mod rules;
mod slab;

pub use atomic::{Conclusion, Prepared, Vote};
pub use census::{Finding, Inquiry, Relocation};
pub use ids::IdSource;
pub use queue::{Batch, Place, Settled, Shard};
pub use rules::Rules;
