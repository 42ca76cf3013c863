//! Ending a job from another thread, such as one that waits for signals.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::{Error, Result};

/// Tells a job that goes on and on to end. Clones tell the same job.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    is_set: AtomicBool,
    event: OwnedFd,
}

impl Stop {
    /// Not set yet.
    ///
    /// # Errors
    /// `Limit` if the system has no descriptor left.
    pub fn new() -> Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| Error::limit(format!("cannot wait for events: {e}")))?;
        Ok(Stop(Arc::new(Inner { is_set: AtomicBool::new(false), event })))
    }

    /// Tells the job to end: what it has begun is finished.
    pub fn set(&self) {
        self.0.is_set.store(true, Ordering::SeqCst);
        // It can only fail if it was set as often as a counter of 64 bits takes.
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::SeqCst)
    }

    /// Waits until it is set, until there is something to read from `other`, or until the time is over.
    pub(super) fn wait(&self, time: Duration, other: Option<&OwnedFd>) {
        let mut waiting = vec![PollFd::new(&self.0.event, PollFlags::IN)];
        waiting.extend(other.map(|other| PollFd::new(other, PollFlags::IN)));
        let time = Timespec {
            tv_sec: time.as_secs().min(1 << 30) as i64,
            tv_nsec: time.subsec_nanos().into(),
        };
        // An interruption is a look too early, which harms nobody.
        let _ = poll(&mut waiting, Some(&time));
    }
}
