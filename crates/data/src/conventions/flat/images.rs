//! The images of a flat folder, and which of them a name in a label file means.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::conventions::image_folder;
use crate::listing::{Listing, any_image_stem};
use crate::split::Split;
use swa_base::text::printable;
use swa_base::{Error, Result};
use swa_tools::select::natural;

/// Paths below the folder, sorted, and their places by name.
pub(super) struct Images {
    pub files: Vec<OsString>,
    /// By the name without folders and ending.
    places: HashMap<String, Vec<u32>>,
    /// By the whole path.
    paths: HashMap<String, u32>,
    /// The folder that they are in and those above it, the nearest first.
    above: Vec<String>,
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
        let dir = std::fs::canonicalize(dir).map_err(|e| Error::io(dir, "open", e))?;
        Ok(Self::of(files, &dir))
    }

    pub fn of(files: Vec<OsString>, dir: &Path) -> Self {
        let mut places: HashMap<String, Vec<u32>> = HashMap::with_capacity(files.len());
        let mut paths = HashMap::with_capacity(files.len());
        for (file, i) in files.iter().zip(0..) {
            let path = file.to_string_lossy();
            places.entry(stem(&path).to_string()).or_default().push(i);
            paths.insert(path.into_owned(), i);
        }
        let above = parts(&dir.to_string_lossy()).into_iter().rev().map(String::from).collect();
        Images { files, places, paths, above }
    }

    /// Whether images lie in several folders, so that their order is not one that a file could follow.
    pub fn are_nested(&self) -> bool {
        self.files.iter().any(|file| file.as_encoded_bytes().contains(&b'/'))
    }

    /// Two neighbours by name that another way to sort puts in the other order, and why: by their numbers, or without
    /// regard to capital letters, as file managers and `ls` do.
    pub fn unclear_order(&self) -> Option<([String; 2], &'static str)> {
        let name = |i: usize| self.files[i].to_string_lossy();
        let small = |i: usize| name(i).to_lowercase();
        let why = |i: usize| match () {
            () if natural(&name(i), &name(i + 1)).is_gt() => Some("names without leading zeros"),
            () if small(i) >= small(i + 1) || natural(&small(i), &small(i + 1)).is_gt() => {
                Some("names in capital and small letters")
            }
            () => None,
        };
        let last = self.files.len().saturating_sub(1);
        (0..last).find_map(|i| Some(([self.name(i), self.name(i + 1)], why(i)?)))
    }

    pub fn name(&self, image: usize) -> String {
        printable(&self.files[image].to_string_lossy())
    }

    /// The same without its ending, which label files often leave out.
    pub fn title(&self, image: usize) -> String {
        without_ending(&self.name(image)).to_string()
    }

    /// The part of the data that a name speaks of where the folder is another one: `train/1.png`, seen from `test`. Folders
    /// before the name may be others than those above the images, as data are moved and renamed; but not these.
    ///
    /// `below`: how many of the name's parts are of a path below the folder.
    fn is_of_another_part(&self, wanted: &[&str], below: usize) -> bool {
        let before = wanted.iter().rev().skip(below);
        let other = before.zip(&self.above).find(|(a, b)| !a.eq_ignore_ascii_case(b));
        other.is_some_and(|(a, b)| Split::of_word(a).is_some() && Split::of_word(b).is_some())
    }

    /// Whether a name, which none of the images has, is that of an image of another part.
    pub fn belongs_elsewhere(&self, name: &str) -> bool {
        let wanted = parts(name);
        (1..wanted.len()).any(|below| self.is_of_another_part(&wanted, below))
    }

    /// The image of that name. The name may have more or fewer folders before it than the path has, with
    /// either kind of slash, and lack the ending.
    ///
    /// # Errors
    /// `Input` where it fits several.
    pub fn find(&self, name: &str) -> Result<Option<usize>> {
        let Some(places) = self.places.get(stem(name)) else { return Ok(None) };
        let wanted = parts(name);
        // At once, since clips of a thousand videos may have frames of the same names.
        if places.len() > 1
            && let Some(&place) = self.paths.get(&wanted.join("/"))
        {
            return Ok(Some(place as usize));
        }
        let folders_agree = |&&place: &&u32| {
            let path = self.files[place as usize].to_string_lossy();
            let found = parts(&path);
            let shared =
                |parts: &[&str]| parts.iter().rev().skip(1).map(|p| p.to_string()).collect();
            let (a, b): (Vec<String>, Vec<String>) = (shared(&wanted), shared(&found));
            a.iter().zip(&b).all(|(a, b)| a == b) && !self.is_of_another_part(&wanted, found.len())
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
        let images = Images::of(files.map(OsString::from).to_vec(), Path::new("/mine/photos"));
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
        // The whole path fits best.
        let files = ["1.png", "a/1.png", "b/a/1.png"];
        let nested = Images::of(files.map(OsString::from).to_vec(), Path::new("/mine/photos"));
        assert_eq!(nested.find("a/1.png").unwrap(), Some(1));
        assert!(find("1.png").unwrap_err().starts_with("`1.png` may be `a/1.png` or `b/1.png`"));
        assert!(find("b/2").unwrap_err().contains("with its ending"));
    }
    #[test]
    fn a_name_of_another_part_is_no_image_of_this_one() {
        let files = ["0.png", "cats/1.png"];
        let images = Images::of(files.map(OsString::from).to_vec(), Path::new("/mine/pets/test"));
        let find = |name: &str| images.find(name).unwrap();
        for name in ["0.png", "test/0", "Test/0.png", "pets/test/0.png", "x/0.png", "d/test/0.png"]
        {
            assert_eq!(find(name), Some(0), "{name}");
        }
        assert_eq!((find("test/cats/1.png"), find("x/cats/1.png")), (Some(1), Some(1)));
        for name in ["train/0.png", "pets/train/0", "train/cats/1.png", "val\\0.png"] {
            assert_eq!(find(name), None, "{name}");
        }
        assert!(images.belongs_elsewhere("train/7.png") && !images.belongs_elsewhere("test/7.png"));
    }
}
