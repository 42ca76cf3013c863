//! Which pixels the models take. Settings override the preset that is named, which overrides the one recorded in the
//! models, which overrides the family's.

use std::path::Path;

use serde_json::{Value, json};
use swa_data::{Augmentation, PRESETS, Preset, Training, Transform};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind, Progress, Result, TRANSFORM_KEY, setting};

use super::options::Options;

/// A transform and its record: the preset's name (`custom` if it was changed) and its fields.
pub(crate) type Recorded = (Transform, Value);

/// The transform of models that take so many channels; `family`: the preset of their architecture.
pub(crate) fn transform(
    options: &Options,
    progress: &dyn Progress,
    checkpoints: &[Checkpoint],
    family: Option<&str>,
    channels: usize,
) -> Result<Recorded> {
    let pixels = &options.pixels;
    let (mut transform, mut name, origin) = base(options, checkpoints, family, channels)?;
    if pixels.augment {
        transform.training = Some(training(&name, options.images.seed)?);
    }
    let some = |n: usize| (n > 0).then_some(n);
    transform.resize = pixels.resize.map_or(transform.resize, some);
    let random = transform.training.as_mut();
    let random = random.filter(|training| training.augmentation == Augmentation::ResizedCrop);
    let crop = match (random, pixels.crop) {
        // The crop of evaluation stays as it is.
        (Some(training), Some(side @ 1..)) => {
            training.size = Some(side);
            None
        }
        (_, crop) => crop,
    };
    transform.crop = crop.map_or(transform.crop, some);
    transform.interpolation = pixels.interpolation.unwrap_or(transform.interpolation);
    transform.mean = pixels.mean.clone().unwrap_or(transform.mean);
    transform.std = pixels.std.clone().unwrap_or(transform.std);
    let sizes = pixels.resize.is_some() || crop.is_some();
    let values = pixels.mean.is_some() || pixels.std.is_some();
    if sizes || values || pixels.interpolation.is_some() {
        name = "custom".into();
    }
    transform.validate()?;
    let training = transform.training.map_or(String::new(), |training| format!(", {training}"));
    progress.note(&format!("pixels: preset {name}{origin}{training}"));
    let mut record = json!({ "preset": name });
    let fields = serde_json::to_value(&transform).unwrap_or_default();
    if let (Some(record), Value::Object(fields)) = (record.as_object_mut(), fields) {
        record.extend(fields);
    }
    Ok((transform, record))
}

/// The transform before settings change it, its name, and where it comes from.
fn base(
    options: &Options,
    checkpoints: &[Checkpoint],
    family: Option<&str>,
    channels: usize,
) -> Result<(Transform, String, &'static str)> {
    let pixels = &options.pixels;
    if let Some(name) = &pixels.preset {
        return Ok((Preset::named(name)?.transform(channels)?, name.clone(), ""));
    }
    let mut recorded: Vec<(Value, &Path)> = Vec::new();
    for checkpoint in checkpoints {
        if let Some(record) = checkpoint.provenance().remove(TRANSFORM_KEY)
            && recorded.iter().all(|(other, _)| *other != record)
        {
            recorded.push((record, checkpoint.path()));
        }
    }
    if recorded.len() == 1 {
        let (record, path) = recorded.remove(0);
        return of_record(record, path, channels);
    }
    match (recorded.is_empty(), family) {
        (true, Some(name)) => {
            Ok((Preset::named(name)?.transform(channels)?, name.to_string(), " (the family's)"))
        }
        (true, None) if pixels.mean.is_some() && pixels.std.is_some() => {
            Ok((Preset::named("none")?.transform(channels)?, "none".into(), ""))
        }
        (is_empty, _) => {
            let preset = setting!("preset");
            let what = match is_empty {
                true => format!(
                    "which pixels does the model take? neither {preset} nor a record in it says so"
                ),
                false => format!(
                    "the models were made with different transforms, and {preset} does not choose"
                ),
            };
            let known = Preset::names().collect::<Vec<_>>().join(", ");
            Err(Error::usage(what).remedy(format!("give {preset}, one of {known}")))
        }
    }
}

fn of_record(
    record: Value,
    path: &Path,
    channels: usize,
) -> Result<(Transform, String, &'static str)> {
    let name = record["preset"].as_str().unwrap_or("custom").to_string();
    let refused = |kind: Kind, what: String| {
        Error::new(kind, what).at(path).remedy(concat!("give ", setting!("preset")))
    };
    let transform: Transform = serde_json::from_value(record).map_err(|e| {
        let what = format!("the transform recorded in its metadata is not readable: {e}");
        refused(Kind::Damaged, what)
    })?;
    if transform.channels != channels {
        let what = format!(
            "the transform recorded in its metadata is for {} channel(s), the network takes {channels}",
            transform.channels
        );
        return Err(refused(Kind::Mismatch, what));
    }
    Ok((transform, name, " (recorded in the model)"))
}

/// The augmentation that the networks of a preset are trained with.
fn training(preset: &str, seed: u64) -> Result<Training> {
    let known = PRESETS.iter().find(|known| known.name == preset);
    let augmentation = known.and_then(|preset| preset.augmentation).ok_or_else(|| {
        let train = setting!("transform", "train");
        Error::usage(format!("{train}: no augmentation is known for preset {preset}")).remedy(
            concat!(
                "give ",
                setting!("preset"),
                " imagenet (random resized crop) or cifar10 (padding, random crop), and ",
                setting!("resize"),
                ", ",
                setting!("crop"),
                ", ",
                setting!("mean"),
                ", ",
                setting!("std"),
                " where they differ"
            ),
        )
    })?;
    Ok(Training { augmentation, seed, size: None })
}
