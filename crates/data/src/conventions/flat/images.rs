//! The images of a flat folder, and which of them a name in a label file means.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::conventions::image_folder;
use crate::listing::{Listing, any_image_stem};
use swa_base::text::printable;
use swa_base::{Error, Result};

/// Paths below the folder, sorted, and their places by name.
pub(super) struct Images {
    pub files: Vec<OsString>,
    /// By the name without folders and ending.
    places: HashMap<String, Vec<u32>>,
}

impl Images {
    /// The images in the folder; if it has sub-folders, at any depth.
    pub fn list(dir: &Path, listing: &Listing) -> Result<Self> {
        let files: Vec<OsString> = match listing.folders.is_empty() {
            true => listing
                .files
                .iter()
                .filter(|name| any_image_stem(name).is_some())
                .cloned()
                .collect(),
            false => {
                let mut below: Vec<OsString> =
                    image_folder::images_below(dir, OsStr::new(""), any_image_stem)?
                        .into_iter()
                        .map(|path| path.into_os_string())
                        .collect();
                below.sort();
                below
            }
        };
        Ok(Self::of(files))
    }

    pub fn of(files: Vec<OsString>) -> Self {
        let mut places: HashMap<String, Vec<u32>> = HashMap::with_capacity(files.len());
        for (file, i) in files.iter().zip(0..) {
            places.entry(stem(&file.to_string_lossy()).to_string()).or_default().push(i);
        }
        Images { files, places }
    }

    /// Whether images lie in several folders, so that their order is not one that a file could follow.
    pub fn are_nested(&self) -> bool {
        self.files.iter().any(|file| file.as_encoded_bytes().contains(&b'/'))
    }

    pub fn name(&self, image: usize) -> String {
        printable(&self.files[image].to_string_lossy())
    }

    /// The same without its ending, which label files often leave out.
    pub fn title(&self, image: usize) -> String {
        without_ending(&self.name(image)).to_string()
    }

    /// The image of that name. The name may have more or fewer folders before it than the path has, with
    /// either kind of slash, and lack the ending.
    ///
    /// # Errors
    /// `Input` where it fits several.
    pub fn find(&self, name: &str) -> Result<Option<usize>> {
        let Some(places) = self.places.get(stem(name)) else { return Ok(None) };
        let wanted = parts(name);
        let folders_agree = |&&place: &&u32| {
            let path = self.files[place as usize].to_string_lossy();
            let found = parts(&path);
            let shared =
                |parts: &[&str]| parts.iter().rev().skip(1).map(|p| p.to_string()).collect();
            let (a, b): (Vec<String>, Vec<String>) = (shared(&wanted), shared(&found));
            a.iter().zip(&b).all(|(a, b)| a == b)
        };
        let mut fitting: Vec<u32> = places.iter().filter(folders_agree).copied().collect();
        let has_ending = |place: &u32| {
            let path = self.files[*place as usize].to_string_lossy();
            parts(&path).last() == wanted.last()
        };
        if fitting.len() > 1 && fitting.iter().any(has_ending) {
            fitting.retain(has_ending);
        }
        match fitting[..] {
            [] => Ok(None),
            [only] => Ok(Some(only as usize)),
            [a, b, ..] => {
                let (a, b) = (self.name(a as usize), self.name(b as usize));
                let what = format!("`{}` may be `{a}` or `{b}`", printable(name));
                Err(Error::input(what).remedy("write the path below the folder, with its ending"))
            }
        }
    }
}

/// The components of a path, with either kind of slash.
fn parts(path: &str) -> Vec<&str> {
    path.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect()
}

/// A name without folders and without an image's ending.
fn stem(name: &str) -> &str {
    let base = name.trim_end_matches(['/', '\\']);
    let base = base.rsplit(['/', '\\']).next().unwrap_or(base);
    match any_image_stem(OsStr::new(base)) {
        Some(stem) => &base[..stem.len()],
        None => base,
    }
}

/// A name or path without an image's ending.
pub(super) fn without_ending(name: &str) -> &str {
    any_image_stem(OsStr::new(name)).map_or(name, |stem| &name[..stem.len()])
}

/// Whether a name ends as an image's does.
pub(super) fn has_ending(name: &str) -> bool {
    any_image_stem(OsStr::new(name)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_with_any_folders_slashes_and_endings() {
        let files = ["a/1.png", "b/1.png", "b/2.jpg", "b/2.png", "x y.JPEG"];
        let images = Images::of(files.map(OsString::from).to_vec());
        let find = |name: &str| images.find(name).map_err(|e| e.to_string());
        for (name, place) in [
            ("a/1.png", Some(0)),
            ("data/b/1.png", Some(1)),
            ("b\\1", Some(1)),
            ("C:\\data\\b\\1.png", Some(1)),
            ("./b/1.jpg", Some(1)),
            ("2.jpg", Some(2)),
            ("/x/b/2.png", Some(3)),
            ("x y", Some(4)),
            ("c/1.png", None),
            ("3", None),
            ("", None),
        ] {
            assert_eq!(find(name), Ok(place), "{name}");
        }
        assert!(find("1.png").unwrap_err().starts_with("`1.png` may be `a/1.png` or `b/1.png`"));
        assert!(find("b/2").unwrap_err().contains("with its ending"));
    }
}
