//! The page of a site and its figures: what the journal knows, laid out for people as one HTML page that needs nothing
//! from anywhere, and for programs as Prometheus reads it. Changes nothing, prints nothing and serves nobody: it gives
//! text. What hosts and committers have named is text here, never markup.

mod attention;
mod chart;
mod facts;
mod matrix;
mod metrics;
mod rows;
mod status;
mod targets;
mod text;
mod view;

pub use attention::{Concern, Weight, concerns};
pub use facts::{Bounds, Disk, Facts, Machine, Standing, WorkerFact};
pub use metrics::metrics;
pub use status::{health, status_json};
pub use view::{Page, page};
