//! Images that stay decoded in memory, as they are used in every epoch.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use swa_base::Result;
use swa_data::{Classes, Dataset, Image};

/// Images beyond so many bytes of pixels are decoded each time. CIFAR-10 has 184 MB.
const MOST: usize = 1 << 30;

/// A dataset that keeps its images once they are decoded.
pub(super) struct Cached {
    inner: Arc<dyn Dataset>,
    images: Vec<OnceLock<Image>>,
    /// Pixels that are kept, in bytes.
    kept: AtomicUsize,
}

impl Cached {
    pub fn new(inner: Arc<dyn Dataset>) -> Self {
        let images = std::iter::repeat_with(OnceLock::new).take(inner.len()).collect();
        Cached { inner, images, kept: AtomicUsize::new(0) }
    }
}

impl Dataset for Cached {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn classes(&self) -> Classes {
        self.inner.classes()
    }

    fn class_names(&self) -> Option<&[String]> {
        self.inner.class_names()
    }

    fn label(&self, index: usize) -> usize {
        self.inner.label(index)
    }

    fn name(&self, index: usize) -> String {
        self.inner.name(index)
    }

    fn image(&self, index: usize) -> Result<Image> {
        if let Some(image) = self.images[index].get() {
            return Ok(image.clone());
        }
        let image = self.inner.image(index)?;
        if self.kept.fetch_add(image.pixels.len(), Ordering::Relaxed) + image.pixels.len() <= MOST {
            let _kept_by_another_thread = self.images[index].set(image.clone());
        }
        Ok(image)
    }

    fn files(&self) -> usize {
        self.inner.files()
    }

    fn file(&self, place: usize) -> PathBuf {
        self.inner.file(place)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
