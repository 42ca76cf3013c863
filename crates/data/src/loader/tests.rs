use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use super::*;
use crate::{Classes, Preset};

/// Images of one grey pixel (their index), except as the test has it.
#[derive(Default)]
struct Fake {
    len: usize,
    bad: Vec<usize>,
    wide: Option<usize>,
    unreadable: Option<usize>,
    /// What each image takes, beside a little.
    pause: Duration,
    loaded: Arc<AtomicUsize>,
}

impl Dataset for Fake {
    fn len(&self) -> usize {
        self.len
    }
    fn classes(&self) -> Classes {
        Classes::Exactly(10)
    }
    fn class_names(&self) -> Option<&[String]> {
        None
    }
    fn label(&self, index: usize) -> usize {
        index % 10
    }
    fn name(&self, index: usize) -> String {
        format!("{index}.png")
    }
    fn image(&self, index: usize) -> Result<Image> {
        self.loaded.fetch_add(1, Ordering::Relaxed);
        let path = self.name(index);
        if self.bad.contains(&index) {
            return Err(Error::new(Kind::BadImage, "corrupt PNG").at(Path::new(&path)));
        }
        if self.unreadable == Some(index) {
            let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            return Err(Error::io(Path::new(&path), "read", source));
        }
        // Later images are ready first.
        std::thread::sleep(self.pause + Duration::from_micros(50 * (7 - index as u64 % 8)));
        let width = if self.wide == Some(index) { 2 } else { 1 };
        Ok(Image { width, height: 1, channels: 1, pixels: vec![index as u8; width] })
    }
    fn files(&self) -> usize {
        0
    }
    fn file(&self, place: usize) -> PathBuf {
        unreachable!("file {place} of none")
    }
    fn describe(&self) -> String {
        "fake".into()
    }
}

fn loader(data: Fake, batch_size: usize, allow_bad: usize) -> Loader {
    let order = (0..data.len).collect();
    let transform = Preset::named("none").unwrap().transform(1).unwrap();
    Loader::new(Arc::new(data), order, transform, batch_size, allow_bad).unwrap()
}

/// The batches' indices and, if it came to that, the error.
fn drain(loader: &mut Loader) -> (Vec<Vec<usize>>, Option<Error>) {
    let mut batches = Vec::new();
    for batch in loader {
        match batch {
            Ok(batch) => batches.push(batch.indices),
            Err(error) => return (batches, Some(error)),
        }
    }
    (batches, None)
}

#[test]
fn batches_follow_the_order() {
    let all: Vec<Batch> =
        loader(Fake { len: 10, ..Fake::default() }, 4, 0).map(|batch| batch.unwrap()).collect();
    let expected = |indices: Vec<usize>| Batch {
        pixels: indices.iter().map(|&i| i as u8).collect(),
        n: indices.len(),
        height: 1,
        width: 1,
        channels: 1,
        labels: indices.clone(),
        number: indices[0] / 4,
        indices,
        skipped: vec![],
    };
    assert_eq!(all, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]].map(expected));
}

#[test]
fn either_side_s_waiting_is_counted() {
    let pause = Duration::from_millis(100);
    let waiting = |data: Fake, caller: Duration| {
        let loader = loader(data, 4, 0);
        let waited = loader.waited();
        loader.for_each(|_| std::thread::sleep(caller));
        (waited.for_batches(), waited.for_caller())
    };
    let slow = Fake { len: 12, pause, ..Fake::default() };
    let (for_batches, for_caller) = waiting(slow, Duration::ZERO);
    assert!(for_batches > for_caller, "{for_batches:?} {for_caller:?}");
    let quick = Fake { len: 24, ..Fake::default() };
    let (for_batches, for_caller) = waiting(quick, pause);
    assert!(for_caller > for_batches, "{for_batches:?} {for_caller:?}");
}

#[test]
fn portions_are_the_batches_of_the_whole() {
    let portion = |first, step, bad: &[(usize, String)]| {
        let transform = Preset::named("none").unwrap().transform(1).unwrap();
        let data = Fake { len: 25, bad: vec![0, 4, 5, 6, 7, 12], ..Fake::default() };
        let portion = Portion { first, step, bad: bad.to_vec() };
        Loader::of_portion(Arc::new(data), (0..25).collect(), transform, 4, 6, portion).unwrap()
    };
    let all = |mut loader: Loader| {
        let batches: Vec<Batch> = loader.by_ref().map(|batch| batch.unwrap()).collect();
        (batches, loader.skipped())
    };
    let (whole, skipped) = all(portion(0, 1, &[]));
    // Batch 1 has nothing but bad images: what it skipped comes with the next.
    let numbers = |batches: &[Batch]| batches.iter().map(|b| b.number).collect::<Vec<_>>();
    assert_eq!(numbers(&whole), [0, 2, 3, 4, 5, 6]);
    let carried: Vec<_> = whole.iter().flat_map(|batch| batch.skipped.clone()).collect();
    assert_eq!(carried, skipped);
    assert_eq!(skipped.iter().map(|s| s.0).collect::<Vec<_>>(), [0, 1, 1, 1, 1, 3]);
    let (mut even, mut odd) = (all(portion(0, 2, &[])).0, all(portion(1, 2, &[])).0);
    assert_eq!((numbers(&even), numbers(&odd)), (vec![0, 2, 4, 6], vec![3, 5]));
    even.append(&mut odd);
    even.sort_by_key(|batch| batch.number);
    let pixels = |batches: &[Batch]| batches.iter().map(|b| b.pixels.clone()).collect::<Vec<_>>();
    assert_eq!(pixels(&even), pixels(&whole));
    // Those before count.
    let (rest, all_skipped) = all(portion(3, 1, &skipped[..5]));
    assert_eq!((numbers(&rest), all_skipped), (vec![3, 4, 5, 6], skipped.clone()));
    let mut one_too_many = skipped.clone();
    one_too_many.truncate(5);
    one_too_many.push((2, "x".into()));
    assert!(drain(&mut portion(3, 1, &one_too_many)).1.is_some());
    assert!(all(portion(9, 1, &[])).0.is_empty());
}

#[test]
fn a_bad_image_ends_the_run_unless_allowed() {
    let mut loader = loader(Fake { len: 10, bad: vec![5], ..Fake::default() }, 4, 0);
    let (batches, error) = drain(&mut loader);
    let error = error.unwrap();
    assert_eq!(batches, [[0, 1, 2, 3]]);
    let text = "`5.png`: corrupt PNG; `allow_bad` N skips up to N such images";
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::BadImage, text));
    assert!(loader.next().is_none());
}

#[test]
fn allowed_bad_images_are_skipped_and_recorded_in_order() {
    let bad = vec![1, 4, 5, 6, 7];
    let mut loader = loader(Fake { len: 9, bad, ..Fake::default() }, 4, 5);
    let (batches, error) = drain(&mut loader);
    assert!(error.is_none());
    assert_eq!(batches, [vec![0, 2, 3], vec![8]]);
    let texts: Vec<String> = [1, 4, 5, 6, 7].map(|i| format!("`{i}.png`: corrupt PNG")).into();
    assert_eq!(loader.bad(), texts);
}

#[test]
fn one_bad_image_too_many_lists_them_all() {
    let (batches, error) =
        drain(&mut loader(Fake { len: 9, bad: vec![1, 4, 8], ..Fake::default() }, 4, 2));
    assert_eq!(batches, [vec![0, 2, 3], vec![5, 6, 7]]);
    let text = error.unwrap().to_string();
    assert!(text.starts_with("3 bad images, `allow_bad` is 2; "), "{text}");
    assert!(
        text.ends_with("\n  `1.png`: corrupt PNG\n  `4.png`: corrupt PNG\n  `8.png`: corrupt PNG")
    );
}

#[test]
fn a_file_that_cannot_be_read_is_not_a_bad_image() {
    let (_, error) =
        drain(&mut loader(Fake { len: 9, unreadable: Some(3), ..Fake::default() }, 4, 9));
    assert_eq!(error.unwrap().kind(), Kind::Io);
}

#[test]
fn another_size_is_an_error_even_where_bad_images_are_allowed() {
    let data = Fake { len: 9, bad: vec![0], wide: Some(6), ..Fake::default() };
    let (batches, error) = drain(&mut loader(data, 4, 9));
    assert_eq!(batches, [[1, 2, 3]]);
    assert_eq!(
        error.unwrap().to_string(),
        "`6.png`: 2x1 pixels, but `1.png` has 1x1; \
         bring them to one size with `resize` and `crop`"
    );
}

#[test]
fn only_so_many_batches_are_made_ahead() {
    let loaded = Arc::new(AtomicUsize::new(0));
    let data = Fake { len: 1000, loaded: Arc::clone(&loaded), ..Fake::default() };
    let mut loader = loader(data, 4, 0);
    loader.next().unwrap().unwrap();
    // On a busy machine it takes a while until they are made; more than these never are.
    let start = Instant::now();
    while loaded.load(Ordering::Relaxed) < (1 + AHEAD) * 4 {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(loaded.load(Ordering::Relaxed), (1 + AHEAD) * 4);
}

#[test]
fn dropping_it_early_stops_it() {
    let loaded = Arc::new(AtomicUsize::new(0));
    let data = Fake { len: 100_000_000, loaded: Arc::clone(&loaded), ..Fake::default() };
    let order = (0..1000).cycle().take(1 << 20).collect();
    let transform = Preset::named("none").unwrap().transform(1).unwrap();
    // One batch that would take half a minute.
    let loader = Loader::new(Arc::new(data), order, transform, 1 << 20, 0).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let start = Instant::now();
    drop(loader);
    assert!(start.elapsed() < Duration::from_secs(5));
    let count = loaded.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(loaded.load(Ordering::Relaxed), count);
}

#[test]
fn a_panic_in_the_thread_reaches_the_caller() {
    let transform = Preset::named("none").unwrap().transform(1).unwrap();
    struct Broken;
    impl Dataset for Broken {
        fn len(&self) -> usize {
            1
        }
        fn classes(&self) -> Classes {
            Classes::Exactly(1)
        }
        fn class_names(&self) -> Option<&[String]> {
            None
        }
        fn label(&self, _: usize) -> usize {
            0
        }
        fn name(&self, _: usize) -> String {
            "x".into()
        }
        fn image(&self, _: usize) -> Result<Image> {
            panic!("a bug")
        }
        fn files(&self) -> usize {
            0
        }
        fn file(&self, place: usize) -> PathBuf {
            unreachable!("file {place} of none")
        }
        fn describe(&self) -> String {
            "broken".into()
        }
    }
    let mut loader = Loader::new(Arc::new(Broken), vec![0], transform, 1, 0).unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loader.next()));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"a bug"));
}

#[test]
fn a_batch_size_of_zero_is_a_usage_error() {
    let transform = Preset::named("none").unwrap().transform(1).unwrap();
    let error = Loader::new(Arc::new(Fake::default()), vec![], transform, 0, 0).err().unwrap();
    assert_eq!(error.kind(), Kind::Usage);
}
