//! A command that another program has started ends with it, if that is asked for.

/// Names the process that started the command. The Python package sets it: a follower would run on for ever.
#[cfg(target_os = "linux")]
const PARENT: &str = "SWA_PARENT";

/// Has SIGTERM sent to this process when its parent ends, however that ends, if the environment names the parent.
///
/// A command further down, which a hook of `--exec` runs, inherits the variable and has another parent: it is left alone.
pub(crate) fn end_with_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{
            Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal,
        };
        let named = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok());
        let parent = named.and_then(Pid::from_raw);
        if parent.is_none() || getppid() != parent {
            return;
        }
        // Where the kernel has none of it, the command ends at the next line that nobody reads.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
        if getppid() != parent {
            // It ended before the signal was asked for.
            let _ = kill_process(getpid(), Signal::TERM);
        }
    }
}
