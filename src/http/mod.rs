//! HTTP/1.1 as values: bytes to requests, response heads to bytes.
//!
//! Nothing here reads a socket, a clock or JSON. A [`Decoder`] is fed what a
//! connection received and answers with requests in order, or with the one
//! [`Fault`] after which the connection closes; [`write_head`] renders what goes
//! before a body.

mod chunked;
mod coding;
mod date;
mod decoder;
mod etag;
mod fault;
mod fields;
mod grammar;
mod head;
mod lines;
mod response;
mod scan;
mod status;
mod target;
#[cfg(test)]
mod tests;

pub use coding::{Coding, gunzip, gzip};
pub use date::{DateClock, DateField};
pub use decoder::{Bounds, Decoder, Phase, Request, Step};
pub use etag::{EntityTag, EntityTags, EtagError};
pub use fault::{Fault, FaultCode};
pub use fields::{Field, Fields};
pub use head::{Method, Persistence, Version};
pub use response::{CONTINUE, Cors, CorsFields, MediaType, ResponseHead, Transfer, write_head};
pub use status::Status;
pub use target::{DecodeError, QueryPairs, decode_segment, query_pairs};
