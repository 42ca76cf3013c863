//! Decoding, resizing and cropping alone, as the loader does it, on one thread: images a second.
//!
//! `preprocess FOLDER SECONDS`: the files in the folder, again and again. Prints a JSON object.

use std::error::Error;
use std::time::{Duration, Instant};

use swa_data::{Preset, decode};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, seconds] = &arguments[..] else {
        return Err("arguments: FOLDER SECONDS".into());
    };
    let limit = Duration::from_secs_f64(seconds.parse()?);
    let files: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    let transform = Preset::named("imagenet")?.transform(3)?;
    let (mut images, mut decoding) = (0, Duration::ZERO);
    let started = Instant::now();
    while started.elapsed() < limit {
        for (index, path) in files.iter().enumerate() {
            let at = Instant::now();
            let image = decode::read(path)?;
            decoding += at.elapsed();
            let image = transform.apply(image, index)?;
            assert_eq!((image.width, image.height), (224, 224));
        }
        images += files.len();
    }
    let all = started.elapsed().as_secs_f64();
    println!(
        r#"{{"images_per_second": {}, "decoding": {}}}"#,
        images as f64 / all,
        decoding.as_secs_f64() / all
    );
    Ok(())
}
