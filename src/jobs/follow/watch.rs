//! When to look at a folder again: at once where the system tells of changes, else after a while.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::Stop;

/// Where the kernel does tell of changes, how many pauses to wait for it at most.
const SLOWLY: u32 = 5;

/// File systems on which others can write without this machine's kernel knowing, by their types in statfs(2): NFS,
/// SMB, CIFS, SMB2, Lustre, FUSE, Ceph, 9P, GPFS, BeeGFS, AFS, Coda, OCFS2, GFS2.
const SHARED: [u32; 14] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x0bd0_0bd0,
    0x6573_5546,
    0x00c3_6400,
    0x0102_1997,
    0x4750_4653,
    0x1983_0326,
    0x5346_414f,
    0x7375_7245,
    0x7461_636f,
    0x0116_1970,
];

/// Watches folders.
pub(super) struct Watch {
    inotify: Option<OwnedFd>,
    folders: HashMap<PathBuf, Told>,
    by_number: HashMap<i32, PathBuf>,
    renamed: HashSet<PathBuf>,
}

/// Whether the system tells of all changes in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Everything,
    OwnChanges,
}

impl Watch {
    pub fn new() -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        Watch {
            inotify,
            folders: HashMap::new(),
            by_number: HashMap::new(),
            renamed: HashSet::new(),
        }
    }

    /// Watches a folder from now on, if it exists and is not watched yet.
    pub fn cover(&mut self, folder: &Path) {
        let Some(inotify) = &self.inotify else { return };
        if self.folders.contains_key(folder) {
            return;
        }
        let what = WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let Ok(number) = inotify::add_watch(inotify, folder, what) else { return };
        let told = match rustix::fs::statfs(folder) {
            Ok(stat) if !SHARED.contains(&(stat.f_type as u32)) => Told::Everything,
            _ => Told::OwnChanges,
        };
        self.folders.insert(folder.to_path_buf(), told);
        self.by_number.insert(number, folder.to_path_buf());
    }

    /// How long to wait at most, if two looks are to be `pause` apart.
    pub fn patience(&self, pause: Duration, needed: &[PathBuf]) -> Duration {
        let told = |folder: &PathBuf| self.folders.get(folder) == Some(&Told::Everything);
        if needed.iter().all(told) { pause * SLOWLY } else { pause }
    }

    /// Waits until something may have changed, until the time is over, or until the job is to end.
    pub fn wait(&mut self, time: Duration, stop: &Stop) {
        stop.wait(time, self.inotify.as_ref());
        self.read();
    }

    /// Reads what was told, and forgets it but for what was renamed into place.
    pub fn read(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        while let Ok(event) = events.next() {
            let flags = event.events();
            if flags.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
                // Gone: what has its name next is watched anew.
                if let Some(folder) = self.by_number.remove(&event.wd()) {
                    self.folders.remove(&folder);
                }
            }
            if flags.contains(ReadFlags::MOVED_TO)
                && let (Some(folder), Some(name)) =
                    (self.by_number.get(&event.wd()), event.file_name())
            {
                use std::os::unix::ffi::OsStrExt;
                self.renamed.insert(folder.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            }
        }
    }

    /// Whether a path was renamed into its place since it was asked for last.
    pub fn was_renamed(&mut self, path: &Path) -> bool {
        // `./x` is `x` here.
        let same = |other: &PathBuf| {
            other == path || other.strip_prefix(".").is_ok_and(|other| other == path)
        };
        let found = self.renamed.iter().find(|other| same(other)).cloned();
        found.is_some_and(|found| self.renamed.remove(&found))
    }
}
