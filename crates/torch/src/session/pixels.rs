//! Which pixels the models take. Settings override the preset that is named, which overrides the one recorded in the
//! models, which overrides the family's.

use std::path::Path;

use serde_json::{Value, json};
use swa_data::{Augmentation, PRESETS, Preset, Training, Transform};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind, Progress, Result, TRANSFORM_KEY, setting};

use super::options::{Augment, Options};
use crate::nn::Takes;
use swa_base::text::marked;

/// A transform and its record: the preset's name (`custom` if it was changed) and its fields.
pub(crate) type Recorded = (Transform, Value);

/// The transform of models that take so many channels; `family`: the preset of their architecture; `takes`: what else they
/// demand.
pub(crate) fn transform(
    options: &Options,
    progress: &dyn Progress,
    checkpoints: &[Checkpoint],
    family: Option<&str>,
    channels: usize,
    takes: &Takes,
) -> Result<Recorded> {
    let pixels = &options.pixels;
    let (mut transform, mut name, mut origin) = base(options, checkpoints, family, channels)?;
    let is_default = pixels.preset.is_none() && origin != RECORDED;
    let side = takes.height.filter(|_| takes.height == takes.width);
    if let Some(side) = side.filter(|&side| is_default && transform.crop != Some(side)) {
        (transform.resize, transform.crop) = (Some(resize_for(side)), Some(side));
        name = "custom".into();
        origin = FOR_PROGRAM;
    }
    if let Some(augment) = pixels.augment {
        transform.training = Some(training(augment, &name, options.images.seed)?);
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
    let resized = |training: &Training| {
        training.augmentation == Augmentation::ResizedCrop && training.size.is_none()
    };
    if transform.crop.is_none() && transform.training.as_ref().is_some_and(resized) {
        let what = "random resized crop: the size of the crop is not known";
        return Err(Error::usage(what).remedy(concat!("give ", setting!("crop"))));
    }
    transform.validate()?;
    check_size(&transform, takes, options, origin)?;
    check_bytes(&transform, takes)?;
    let training = transform.training.map_or(String::new(), |training| format!(", {training}"));
    progress.note(&format!("pixels: preset {name}{origin}{training}"));
    let mut record = json!({ "preset": name });
    let fields = serde_json::to_value(&transform).unwrap_or_default();
    if let (Some(record), Value::Object(fields)) = (record.as_object_mut(), fields) {
        record.extend(fields);
    }
    Ok((transform, record))
}

/// The short side after the resize for a crop of so many pixels, in ImageNet's proportion; small images are not cropped.
fn resize_for(side: usize) -> usize {
    match side {
        64.. => (side * 256 + 112) / 224,
        _ => side,
    }
}

/// Fails if the pixels have another size than the models take, as far as it is known before images are read.
fn check_size(transform: &Transform, takes: &Takes, options: &Options, origin: &str) -> Result<()> {
    let random = transform.training.and_then(|training| training.size);
    let Some(side) = random.or(transform.crop).filter(|&side| !takes.fits(side, side)) else {
        return Ok(());
    };
    let pixels = &options.pixels;
    let channels = transform.channels;
    let by = match (&pixels.crop, &pixels.preset) {
        (Some(n), _) => marked("crop", Some(&n.to_string())),
        (None, Some(preset)) => marked("preset", Some(preset)),
        (None, None) if origin == RECORDED => "the transform recorded in the model".to_string(),
        (None, None) => "the usual transform".to_string(),
    };
    let (crop, resize) = (setting!("crop"), setting!("resize"));
    let remedy = match (takes.height, takes.width) {
        (Some(height), Some(width)) if height != width => format!(
            "images are cut to squares: give {resize} 0 and {crop} 0 if they have that size, or export the \
             program with free height and width"
        ),
        (Some(n), _) | (None, Some(n)) => format!("give {crop} {n} and {resize} {}", resize_for(n)),
        (None, None) => unreachable!("every size fits"),
    };
    let expected = takes.describe(channels);
    let what =
        format!("the program takes images of {expected}, {by} gives {channels} × {side} × {side}");
    Err(Error::usage(what).remedy(remedy))
}

/// Fails if the program takes bytes, and would get values that are normalised already: they fit, and mean something else.
fn check_bytes(transform: &Transform, takes: &Takes) -> Result<()> {
    let is_byte = |std: &f32| (std * 255.0 - 1.0).abs() < 1e-4;
    let are_bytes = transform.mean.iter().all(|&mean| mean == 0.0);
    if takes.integers.is_none() || are_bytes && transform.std.iter().all(is_byte) {
        return Ok(());
    }
    let values = |value: &str| vec![value; transform.channels].join(",");
    let (mean, std) = (setting!("mean"), setting!("std"));
    let what = "the program takes integers from 0 to 255 and normalises them itself";
    Err(Error::usage(what).remedy(format!(
        "give it the bytes: {mean} {} {std} {}",
        values("0"),
        values("0.00392156862745098")
    )))
}

/// Where a transform comes from.
const FOR_PROGRAM: &str = " (at the program's size)";
const RECORDED: &str = " (recorded in the model)";

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
    Ok((transform, name, RECORDED))
}

/// What is drawn for each image.
fn training(augment: Augment, preset: &str, seed: u64) -> Result<Training> {
    let augmentation = match augment {
        Augment::Preset => of_preset(preset)?,
        Augment::Crop => Augmentation::PaddedCrop,
        Augment::Resized => Augmentation::ResizedCrop,
        Augment::None => Augmentation::Plain,
    };
    Ok(Training { augmentation, seed, size: None })
}

/// The augmentation that the networks of a preset are trained with.
fn of_preset(preset: &str) -> Result<Augmentation> {
    let known = PRESETS.iter().find(|known| known.name == preset);
    known.and_then(|preset| preset.augmentation).ok_or_else(|| {
        let ways = concat!(setting!("transform"), " or ", setting!("augment"));
        Error::usage(format!("no augmentation is known for preset {preset}")).remedy(format!(
            "name it by {ways}: crop (padding, random crop) or resized (random resized crop)"
        ))
    })
}
