//! The JSON API: requests to operations, outcomes to responses.
//!
//! [`plan`] says what the server must do for a request, and [`render`] what it
//! answers once that is done, perhaps on another core: both are functions of
//! values, without a socket, a clock or a shard. This is the only module that
//! names serde_json. Documents are never turned into trees: their bytes go from
//! the request to the store and from there into responses. A JSON patch opens them
//! on the way to what it changes, and all else stays as it is written.

mod admission;
mod batch;
mod body;
mod changes;
mod command;
mod cors;
mod cursor;
mod dashboard;
mod describe;
mod durability;
mod edit;
mod equality;
mod expiry;
mod figures;
mod increment;
mod json;
mod json_patch;
mod label;
mod list;
mod many;
mod merge;
mod number;
mod part;
mod plan;
mod pointer;
mod prefer;
mod problem;
mod render;
mod report;
mod route;
mod stream;
#[cfg(test)]
mod tests;
mod transfer;
mod tree;
mod visit;
mod work;

pub use admission::{Need, admit, admit_page, admit_stranger};
pub use changes::{
    ChangeFormat, Changes, Patience, changes_compacted, position_unknown, write_change,
    write_heartbeat,
};
pub use cors::CorsRules;
pub use durability::durability;
pub use edit::edit;
pub use equality::same_document;
pub use figures::{
    CompactionFigures, ConnectionFigures, CoreFigures, Figures, FiguresFormat, JournalFigures,
    Latency, LogFigures, ProcessFigures, QueueFigures, RequestCount, render_figures,
};
pub use json::{JsonError, minify};
pub use label::{Kind, Label};
pub use list::{ListRender, render_documents, render_list};
pub use many::{ManyRender, render_failure, render_many};
pub use plan::{Answer, Element, Gathering, Plan, Report, plan};
pub use problem::{Code, Problem};
pub use render::{BodyMode, Render, ReplyContext, id_json, render, render_answer, render_problem};
pub use report::{NotReady, render_health, render_readiness};
pub use stream::{Stream, StreamKind, render_stream_head, render_stream_problem};
pub use transfer::{Line, Said, read_problem, read_results, write_batch, write_line};
pub use visit::write_string;
