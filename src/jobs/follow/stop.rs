//! Ending a job from another thread, such as one that waits for signals.

use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{Error, Result};

/// Tells a job that goes on and on to end. Clones tell the same job.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    is_set: AtomicBool,
    /// There is something to read once it is set.
    event: (PipeReader, PipeWriter),
}

impl Stop {
    /// Not set yet.
    ///
    /// # Errors
    /// `Limit` if the system has no descriptor left.
    pub fn new() -> Result<Self> {
        let event =
            std::io::pipe().map_err(|e| Error::limit(format!("cannot wait for events: {e}")))?;
        Ok(Stop(Arc::new(Inner { is_set: AtomicBool::new(false), event })))
    }

    /// Tells the job to end: what it has begun is finished.
    pub fn set(&self) {
        if !self.0.is_set.swap(true, Ordering::SeqCst) {
            // A byte always finds room in an empty pipe.
            let _ = (&self.0.event.1).write_all(&[1]);
        }
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::SeqCst)
    }

    /// Waits until it is set, until there is something to read from `other`, or until the time is over.
    pub(super) fn wait(&self, time: Duration, other: Option<&OwnedFd>) {
        let mut waiting = vec![PollFd::new(&self.0.event.0, PollFlags::IN)];
        waiting.extend(other.map(|other| PollFd::new(other, PollFlags::IN)));
        let time = Timespec {
            tv_sec: time.as_secs().min(1 << 30) as i64,
            tv_nsec: time.subsec_nanos().into(),
        };
        // An interruption is a look too early, which harms nobody.
        let _ = poll(&mut waiting, Some(&time));
    }
}
