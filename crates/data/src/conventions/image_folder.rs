//! ImageFolder: one sub-folder of images a class, at any depth below it.
//!
//! Classes and images come in the order of torchvision's `ImageFolder`, so that labels and indices
//! agree: class folders sorted as strings ("10" before "2"); within a class first by the path of the
//! folder, then by file name. Unlike there, hidden entries are ignored.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::flat;
use crate::dataset::{Classes, Dataset};
use crate::decode;
use crate::image::Image;
use crate::listing::{
    EXTENSIONS, Listing, any_image_stem, image_stem, is_dead_link, is_hidden, is_litter,
};
use crate::options::Options;
use crate::text::{grouped, numbered_otherwise};
use swa_base::text::printable;
use swa_base::{Error, Result, panics};

pub(super) const HOLDS: &str = "a folder with a sub-folder of images for each class";

pub(super) fn sniff(listing: &Listing) -> bool {
    !listing.folders.is_empty()
}

pub(super) fn open(dir: &Path, listing: &Listing, options: &Options) -> Result<Box<dyn Dataset>> {
    if options.format.is_none() {
        flat::check_no_table(dir, listing)?;
        flat::check_no_label_file(dir, listing)?;
    }
    Ok(Box::new(ImageFolder::open(dir.to_path_buf(), listing)?))
}

struct ImageFolder {
    dir: PathBuf,
    classes: Vec<String>,
    /// Paths below `dir`, with their labels.
    images: Vec<(PathBuf, usize)>,
}

impl ImageFolder {
    fn open(dir: PathBuf, listing: &Listing) -> Result<Self> {
        if listing.folders.is_empty() {
            let what = match listing.files.len() {
                0 => "the folder is empty".to_string(),
                n => format!("no class folders, only {} files", grouped(n)),
            };
            return Err(Error::input(what).at(&dir).remedy(format!("give {HOLDS}")));
        }
        if let Some(link) = listing.dangling.first() {
            let what = "a link that leads nowhere: a class would be missing, and others numbered differently";
            return Err(Error::input(what).at(&dir.join(link)).remedy("mend or remove it"));
        }
        let mut images = Vec::new();
        let mut without = Vec::new();
        for (label, class) in listing.folders.iter().enumerate() {
            let found = images_below(&dir, class, image_stem)?;
            if found.is_empty() {
                without.push(class.to_string_lossy().into_owned());
            }
            images.extend(found.into_iter().map(|path| (path, label)));
        }
        let endings = EXTENSIONS.map(|ending| format!(".{ending}")).join(" ");
        if images.is_empty() {
            let what = format!("no images below its {} folders", grouped(without.len()));
            let mut remedy = format!("images end with one of {endings}, in any case");
            let data = super::folders_of_data(&dir, listing)?;
            if let Some(first) = data.first() {
                let error = Error::input(what).at(&dir).remedy(format!(
                    "give one of the folders that hold data, such as `{}`",
                    dir.join(first).display()
                ));
                return Err(error.list(data.iter().map(|name| format!("`{name}`")).collect()));
            }
            for class in &listing.folders {
                // By another ending than those above, it can only be this.
                if !images_below(&dir, class, any_image_stem)?.is_empty() {
                    remedy += "; there are .gif files, which torchvision's ImageFolder passes over";
                    break;
                }
            }
            return Err(Error::input(what).at(&dir).remedy(remedy));
        }
        if !without.is_empty() {
            let what = format!("{} class folders hold no image", grouped(without.len()));
            let only = listing.folders.iter().filter(|f| !without.iter().any(|w| *f == w.as_str()));
            let remedy = match only.collect::<Vec<_>>()[..] {
                // Folders of other things beside the one with the classes.
                [only] if !Listing::read(&dir.join(only))?.folders.is_empty() => {
                    format!("give `{}`, which holds the images", dir.join(only).display())
                }
                _ => format!("remove them, or add images ({endings})"),
            };
            return Err(Error::input(what)
                .at(&dir)
                .remedy(remedy)
                .list(without.iter().map(|class| format!("`{class}`")).collect()));
        }
        let classes = listing.folders.iter().map(|f| f.to_string_lossy().into_owned()).collect();
        Ok(ImageFolder { dir, classes, images })
    }
}

/// The images below `dir/class`, as paths below `dir`, in order. `stem` says what is called as an image is.
pub(super) fn images_below(
    dir: &Path,
    class: &OsStr,
    stem: fn(&OsStr) -> Option<&[u8]>,
) -> Result<Vec<PathBuf>> {
    // The standard library panics where a folder cannot be closed.
    let lost =
        || Error::io(dir, "list the directory", std::io::Error::other("it cannot be closed"));
    panics::catch(|| walked(dir, class, stem)).unwrap_or_else(|| Err(lost()))
}

fn walked(dir: &Path, class: &OsStr, stem: fn(&OsStr) -> Option<&[u8]>) -> Result<Vec<PathBuf>> {
    let mut found: Vec<(OsString, OsString)> = Vec::new();
    let walk = WalkDir::new(dir.join(class)).follow_links(true).into_iter();
    let is_kept = |name: &OsStr| !is_hidden(name) && !is_litter(name);
    let mut add = |path: &Path| {
        let below = path.strip_prefix(dir).unwrap_or(path);
        let folder = below.parent().unwrap_or(Path::new("")).as_os_str().to_os_string();
        found.push((folder, below.file_name().unwrap_or_default().to_os_string()));
    };
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || is_kept(entry.file_name())) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && stem(entry.file_name()).is_some() => {
                add(entry.path());
            }
            Ok(_) => {}
            Err(error) => match error.path().filter(|path| is_dangling(path, &error)) {
                // It is an error only when its image is asked for.
                Some(path) if path.file_name().is_some_and(|name| image_stem(name).is_some()) => {
                    add(path);
                }
                Some(path) => {
                    let what =
                        "a link that leads nowhere: images would be missing if it led to a folder";
                    return Err(Error::input(what).at(path).remedy("mend or remove it"));
                }
                None => return Err(unlisted(dir, error)),
            },
        }
    }
    // The folder as one string, not component by component: "a-b" comes before "a/c".
    found.sort();
    Ok(found.into_iter().map(|(folder, file)| Path::new(&folder).join(file)).collect())
}

/// Whether it is a link that leads nowhere.
fn is_dangling(path: &Path, error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|io| is_dead_link(path, io))
}

fn unlisted(dir: &Path, error: walkdir::Error) -> Error {
    let path = error.path().unwrap_or(dir).to_path_buf();
    match error.into_io_error() {
        Some(source) => Error::io(&path, "list the directory", source),
        None => Error::input("the link leads back to a folder that contains it").at(&path),
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> Classes {
        Classes::Exactly(self.classes.len())
    }

    fn class_names(&self) -> Option<&[String]> {
        Some(&self.classes)
    }

    fn label(&self, index: usize) -> usize {
        self.images[index].1
    }

    fn name(&self, index: usize) -> String {
        self.images[index].0.to_string_lossy().into_owned()
    }

    fn image(&self, index: usize) -> Result<Image> {
        decode::read(&self.dir.join(&self.images[index].0))
    }

    fn files(&self) -> usize {
        self.images.len()
    }

    fn file(&self, place: usize) -> PathBuf {
        self.dir.join(&self.images[place].0)
    }

    fn describe(&self) -> String {
        format!(
            "ImageFolder `{}`, {} images, {} classes{}",
            printable(&self.dir.to_string_lossy()),
            grouped(self.images.len()),
            grouped(self.classes.len()),
            numbered_otherwise(&self.classes)
        )
    }
}

#[cfg(test)]
mod tests;
