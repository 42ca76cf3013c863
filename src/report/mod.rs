//! Outcomes as people and machines read them: each report is a type whose fields are the JSON, documented in
//! `docs/json.md`, and whose `text` is what a command prints.

mod average;
mod coefficients;
mod contents;
mod program;
mod running;
mod selection;
mod share;
mod table;
mod verify;

pub use average::{AverageReport, FitReport, NonFinite, OutputReport, TensorCounts};
pub use contents::{CheckpointReport, ContentsReport, Other, TensorReport};
pub use program::{OperatorReport, ProgramReport, ProgramTensorReport};
pub use running::{
    AccumulateReport, FollowReport, HeldInput, HeldReport, HeldSetting, NotCounted, StateReport,
    UpdateReport,
};
pub use selection::{ChosenReport, SelectionReport, ValleyReport};
pub use share::{FinishReport, ShareReport, SharedFileReport};
pub use table::table;
pub use verify::VerifyReport;
