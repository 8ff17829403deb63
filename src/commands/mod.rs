//! The commands of the binary: what was typed, what it means, what is done.

mod serve;

pub use serve::{ServeArgs, serve};
