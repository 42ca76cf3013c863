//! What the job is asked for, and what it gives.

use std::path::PathBuf;

use swa_tools::{Choice, Error, Result, choices, setting};

use crate::jobs::sharing::{Sharing, State};
use crate::landscape::{About, Results, Units};
use crate::nn::Precision;
use crate::parts::Shard;
use crate::session;

/// More than anybody has the time for, and few enough for memory.
const MOST_POINTS: usize = 1_000_000;

/// The name by which parts of this job know each other.
pub(super) const TOOL: &str = "swa-landscape";

/// Options of [`super::draw_landscape()`]: which models, which points, which images.
#[derive(Debug, Clone)]
pub struct DrawLandscape {
    /// The models that define the picture: three for a plane, two for a line, any number for rays.
    pub models: Vec<PathBuf>,
    /// Which points.
    pub points: Points,
    /// Training images, pixels, device. `samples` is not used.
    pub data: session::Options,
    /// The folder of test images, if it is not that of the training images.
    pub test: Option<PathBuf>,
    /// Where batchnorm's statistics come from.
    pub bn: Bn,
    /// Training images that statistics are computed from at each point, drawn by the seed.
    pub bn_samples: usize,
    /// Images of the training loss, drawn by the seed: as many are the same ones.
    pub train_samples: usize,
    /// Images of the test loss, drawn by the seed.
    pub test_samples: usize,
    /// λ of the regularised training loss, nll + λ/2·‖w‖².
    pub weight_decay: Option<f64>,
    /// Bytes of host memory for images and forward passes; None: half of what is free.
    pub memory: Option<u64>,
    /// Sharing the points between processes, and going on after an interruption.
    pub sharing: Sharing,
}

/// Which points of weight space.
#[derive(Debug, Clone)]
pub enum Points {
    /// The plane through three models.
    Plane {
        /// Others to be projected onto it.
        project: Vec<PathBuf>,
        /// Points on each axis.
        grid: usize,
        /// How far it goes beyond the models, as a share of the distance between the outermost ones.
        margin: f64,
    },
    /// The line through two models.
    Line {
        /// How many.
        points: usize,
        /// How far it goes beyond the models, as a share of their distance.
        margin: f64,
    },
    /// Rays from each model in random directions, the same for all models.
    Rays {
        /// How many.
        rays: usize,
        /// Points on each.
        steps: usize,
        /// The distance of the last one; None: doubled until the test error of every model is above one half.
        to: Option<f64>,
        /// In which units.
        units: Units,
    },
}

choices! {
    /// Where batchnorm's statistics come from.
    #[derive(Default)]
    pub enum Bn {
        #[default]
        Recompute = "recompute": "Recomputed at every point, layer by layer: what the network would be there if it were used",
        Keep = "keep": "Those of the models, between them combined as the weights are: pictures of statistics that do not fit",
    }
}

/// The outcome of [`super::draw_landscape()`].
#[allow(clippy::large_enum_variant)] // there is one at a time
pub enum Drawn {
    /// All points.
    Whole(Landscape),
    /// A part was saved.
    Part(SavedPoints),
}

/// What was found at all points.
pub struct Landscape {
    /// Which points.
    pub about: About,
    /// By point, in the order of [`About::places`].
    pub results: Results,
    /// From the beginning of the job to its end.
    pub seconds: f64,
    /// The state file.
    pub state: State,
}

/// A part of the points that was saved.
#[derive(Debug, Clone)]
pub struct SavedPoints {
    /// The file.
    pub path: PathBuf,
    /// Which part it is.
    pub shard: Shard,
    /// How many points it has.
    pub points: usize,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

impl DrawLandscape {
    /// Weights are added up and used in these.
    pub const PRECISIONS: [Precision; 2] = [Precision::Fp32, Precision::Tf32];

    /// All models: those that define the picture first.
    pub(super) fn all_models(&self) -> Vec<PathBuf> {
        let mut all = self.models.clone();
        if let Points::Plane { project, .. } = &self.points {
            all.extend(project.iter().cloned());
        }
        all
    }

    /// Fails if settings do not go together, before anything is read.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::usage(what));
        let given = self.models.len();
        match &self.points {
            Points::Plane { .. } if given != 3 => {
                return wrong(format!("a plane is through three models, {given} are given"));
            }
            Points::Line { .. } if given != 2 => {
                return wrong(format!("a line is through two models, {given} are given"));
            }
            Points::Rays { .. } if given == 0 => return wrong("no model is given".into()),
            Points::Rays { rays: 0, .. } | Points::Rays { steps: 0, .. } => {
                let (rays, steps) = (setting!("rays"), setting!("steps"));
                return wrong(format!("{rays} and {steps} are at least 1"));
            }
            Points::Rays { to: Some(to), .. } if !(to.is_finite() && *to > 0.0) => {
                return wrong(format!("{} {to} is no distance", setting!("to")));
            }
            Points::Plane { grid: n, .. } | Points::Line { points: n, .. } if *n < 2 => {
                return wrong("an axis has two points at least".into());
            }
            Points::Plane { margin, .. } | Points::Line { margin, .. }
                if !(margin.is_finite() && *margin >= 0.0) =>
            {
                return wrong(format!("{} {margin} is no share of a distance", setting!("margin")));
            }
            _ => {}
        }
        let points = match self.points {
            Points::Plane { grid, .. } => grid.checked_mul(grid),
            Points::Line { points, .. } => Some(points),
            Points::Rays { rays, steps, .. } => rays.checked_mul(steps),
        };
        if points.is_none_or(|points| points > MOST_POINTS) {
            let what = format!("more than {MOST_POINTS} points");
            return Err(
                Error::limit(what).remedy("each takes thousands of forward passes: ask for fewer")
            );
        }
        let precision = self.data.networks.precision;
        if !Self::PRECISIONS.contains(&precision) {
            let what = format!("{} {}", setting!("precision"), precision.name());
            return wrong(format!(
                "{what}: weights are added up and used in fp32, or tf32 on GPUs"
            ));
        }
        if let Some(decay) = self.weight_decay
            && !(decay.is_finite() && decay >= 0.0)
        {
            return wrong(format!("{} {decay} is no weight decay", setting!("wd")));
        }
        self.sharing.check(setting!("save_points"), &[], &self.all_models())
    }
}
