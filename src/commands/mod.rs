//! The commands of the binary: what was typed, what it means, what is done.

mod backup;
mod check;
mod client;
mod console;
mod doctor;
mod dump;
mod export;
mod generate;
mod healthcheck;
mod import;
mod logging;
mod progress;
mod repair;
mod serve;
mod start;
mod status;
mod stop;

pub use backup::{BackupArgs, backup};
pub use check::{CheckArgs, check};
pub use console::{ConsoleArgs, console};
pub use doctor::doctor;
pub use dump::{DumpArgs, dump};
pub use export::{ExportArgs, export};
pub use generate::{GenerateArgs, generate};
pub use healthcheck::healthcheck;
pub use import::{ImportArgs, import};
pub use logging::say_events;
pub use repair::{RepairArgs, repair};
pub use serve::{ServeArgs, serve};
pub use start::start;
pub use status::status;
pub use stop::stop;
