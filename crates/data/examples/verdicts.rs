//! What the decoder says of images whose paths come in by stdin, a line each: width, height and the CRC-32 of the RGB
//! bytes, or why it is refused. For fuzz/images.py, which compares it with Pillow. With a folder of images as argument
//! the paths are label files for it, and the answers labels: for fuzz/tables.py.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use swa_base::Result;
use swa_data::{Options, decode};

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let mut out = std::io::stdout().lock();
    for path in std::io::stdin().lock().lines() {
        let answer = match &folder {
            None => pixels(Path::new(&path?)),
            Some(folder) => labels(folder, path?.into()),
        };
        match answer {
            Ok(answer) => writeln!(out, "{answer}")?,
            Err(error) => writeln!(
                out,
                "refused {} {}",
                error.kind().exit_code(),
                error.to_string().replace('\n', " ")
            )?,
        }
        out.flush()?;
    }
    Ok(())
}

fn pixels(path: &Path) -> Result<String> {
    let image = decode::read(path)?;
    let mut crc = flate2::Crc::new();
    crc.update(&image.pixels);
    Ok(format!("{} {} {}", image.width, image.height, crc.sum()))
}

fn labels(folder: &Path, labels: PathBuf) -> Result<String> {
    let set = Options { labels: Some(labels), ..Options::default() }.open(folder)?;
    let labels: Vec<String> =
        (0..set.len()).map(|i| format!("{}={}", set.name(i), set.label(i))).collect();
    Ok(labels.join(" "))
}
