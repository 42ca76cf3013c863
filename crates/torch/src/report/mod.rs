//! Outcomes as people and machines read them: each report is a type whose fields are the JSON, documented in
//! `docs/json.md`, and whose `text` is what a command prints; and the files that an evaluation writes.

mod bn_update;
mod comparison;
mod confusion;
mod evaluation;
mod files;
mod part;
mod per_class;
mod predictions;
mod reliability;
mod scores;

pub use bn_update::{BnUpdateReport, MovementReport, StandardErrorReport};
pub use comparison::{ComparisonReport, StatisticsReport};
pub use confusion::{confusion, write_confusion};
pub use evaluation::{EvaluationReport, ModelReport};
pub use files::write_files;
pub use part::{PaceReport, PartReport, Waiting};
pub use per_class::{ClassCount, per_class, write_per_class};
pub use predictions::write_predictions;
pub use reliability::reliability_svg;
pub use scores::Scores;
