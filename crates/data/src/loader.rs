//! Batches of images of one size, decoded in parallel and a little ahead of their use.
//!
//! A thread walks the order batch by batch; the images of a batch are decoded by rayon's global
//! pool. Up to [`AHEAD`] batches wait or are being made while another is used. What comes out does
//! not depend on the number of threads: batches, skipped images and errors follow the order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::dataset::Dataset;
use crate::image::Image;
use crate::transform::Transform;
use swa_base::text::in_quotes;
use swa_base::{Error, Kind, Result, setting};

/// Batches that are ready or in the making while the caller works on one.
pub const AHEAD: usize = 2;

/// Images of one size, with their labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// n · height · width · channels bytes: image by image, row by row, channels innermost.
    pub pixels: Vec<u8>,
    /// Number of images; smaller than the batch size where some were skipped, and at the end.
    pub n: usize,
    /// Rows of each image.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Which images of the dataset these are.
    pub indices: Vec<usize>,
    /// Their classes, counted from 0.
    pub labels: Vec<usize>,
    /// Which batch of the order this is, from 0.
    pub number: usize,
    /// The errors of the images that were skipped since the batch before, each with its batch's number.
    pub skipped: Vec<(usize, String)>,
}

/// Which batches of an order are loaded: `first`, `first` + `step`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// The number of the first batch.
    pub first: usize,
    /// From one batch to the next; at least 1.
    pub step: usize,
    /// Images that were skipped in earlier batches, which count as well.
    pub bad: Vec<(usize, String)>,
}

impl Portion {
    /// Every batch.
    pub const ALL: Portion = Portion { first: 0, step: 1, bad: vec![] };
}

/// An iterator over the batches. It ends after the first error. Dropping it stops its thread.
///
/// Must not be driven from within rayon's global pool, which it waits for.
pub struct Loader {
    batches: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the caller and the thread share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// One error text for each image that was skipped, in order, with its batch's number.
    bad: Mutex<Vec<(usize, String)>>,
    /// Nanoseconds that the caller waited for a batch.
    for_batches: AtomicU64,
    /// Nanoseconds that the thread waited for the caller to take one.
    for_caller: AtomicU64,
    /// When the last batch had been made.
    ended: OnceLock<Instant>,
}

/// How long the two sides of a loader have waited for each other. May be read while it runs.
#[derive(Clone)]
pub struct Waited(Arc<Shared>);

impl Waited {
    /// How long the caller waited for batches.
    pub fn for_batches(&self) -> Duration {
        Duration::from_nanos(self.0.for_batches.load(Ordering::Relaxed))
    }

    /// How long the loader waited for the caller: until batches were taken, and since the last one was made.
    pub fn for_caller(&self) -> Duration {
        let since = self.0.ended.get().map_or(Duration::ZERO, Instant::elapsed);
        Duration::from_nanos(self.0.for_caller.load(Ordering::Relaxed)) + since
    }
}

impl Loader {
    /// Starts loading the images `order` of `dataset` in batches of `batch_size`.
    ///
    /// An image that is cut off, damaged, of an unknown format or too large is bad. `allow_bad` of them are skipped;
    /// one more ends the iteration with an error (`BadImage`, or the image's own if `allow_bad` is 0). A file that
    /// cannot be read always ends it (`Io`), and so does an image whose size after `transform` is not that of the
    /// first (`Mismatch`).
    ///
    /// # Errors
    /// `Usage` for a batch size of 0, and those of [`Transform::validate`].
    pub fn new(
        dataset: Arc<dyn Dataset>,
        order: Vec<usize>,
        transform: Transform,
        batch_size: usize,
        allow_bad: usize,
    ) -> Result<Self> {
        Self::of_portion(dataset, order, transform, batch_size, allow_bad, Portion::ALL)
    }

    /// [`Loader::new`] for some of the batches.
    ///
    /// # Errors
    /// Those of [`Loader::new`].
    pub fn of_portion(
        dataset: Arc<dyn Dataset>,
        order: Vec<usize>,
        transform: Transform,
        batch_size: usize,
        allow_bad: usize,
        portion: Portion,
    ) -> Result<Self> {
        transform.validate()?;
        if batch_size == 0 {
            return Err(Error::usage(concat!(
                setting!("batch_size"),
                ": expected at least 1, found 0"
            )));
        }
        let Portion { first, step, bad } = portion;
        let shared = Arc::new(Shared { bad: Mutex::new(bad), ..Shared::default() });
        // The sender holds one more, which it made before there was room for it.
        let (sender, batches) = sync_channel(AHEAD - 1);
        let maker = Maker {
            dataset,
            transform,
            allow_bad,
            shared: Arc::clone(&shared),
            size: None,
            sender,
        };
        let thread = std::thread::Builder::new()
            .name("loader".into())
            .spawn(move || {
                let shared = Arc::clone(&maker.shared);
                maker.run(&order, batch_size, first, step);
                shared.ended.get_or_init(Instant::now);
            })
            .map_err(|source| Error::io(Path::new("loader"), "start a thread", source))?;
        Ok(Loader { batches: Some(batches), thread: Some(thread), shared })
    }

    /// The errors of the images that were skipped, in order. Complete once the iterator has ended;
    /// before that it may be ahead of the batches taken.
    pub fn bad(&self) -> Vec<String> {
        self.skipped().into_iter().map(|(_, text)| text).collect()
    }

    /// As [`bad`](Loader::bad), each with its batch's number.
    pub fn skipped(&self) -> Vec<(usize, String)> {
        self.shared.bad.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// How long the caller and the loader have waited for each other.
    pub fn waited(&self) -> Waited {
        Waited(Arc::clone(&self.shared))
    }

    /// Stops the thread and waits for it: for the images that are being decoded, not for the batch.
    fn finish(&mut self) -> std::thread::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.batches = None;
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let asked = Instant::now();
        let received = self.batches.as_ref()?.recv();
        add(&self.shared.for_batches, asked);
        match received {
            Ok(item) => Some(item),
            Err(_) => {
                // A panic of the thread becomes one of the caller.
                self.finish().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                None
            }
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Its panic, if any, was printed; another one here would abort.
        let _ = self.finish();
    }
}

/// Adds the time since then.
fn add(nanoseconds: &AtomicU64, then: Instant) {
    nanoseconds.fetch_add(then.elapsed().as_nanos() as u64, Ordering::Relaxed);
}

/// The thread's side.
struct Maker {
    dataset: Arc<dyn Dataset>,
    transform: Transform,
    allow_bad: usize,
    shared: Arc<Shared>,
    /// The index of the first good image, and what all must be like.
    size: Option<(usize, [usize; 3])>,
    sender: SyncSender<Result<Batch>>,
}

impl Maker {
    fn run(mut self, order: &[usize], batch_size: usize, first: usize, step: usize) {
        let mut skipped = Vec::new();
        for (number, indices) in order.chunks(batch_size).enumerate().skip(first).step_by(step) {
            let images: Vec<Option<Result<Image>>> =
                indices.par_iter().map(|&index| self.load(index)).collect();
            // None: the caller has left.
            let Some(images) = images.into_iter().collect() else { return };
            let mut batch = self.assemble(number, indices, images, &mut skipped);
            let last = batch.is_err();
            // A batch in which every image is bad is not delivered.
            if batch.as_ref().is_ok_and(|batch| batch.n == 0) {
                continue;
            }
            batch.iter_mut().for_each(|batch| batch.skipped = std::mem::take(&mut skipped));
            let made = Instant::now();
            let sent = self.sender.send(batch);
            add(&self.shared.for_caller, made);
            if sent.is_err() || last {
                return;
            }
        }
    }

    fn load(&self, index: usize) -> Option<Result<Image>> {
        if self.shared.stop.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.dataset.image(index).and_then(|image| {
            let named = |error: Error| error.at(Path::new(&self.dataset.name(index)));
            self.transform.apply(image, index).map_err(named)
        }))
    }

    fn assemble(
        &mut self,
        number: usize,
        indices: &[usize],
        images: Vec<Result<Image>>,
        skipped: &mut Vec<(usize, String)>,
    ) -> Result<Batch> {
        let mut good = Vec::with_capacity(images.len());
        for (&index, image) in indices.iter().zip(images) {
            match image {
                Ok(image) => good.push((index, self.check_size(index, image)?)),
                Err(error) => skipped.push((number, self.count_bad(number, error)?)),
            }
        }
        let [height, width, channels] = self.size.map_or([0; 3], |(_, size)| size);
        let size = height * width * channels;
        let mut pixels = vec![0; good.len() * size];
        // In parallel: a batch for a GPU is tens of megabytes, and nothing is decoded meanwhile.
        let places = pixels.par_chunks_exact_mut(size.max(1));
        places.zip(&good).for_each(|(place, (_, image))| place.copy_from_slice(&image.pixels));
        let indices: Vec<usize> = good.iter().map(|&(index, _)| index).collect();
        let labels = indices.iter().map(|&index| self.dataset.label(index)).collect();
        let n = good.len();
        Ok(Batch { pixels, n, height, width, channels, indices, labels, number, skipped: vec![] })
    }

    fn check_size(&mut self, index: usize, image: Image) -> Result<Image> {
        let found = [image.height, image.width, image.channels];
        let &mut (first, expected) = self.size.get_or_insert((index, found));
        if found != expected {
            let what = format!(
                "{}x{} pixels, but `{}` has {}x{}",
                found[1],
                found[0],
                self.dataset.name(first),
                expected[1],
                expected[0]
            );
            return Err(Error::new(Kind::Mismatch, what)
                .at(Path::new(&self.dataset.name(index)))
                .remedy(concat!(
                    "bring them to one size with ",
                    setting!("resize"),
                    " and ",
                    setting!("crop")
                )));
        }
        Ok(image)
    }

    /// Records a bad image and gives its text, or makes it the end.
    fn count_bad(&self, batch: usize, error: Error) -> Result<String> {
        // Bad input and limits are the image's fault; a failing disk or a lack of memory is not.
        if error.kind().exit_code() != 3 && error.kind() != Kind::Limit {
            return Err(error);
        }
        if self.allow_bad == 0 {
            return Err(
                error.remedy(concat!(setting!("allow_bad", "N"), " skips up to N such images"))
            );
        }
        // The way out of a list of images is to allow them.
        let cause = error.cause(&in_quotes);
        let mut bad = self.shared.bad.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if bad.len() < self.allow_bad {
            bad.push((batch, cause.clone()));
            return Ok(cause);
        }
        let mut all: Vec<String> = bad.iter().map(|(_, text)| text.clone()).collect();
        all.push(cause);
        let allowed = concat!(setting!("allow_bad"), " is");
        let what = format!("{} bad images, {allowed} {}", all.len(), self.allow_bad);
        Err(Error::new(Kind::BadImage, what)
            .remedy("repair or remove them, or allow more")
            .list(all))
    }
}

#[cfg(test)]
mod tests;
