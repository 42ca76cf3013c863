//! The report of a plane, a line or rays.

mod csv;
mod line;
mod names;
mod plane;
mod rays;
mod text;

use std::io::{self, Write};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use swa_base::text_file;
use swa_tools::output::write_stream;
use swa_tools::{Error, Kind, Result};

use crate::jobs::{Landscape, SavedPoints};
use crate::landscape::{About, Form, Place, Values};

/// What `swa-landscape` writes: everything that was found, and all that its pictures show.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LandscapeReport {
    /// `plane`, `line` or `rays`.
    pub kind: String,
    /// The architecture.
    pub arch: String,
    /// Parameters of the network: the dimensions of weight space.
    pub parameters: usize,
    /// The models, those that define the picture first.
    pub models: Vec<LandscapeModel>,
    /// A plane or a line: the points' places on the first axis, ascending. Rays: their distances from the model.
    pub x: Vec<f64>,
    /// A plane: the points' places on the second axis, ascending; else empty.
    pub y: Vec<f64>,
    /// Rays from each model; 0 for a plane or a line.
    pub rays: usize,
    /// Units of distances along rays: `distance`, `norm` or `filter`; null for a plane or a line.
    pub units: Option<String>,
    /// Statistics at each point: `recompute`, `keep`, or `none` of a network without batchnorm layers.
    pub batchnorm: String,
    /// Training images that statistics were computed from at each point.
    pub bn_images: usize,
    /// Images of the training loss and error.
    pub train_images: usize,
    /// Images of the test loss and error.
    pub test_images: usize,
    /// The seed of the images, and of directions.
    pub seed: u64,
    /// λ of the regularised training loss; null: it was not asked for.
    pub weight_decay: Option<f64>,
    /// From an image to the pixels that the network takes: the preset's name and its fields.
    pub transform: Value,
    /// The training augmentation of training images; null: the pixels of evaluation.
    pub augmentation: Value,
    /// Version of the tools.
    pub version: String,
    /// A plane: row by row, a row for each `y`. Rays: all points of the first direction from the first model, from the
    /// second, and so on; then the next direction.
    pub points: Vec<LandscapePoint>,
    /// Time that the job took; null in a file, which says the same whenever it is made.
    pub seconds: Option<f64>,
}

/// A model, where it is, and how it does on the images of the picture.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LandscapeModel {
    /// Its path.
    pub model: String,
    /// Its place on the first axis, or that of its projection; null for rays.
    pub x: Option<f64>,
    /// Its place on the second axis, or that of its projection; null for rays.
    pub y: Option<f64>,
    /// Its distance from the plane or line; null for rays.
    pub off: Option<f64>,
    /// The length of its weight vector.
    pub norm: f64,
    /// Mean cross entropy over the training images, in nats.
    pub train_loss: f64,
    /// Training images whose label did not rank first, in percent.
    pub train_error: f64,
    /// `train_loss` + λ/2 · `norm`²; null without a weight decay.
    pub train_regularised: Option<f64>,
    /// Mean cross entropy over the test images, in nats.
    pub test_loss: f64,
    /// Test images whose label did not rank first, in percent.
    pub test_error: f64,
    /// Standard error of `test_error`, in percentage points.
    pub test_error_uncertainty: f64,
    /// `test_error` less that of the first model, in percentage points; null of the first.
    pub error_difference: Option<f64>,
    /// Standard error of that difference, paired by image; null of the first.
    pub error_difference_uncertainty: Option<f64>,
    /// `test_loss` less that of the first model; null of the first.
    pub loss_difference: Option<f64>,
    /// Standard error of that difference, paired by image; null of the first.
    pub loss_difference_uncertainty: Option<f64>,
    /// Rays: the distance at which their mean test error reaches 50 %; null where it does not.
    pub half: Option<f64>,
    /// Standard deviation of the distances at which each ray's does; null where not all do.
    pub half_deviation: Option<f64>,
}

/// A point, and what was found there. Null: the network overflowed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LandscapePoint {
    /// The model that its ray begins at, by position; null for a plane or a line.
    pub model: Option<usize>,
    /// The direction's number; null for a plane or a line.
    pub ray: Option<usize>,
    /// Its place on the first axis, or its distance from the model.
    pub x: f64,
    /// Its place on the second axis; null but for a plane.
    pub y: Option<f64>,
    /// The length of the weight vector.
    pub norm: f64,
    /// Mean cross entropy over the training images, in nats.
    pub train_loss: Option<f64>,
    /// Training images whose label did not rank first, in percent.
    pub train_error: Option<f64>,
    /// `train_loss` + λ/2 · `norm`²; null without a weight decay.
    pub train_regularised: Option<f64>,
    /// Mean cross entropy over the test images, in nats.
    pub test_loss: Option<f64>,
    /// Test images whose label did not rank first, in percent.
    pub test_error: Option<f64>,
}

/// What `swa-landscape` prints when it saves a part.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PointsReport {
    /// The file.
    pub part: String,
    /// Which part it is: `I/N`, counted from 0.
    pub shard: String,
    /// How many points it has.
    pub points: usize,
    /// Time that the job took.
    pub seconds: f64,
}

impl PointsReport {
    /// Of an outcome.
    pub fn of(saved: &SavedPoints) -> Self {
        let SavedPoints { path, shard, points, seconds } = saved;
        let (part, shard) = (path.display().to_string(), shard.to_string());
        PointsReport { part, shard, points: *points, seconds: *seconds }
    }

    /// For people.
    pub fn text(&self) -> String {
        let PointsReport { part, shard, points, seconds } = self;
        format!("wrote {part}: part {shard}, {points} points, in {seconds:.1} s")
    }
}

impl LandscapeReport {
    /// Of an outcome.
    pub fn of(outcome: &Landscape) -> Self {
        let Landscape { about, results, seconds, .. } = outcome;
        let values: Vec<(Place, Values)> = about
            .places()
            .into_iter()
            .enumerate()
            .filter_map(|(i, place)| Some((place, results.at(i)?)))
            .collect();
        let (kind, x, y, rays, units) = match &about.form {
            Form::Plane { x, y } => ("plane", x.clone(), y.clone(), 0, None),
            Form::Line { x } => ("line", x.clone(), vec![], 0, None),
            Form::Rays { x, rays, units } => {
                ("rays", x.clone(), vec![], *rays, Some(units.clone()))
            }
        };
        let points = values.iter().filter_map(|(place, values)| point(about, *place, values));
        let mut report = LandscapeReport {
            kind: kind.into(),
            arch: about.arch.clone(),
            parameters: about.parameters,
            models: vec![],
            x,
            y,
            rays,
            units,
            batchnorm: about.batchnorm.clone(),
            bn_images: about.bn_images,
            train_images: about.train_images,
            test_images: about.test_images,
            seed: about.seed,
            weight_decay: about.weight_decay,
            transform: about.transform.clone(),
            augmentation: about.augmentation.clone(),
            version: about.version.clone(),
            points: points.collect(),
            seconds: Some(*seconds),
        };
        let models = values.iter().filter_map(|(place, values)| match place {
            Place::Model(i) => Some((*i, values)),
            _ => None,
        });
        report.models = models.map(|(i, values)| report.model(outcome, i, values)).collect();
        report
    }

    fn model(&self, outcome: &Landscape, i: usize, values: &Values) -> LandscapeModel {
        let located = &outcome.about.models[i];
        let [error, loss] = outcome.results.differences(i);
        let other = |value: f64| (i > 0 && value.is_finite()).then_some(value);
        let share = values.test_error;
        let (half, half_deviation) = self.half(i);
        LandscapeModel {
            model: located.model.clone(),
            x: located.at.map(|at| at[0]),
            y: located.at.map(|at| at[1]),
            off: located.off,
            norm: located.norm,
            train_loss: values.train_nll,
            train_error: percent(values.train_error),
            train_regularised: regularised(&outcome.about, values),
            test_loss: values.test_nll,
            test_error: percent(share),
            test_error_uncertainty: 100.0
                * (share * (1.0 - share) / self.test_images as f64).sqrt(),
            error_difference: other(percent(error[0])),
            error_difference_uncertainty: other(percent(error[1])),
            loss_difference: other(loss[0]),
            loss_difference_uncertainty: other(loss[1]),
            half,
            half_deviation,
        }
    }

    /// The points of a ray from a model.
    fn ray(&self, model: usize, ray: usize) -> impl Iterator<Item = &LandscapePoint> {
        let is_on =
            move |point: &&LandscapePoint| point.model == Some(model) && point.ray == Some(ray);
        self.points.iter().filter(is_on)
    }

    /// Where the mean test error of a model's rays reaches 50 %, and the standard deviation of where each does.
    fn half(&self, model: usize) -> (Option<f64>, Option<f64>) {
        // What overflows is wrong on all images.
        let errors = |ray: usize| -> Vec<f64> {
            self.ray(model, ray).map(|point| point.test_error.unwrap_or(100.0)).collect()
        };
        let all: Vec<Vec<f64>> = (0..self.rays).map(errors).collect();
        let n = all.len() as f64;
        let mean = (0..self.x.len()).map(|i| all.iter().map(|ray| ray[i]).sum::<f64>() / n);
        let each: Option<Vec<f64>> = all.iter().map(|ray| crossing(&self.x, ray)).collect();
        let deviation = each.filter(|each| each.len() > 1).map(|each| {
            let mean = each.iter().sum::<f64>() / n;
            (each.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
        });
        (crossing(&self.x, &mean.collect::<Vec<_>>()), deviation)
    }

    /// A report that was written as JSON.
    ///
    /// # Errors
    /// `Input` if it is none; those of [`text_file::read`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = text_file::read(path)?;
        let report: LandscapeReport = serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("is not what swa-landscape writes: {e}")).at(path))?;
        let count = match &*report.kind {
            "plane" => report.x.len() * report.y.len(),
            "line" => report.x.len(),
            "rays" => report.x.len() * report.rays * report.models.len(),
            other => {
                let what = format!("is of a kind that is not known, {other}");
                return Err(Error::new(Kind::Unsupported, what).at(path));
            }
        };
        let is_ascending = |axis: &[f64]| axis.windows(2).all(|pair| pair[0] < pair[1]);
        let least = if report.kind == "rays" { 1 } else { 2 };
        let has_axes = report.x.len() >= least && (report.kind != "plane" || report.y.len() >= 2);
        if count != report.points.len()
            || !has_axes
            || !(is_ascending(&report.x) && is_ascending(&report.y))
        {
            return Err(Error::new(Kind::Damaged, "has other points than its axes say").at(path));
        }
        Ok(report)
    }

    /// The picture: the same bytes for the same report.
    pub fn svg(&self) -> String {
        match &*self.kind {
            "plane" => self.plane_svg(),
            "line" => self.line_svg(),
            _ => self.rays_svg(),
        }
    }

    /// Writes the report, a picture and a table, each if it has a path. `json` is the report as text.
    ///
    /// # Errors
    /// Those of writing.
    pub fn write(&self, json: &str, files: &LandscapeFiles) -> Result<()> {
        let write = |path: Option<&Path>, fill: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
            path.map_or(Ok(()), |path| write_stream(path, files.force, fill))
        };
        write(files.json, &|out| writeln!(out, "{json}"))?;
        write(files.svg, &|out| out.write_all(self.svg().as_bytes()))?;
        write(files.csv, &|out| self.write_csv(out))
    }

    /// What the training loss of a picture is: the regularised one if there is one.
    fn objective(&self) -> String {
        match self.weight_decay {
            None => "Training loss (nll)".into(),
            Some(decay) => format!("Training loss (nll + ½·{decay}·‖w‖²)"),
        }
    }

    /// What was evaluated, for the foot of a picture.
    fn evaluated(&self) -> String {
        let batchnorm = match &*self.batchnorm {
            "recompute" => {
                format!("batchnorm recomputed at each point from {} images", self.bn_images)
            }
            "keep" => "batchnorm not recomputed".into(),
            _ => "no batchnorm".into(),
        };
        let [train, test] = [self.train_images, self.test_images];
        format!("{}; {batchnorm}; {train} training images, {test} test images", self.arch)
    }
}

/// Files to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct LandscapeFiles<'a> {
    /// The report.
    pub json: Option<&'a Path>,
    /// The picture.
    pub svg: Option<&'a Path>,
    /// A row a point.
    pub csv: Option<&'a Path>,
    /// Replace files that exist.
    pub force: bool,
}

impl LandscapePoint {
    /// What a picture shows as training loss.
    fn objective(&self) -> f64 {
        self.train_regularised.or(self.train_loss).unwrap_or(f64::NAN)
    }

    fn error(&self) -> f64 {
        self.test_error.unwrap_or(f64::NAN)
    }
}

impl LandscapeModel {
    fn objective(&self) -> f64 {
        self.train_regularised.unwrap_or(self.train_loss)
    }
}

/// Where errors reach 50 %, by linear interpolation from the point before.
fn crossing(x: &[f64], errors: &[f64]) -> Option<f64> {
    let above = errors.iter().position(|&error| error >= 50.0)?;
    let Some(below) = above.checked_sub(1) else { return Some(x[0]) };
    let share = (50.0 - errors[below]) / (errors[above] - errors[below]);
    Some(x[below] + share * (x[above] - x[below]))
}

/// In percent, without the noise of rounding: 7.2, not 7.199999999999999.
fn percent(share: f64) -> f64 {
    (1e12 * share).round() / 1e10
}

fn regularised(about: &About, values: &Values) -> Option<f64> {
    let sum = values.train_nll + 0.5 * about.weight_decay? * values.norm * values.norm;
    sum.is_finite().then_some(sum)
}

fn point(about: &About, place: Place, values: &Values) -> Option<LandscapePoint> {
    let is_plane = matches!(about.form, Form::Plane { .. });
    let (model, ray, x, y) = match place {
        Place::Model(_) => return None,
        Place::Span([x, y]) => (None, None, x, is_plane.then_some(y)),
        Place::Ray { model, ray, distance } => (Some(model), Some(ray), distance, None),
    };
    let known = |value: f64| value.is_finite().then_some(value);
    Some(LandscapePoint {
        model,
        ray,
        x,
        y,
        norm: values.norm,
        train_loss: known(values.train_nll),
        train_error: known(percent(values.train_error)),
        train_regularised: regularised(about, values),
        test_loss: known(values.test_nll),
        test_error: known(percent(values.test_error)),
    })
}
