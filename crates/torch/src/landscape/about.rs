//! Which points a picture consists of.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything about a picture but what was found at its points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// A plane, a line, or rays.
    pub form: Form,
    /// The architecture.
    pub arch: String,
    /// Parameters of the network: the dimensions of weight space.
    pub parameters: usize,
    /// The models, those that define the picture first.
    pub models: Vec<Located>,
    /// `recompute`, `keep`, or `none` of a network without batchnorm layers.
    pub batchnorm: String,
    /// Images that statistics were computed from at each point.
    pub bn_images: usize,
    /// Images of the training loss.
    pub train_images: usize,
    /// Images of the test loss.
    pub test_images: usize,
    /// The seed of the images and of directions.
    pub seed: u64,
    /// λ of the regularised training loss, nll + λ/2·‖w‖².
    pub weight_decay: Option<f64>,
    /// From an image to the pixels that the network takes: the preset's name and its fields.
    pub transform: Value,
    /// The training augmentation of training images; null: the pixels of evaluation.
    pub augmentation: Value,
    /// Version of the tools.
    pub version: String,
}

/// The points of a picture besides its models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A grid on the plane through three models.
    Plane {
        /// Ascending.
        x: Vec<f64>,
        /// Ascending.
        y: Vec<f64>,
    },
    /// Points on the line through two models.
    Line {
        /// Ascending.
        x: Vec<f64>,
    },
    /// Points on rays from each model.
    Rays {
        /// Distances from the model, ascending, without 0.
        x: Vec<f64>,
        /// How many rays begin at each model.
        rays: usize,
        /// In which units distances are, by name.
        units: String,
    },
}

/// A model, and where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Located {
    /// Its path.
    pub model: String,
    /// Where it is on the plane or line, or its projection; None for rays.
    pub at: Option<[f64; 2]>,
    /// Its distance from the plane or line.
    pub off: Option<f64>,
    /// The length of its weight vector.
    pub norm: f64,
}

/// A point at which a network is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// A model itself, by its number.
    Model(usize),
    /// On the plane or line.
    Span([f64; 2]),
    /// On a ray from a model.
    Ray {
        /// By its number.
        model: usize,
        /// The direction's number.
        ray: usize,
        /// Distance from the model.
        distance: f64,
    },
}

impl About {
    /// All points, in their order: the models; then the rows of the grid, or each direction from each model.
    pub fn places(&self) -> Vec<Place> {
        let models = (0..self.models.len()).map(Place::Model);
        match &self.form {
            Form::Plane { x, y } => {
                let row = |&y: &f64| x.iter().map(move |&x| Place::Span([x, y]));
                models.chain(y.iter().flat_map(row)).collect()
            }
            Form::Line { x } => models.chain(x.iter().map(|&x| Place::Span([x, 0.0]))).collect(),
            Form::Rays { x, rays, .. } => {
                let rays = (0..*rays).flat_map(|ray| (0..self.models.len()).map(move |m| (ray, m)));
                let along = |(ray, model)| {
                    x.iter().map(move |&distance| Place::Ray { model, ray, distance })
                };
                models.chain(rays.flat_map(along)).collect()
            }
        }
    }
}

/// So many values at equal steps, from the smallest of `corners` to the largest, beyond both by a share of what lies
/// between them.
pub(crate) fn axis(corners: impl Iterator<Item = f64>, margin: f64, count: usize) -> Vec<f64> {
    let (low, high) = corners.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let from = low - margin * (high - low);
    let step = (1.0 + 2.0 * margin) * (high - low) / (count.max(2) - 1) as f64;
    (0..count).map(|i| from + i as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_goes_beyond_the_corners_by_the_margin() {
        let found = axis([0.0, 10.0, 4.0].into_iter(), 0.2, 8);
        assert_eq!(found, [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    }
}
