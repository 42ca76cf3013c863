//! The pass over the points.

use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Choice, Error, Progress, Result, TRANSFORM_KEY, Unit, setting};

use super::images::Opened;
use super::options::{Bn, DrawLandscape, Drawn, Landscape, Points, SavedPoints, TOOL};
use super::weights::{Models, Vector};
use crate::jobs::common::{open, since};
use crate::jobs::sharing::{State, digests, names};
use crate::landscape::{
    About, Directions, Form, Gauge, Located, Measured, Place, Results, Span, Statistics, Units,
    axis, combined, mixed, norm,
};
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::parts::{self, BatchSummary, Identity, Part, Shard};

/// Loss and error at every point, or at some of them as a part of the picture.
///
/// # Errors
/// `Usage` for settings that do not go together and `OutputExists`, before anything is read; `NoDevice`,
/// `UnknownNetwork`; `Mismatch` if the models are of different networks, or data and models do not go together; `Input`
/// if two models have the same weights, or three lie on a line; `BadImage`; `NotFinite` if a model itself overflows
/// (points beside it may); `Limit` if images do not fit in memory, `OutOfMemory`; those of reading and writing.
pub fn draw_landscape(options: &DrawLandscape, progress: &dyn Progress) -> Result<Drawn> {
    let started = Instant::now();
    options.check()?;
    let checkpoints = open(&options.all_models(), &options.data, progress)?;
    let device = options.data.networks.open_device(progress)?;
    let (models, network) = Models::open(&checkpoints, &options.data, device)?;
    network.notes.iter().for_each(|note| progress.note(note));
    let budget = Budget::asked(options.memory);
    let images = Opened::open(options, &checkpoints, &network.model, &budget, progress)?;
    if options.bn == Bn::Recompute && network.model.batchnorms.is_empty() {
        progress.note("the network has no batchnorm layers: there are no statistics to recompute");
    }
    let vectors: Vec<Vector> =
        (0..options.models.len()).map(|i| models.vector(i)).collect::<Result<_>>()?;
    let (span, located) = located(options, &models, &vectors)?;
    let shapes = models.shapes().cloned().collect();
    let about = About {
        form: Form::Line { x: vec![] },
        arch: network.model.arch.clone(),
        parameters: models.parameters(),
        models: located,
        batchnorm: match network.model.batchnorms.is_empty() {
            true => "none".into(),
            false => options.bn.name().into(),
        },
        bn_images: images.bn_images,
        train_images: images.train_images,
        test_images: images.test_images,
        seed: options.data.images.seed,
        weight_decay: options.weight_decay,
        transform: images.transform_record.clone(),
        augmentation: images.augmentation.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let (name, digest) = (images.describe(), || images.digest(progress));
    let part_identity = identity(options, &checkpoints, digest)?;
    let gauge = Gauge {
        network,
        input: Input::new(&images.transform, device)?,
        batch_size: images.batch_size,
        images: images.pixels,
        budget,
    };
    let keeps = options.bn == Bn::Keep && !gauge.network.model.batchnorms.is_empty();
    let directions = Directions::new(options.data.images.seed, shapes);
    let mut walk = Walk {
        models: &models,
        vectors: &vectors,
        span,
        gauge,
        keeps,
        directions,
        units: units(options),
    };
    let about = About { form: walk.form(options, progress)?, ..about };
    walk.all(options, about, (part_identity, name), started, progress)
}

/// Where the models are; the plane or line, if there is one.
fn located(
    options: &DrawLandscape,
    models: &Models,
    vectors: &[Vector],
) -> Result<(Option<Span>, Vec<Located>)> {
    let points: Vec<&[f32]> = vectors.iter().map(|vector| &vector.weights[..]).collect();
    let name = |i: usize| models.checkpoints[i].path().display().to_string();
    if let Points::Rays { .. } = options.points {
        let located = |(i, w): (usize, &&[f32])| Located {
            model: name(i),
            at: None,
            off: None,
            norm: norm(w),
        };
        let located: Vec<Located> = points.iter().enumerate().map(located).collect();
        if units(options) != Units::Distance
            && let Some(zero) = located.iter().find(|model| model.norm == 0.0)
        {
            return Err(Error::usage(
                "all its weights are 0: nothing is far from it, measured by them",
            )
            .at(Path::new(&zero.model))
            .remedy(concat!("give ", setting!("units", "distance"))));
        }
        return Ok((None, located));
    }
    let span = models.span(&points)?;
    let corners = span.corners();
    let mut located: Vec<Located> = points
        .iter()
        .enumerate()
        .map(|(i, w)| Located {
            model: name(i),
            at: Some(corners[i]),
            off: Some(0.0),
            norm: norm(w),
        })
        .collect();
    for i in points.len()..models.checkpoints.len() {
        let vector = models.vector(i)?;
        let projected = span.project(&points, &vector.weights);
        located.push(Located {
            model: name(i),
            at: Some(projected.at),
            off: Some(projected.off),
            norm: norm(&vector.weights),
        });
    }
    Ok((Some(span), located))
}

fn units(options: &DrawLandscape) -> Units {
    match options.points {
        Points::Rays { units, .. } => units,
        _ => Units::default(),
    }
}

/// What all parts of a picture have in common, but for the points.
fn identity(
    options: &DrawLandscape,
    checkpoints: &[Checkpoint],
    images: impl FnOnce() -> Result<Value>,
) -> Result<Map<String, Value>> {
    let mut fields = Map::new();
    fields.insert("tool".into(), TOOL.into());
    // Only for parts: digests read every weight and much of the data.
    if options.sharing.save.is_some() || options.sharing.resume.is_some() {
        fields.insert("models".into(), digests(checkpoints)?);
        fields.insert("data".into(), images()?);
    }
    fields.insert("unit".into(), "points".into());
    Ok(fields)
}

/// The network on its way from point to point.
struct Walk<'a> {
    models: &'a Models<'a>,
    /// Those that define the picture.
    vectors: &'a [Vector],
    span: Option<Span>,
    gauge: Gauge,
    /// Whether statistics are those of the models.
    keeps: bool,
    directions: Directions,
    units: Units,
}

impl Walk<'_> {
    /// Which points there are.
    fn form(&mut self, options: &DrawLandscape, progress: &dyn Progress) -> Result<Form> {
        let corners = self.span.map_or(vec![], |span| span.corners());
        let along = |i: usize| corners.iter().map(move |corner| corner[i]);
        Ok(match options.points {
            Points::Plane { grid, margin, .. } => {
                Form::Plane { x: axis(along(0), margin, grid), y: axis(along(1), margin, grid) }
            }
            Points::Line { points, margin } => Form::Line { x: axis(along(0), margin, points) },
            Points::Rays { rays, steps, to, units } => {
                let to = match to {
                    Some(to) => to,
                    None => self.range(progress)?,
                };
                let x = (1..=steps).map(|i| to * i as f64 / steps as f64).collect();
                Form::Rays { x, rays, units: units.name().into() }
            }
        })
    }

    /// A distance at which the first ray of every model has a test error above one half, or eight times the weights'
    /// own length: found by doubling.
    fn range(&mut self, progress: &dyn Progress) -> Result<f64> {
        let unit = match self.units {
            Units::Distance => norm(&self.vectors[0].weights),
            Units::Norm | Units::Filter => 1.0,
        };
        let mut to = round(unit / 16.0);
        for model in 0..self.vectors.len() {
            loop {
                progress.detail(&format!("looking for the range: {to}"));
                let place = Place::Ray { model, ray: 0, distance: to };
                let error = self.measure(place)?.values.test_error;
                if error.is_nan() || error > 0.5 || to >= 8.0 * unit {
                    break;
                }
                to *= 2.0;
            }
        }
        progress.note(&format!("rays to a distance of {to}"));
        Ok(to)
    }

    /// Loss and error at a point.
    fn measure(&mut self, place: Place) -> Result<Measured> {
        let statistics = |parts: &[(f64, &Vector)]| -> Option<Vec<Statistics>> {
            let parts: Vec<(f64, &[Statistics])> =
                parts.iter().map(|(share, vector)| (*share, &vector.statistics[..])).collect();
            self.keeps.then(|| mixed(&parts))
        };
        let (weights, kept, is_model) = match place {
            Place::Model(i) => {
                let read;
                let vector = match self.vectors.get(i) {
                    Some(vector) => vector,
                    None => {
                        read = self.models.vector(i)?;
                        &read
                    }
                };
                (vector.weights.clone(), statistics(&[(1.0, vector)]), true)
            }
            Place::Span(at) => {
                let span = self.span.expect("planes and lines have one");
                let parts: Vec<(f64, &Vector)> =
                    span.coefficients(at).into_iter().zip(self.vectors).collect();
                let weights: Vec<(f64, &[f32])> =
                    parts.iter().map(|(share, vector)| (*share, &vector.weights[..])).collect();
                (combined(&weights), statistics(&parts), false)
            }
            Place::Ray { model, ray, distance } => {
                let vector = &self.vectors[model];
                let kept = statistics(&[(1.0, vector)]);
                let step = self.directions.step(ray, &vector.weights, self.units);
                (combined(&[(1.0, &vector.weights), (distance, &step)]), kept, false)
            }
        };
        match is_model {
            true => self
                .gauge
                .measure(&weights, kept.as_deref())
                .map_err(|error| self.named(error, place)),
            false => self.gauge.try_measure(&weights, kept.as_deref()),
        }
    }

    /// An error with the file of the model that it is about.
    fn named(&self, error: swa_tools::Error, place: Place) -> swa_tools::Error {
        match place {
            Place::Model(i) => error.at(self.models.checkpoints[i].path()),
            _ => error,
        }
    }

    /// All points, or those of a part.
    fn all(
        &mut self,
        options: &DrawLandscape,
        about: About,
        (mut fields, data): (Map<String, Value>, String),
        started: Instant,
        progress: &dyn Progress,
    ) -> Result<Drawn> {
        let (places, notes) = (about.places(), json!(about));
        fields.insert(TRANSFORM_KEY.into(), about.transform.clone());
        fields.insert("batches".into(), places.len().into());
        fields.insert("settings".into(), settings(options, &about));
        let shard = options.sharing.shard.unwrap_or(Shard::WHOLE);
        let part = Part {
            identity: Identity::new(fields),
            progress: parts::Progress {
                broken: false,
                shard,
                done: 0,
                filled: 0,
                images: 0,
                size: None,
                skipped: vec![],
                allow_bad: 0,
                data,
                models: names(self.models.checkpoints),
                notes,
            },
            content: Results::empty(places.len(), about.models.len(), about.test_images),
        };
        let keeper = options.sharing.keep(part, progress)?;
        let (done, all) = keeper.with(|part| (part.progress.done, part.batches()));
        let images = self.gauge.images.a_point();
        let counted = [all * images, done * images].map(|n| n as u64);
        progress.begin("points", counted[0], counted[1], Unit::Images);
        let rest = keeper.remaining();
        for (count, point) in (rest.first..places.len()).step_by(rest.step).enumerate() {
            progress.detail(&format!("point {} of {all}", done + count + 1));
            let measured = self.measure(places[point])?;
            keeper.add(&[BatchSummary::of_point(point)], |known| known.add(point, &measured))?;
            progress.advance(images as u64);
        }
        progress.end();
        keeper.finish(vec![]);
        if let Some(path) = &options.sharing.save {
            let points = keeper
                .with(|part| part.write(path, options.sharing.force).map(|()| part.batches()))?;
            keeper.close()?;
            let (path, seconds) = (path.clone(), since(started));
            return Ok(Drawn::Part(SavedPoints { path, shard, points, seconds }));
        }
        let results = keeper.with(|part| part.content.clone());
        let state = State::of(keeper);
        Ok(Drawn::Whole(Landscape { about, results, seconds: since(started), state }))
    }
}

/// What determines the picture, apart from models and data.
fn settings(options: &DrawLandscape, about: &About) -> Value {
    json!({
        "version": about.version,
        "form": about.form,
        "batchnorm": about.batchnorm,
        "bn_samples": about.bn_images,
        "train_samples": about.train_images,
        "test_samples": about.test_images,
        "seed": about.seed,
        "wd": about.weight_decay,
        "precision": options.data.networks.precision.name(),
        "augmentation": about.augmentation,
    })
}

/// The nearest of 1, 2 and 5 times a power of ten from below.
fn round(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let factor = [5.0, 2.0].into_iter().find(|factor| factor * power <= value).unwrap_or(1.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::round;

    #[test]
    fn ranges_begin_with_a_round_number() {
        assert_eq!([round(7.3), round(2.0), round(19.9), round(1.0)], [5.0, 2.0, 10.0, 1.0]);
    }
}
