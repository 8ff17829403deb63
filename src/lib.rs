//! OxDaaS: a document database behind HTTP, one shard a core.
pub mod api;
pub mod commands;
pub mod config;
pub mod http;
pub mod id;
pub mod limits;
pub mod log;
pub mod mesh;
pub mod op;
pub mod server;
pub mod shard;
