//! Outcomes for people and machines. Each report is a type: its fields are the JSON, documented in `docs/json.md`, and
//! its `text` is what a command prints. Also here: the files that an evaluation writes.

mod bn_update;
mod comparison;
mod confusion;
mod evaluation;
mod files;
mod landscape;
mod learning_curves;
mod part;
mod per_class;
mod predictions;
mod reliability;
mod scores;
mod soup;
mod swag;
mod train;

pub use bn_update::{BnUpdateReport, MovementReport, StandardErrorReport};
pub use comparison::{ComparisonReport, StatisticsReport};
pub use confusion::confusion;
pub use evaluation::{EvaluationReport, ModelReport};
pub use files::write_files;
pub use landscape::{
    LandscapeFiles, LandscapeModel, LandscapePoint, LandscapeReport, PointsReport,
};
pub use learning_curves::{CurvesReport, RunLog, learning_curves_svg};
pub use part::{PaceReport, PartReport, Waiting};
pub use per_class::{ClassCount, per_class};
pub use scores::Scores;
pub use soup::{SoupReport, TrialReport};
pub use swag::SwagReport;
pub use train::TrainReport;
