//! OxDaaS: a document database behind HTTP, one shard a core.
#![doc = ""]
pub mod id;
pub mod limits;
pub mod op;
