//! The jobs: each takes plain options, reports to a [`swa_tools::Progress`], and returns an outcome. Jobs print
//! nothing; [`crate::report`] turns outcomes into text, JSON, CSV and SVG.
//!
//! | options | job | outcome |
//! |---|---|---|
//! | [`UpdateBn`] | [`update_bn`] | [`Update`] |
//! | [`MergeStats`] | [`merge_stats`] | [`Updated`] |
//! | [`Evaluate`] | [`evaluate`] | [`Evaluation`] |
//! | [`MergeOutcomes`] | [`merge_outcomes`] | [`Evaluated`] |
//! | [`CompareStats`] | [`compare_stats`] | [`Compared`] |
//! | [`DrawLandscape`] | [`draw_landscape`] | [`Drawn`] |
//! | [`MergeLandscape`] | [`merge_landscape`] | [`Landscape`] |
//! | [`SampleSwag`] | [`sample_swag`] | [`SwagSampled`] |
//! | [`Soup`] | [`soup()`] | [`Souped`] |
//! | [`Train`] | [`train()`] | [`Trained`] |

mod common;
mod compare_stats;
mod evaluate;
mod evaluated;
mod files;
mod held;
mod landscape;
mod merge_outcomes;
mod merge_stats;
mod sharing;
mod soup;
mod swag;
mod train;
mod update_bn;
mod updated;

pub use crate::nn::{ProgramRecord, UsedProgram};
pub use compare_stats::{CompareStats, Compared, Origin, Verdict, compare_stats};
pub use evaluate::{Evaluate, Evaluation, evaluate};
pub use evaluated::{About, ClassMapUsed, Evaluated, Row};
pub use files::Files;
pub use landscape::{
    Bn, DrawLandscape, Drawn, Landscape, MergeLandscape, Points, SavedPoints, draw_landscape,
    merge_landscape,
};
pub use merge_outcomes::{MergeOutcomes, merge_outcomes};
pub use merge_stats::{MergeStats, merge_stats};
pub use sharing::{SavedPart, Sharing, State};
pub use soup::{Soup, Souped, Trial, soup};
pub use swag::{SampleSwag, SwagSampled, sample_swag};
pub use train::{Train, Trained, train};
pub use update_bn::{Order, Update, UpdateBn, update_bn};
pub use updated::{Output, Settings, Updated};

/// The architectures that are recognised: a line each, with what is free in their names.
pub fn architectures() -> Vec<&'static str> {
    crate::nn::models::list()
}
