//! Faults that only the system can make: a process killed at each system call, a device that fails or is
//! full, memory that is refused, a power cut. They need strace or root, and say so where they lack it;
//! with SWA_TESTS_MUST_RUN they fail then. With SWA_TESTS_LONG the sweeps leave nothing out.

mod devices;
mod inputs;
mod kills;
mod memory;
mod power_cut;
mod scene;
mod two_runs;
