//! Failpoints: named places at which a test stops, delays or kills the process.
//!
//! `failpoint!("lease.create.outside-done").await` marks a place between two effects that a crash may part.
//! `switched!("mutant.name")` is a condition that a test turns on, for a protocol made wrong on purpose. Without the
//! feature `enabled` the first is a future that is ready and the second is `false`, and the names are not in the binary.
//!
//! With it, the folder that `HOLDFAST_FAILPOINTS` names says what happens. The file of a failpoint's name arms it while
//! it is there; what is in it, in words:
//!
//! | content | what happens |
//! |---|---|
//! | `abort` | the process ends as by SIGKILL: nothing is flushed, closed or answered |
//! | `abort 3` | the same when it comes by for the third time |
//! | `sleep 250` | it waits 250 ms |
//! | `pause` | it waits until the file is gone |
//! | empty, or anything else | nothing but that `switched!` is true |
//!
//! Whoever comes by an armed failpoint leaves the file `<name>.hit` beside it first, so a test can wait for that.
//!
//! A switch whose name begins with `mutant.` makes a protocol wrong; `mutants` proves that a test catches each.

#[cfg(feature = "enabled")]
mod armed;
#[cfg(feature = "enabled")]
pub mod mutants;

#[cfg(feature = "enabled")]
pub use armed::{is_switched, pass};

/// The environment variable that names the folder.
#[cfg(feature = "enabled")]
pub const FOLDER: &str = "HOLDFAST_FAILPOINTS";

/// A place that a test may stop, delay or kill the process at. A future; without the feature, one that is ready.
#[cfg(feature = "enabled")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::pass($name)
    };
}

/// A place that a test may stop, delay or kill the process at. A future; without the feature, one that is ready.
#[cfg(not(feature = "enabled"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        ::core::future::ready(())
    };
}

/// A condition that a test turns on; `false` without the feature.
#[cfg(feature = "enabled")]
#[macro_export]
macro_rules! switched {
    ($name:literal) => {
        $crate::is_switched($name)
    };
}

/// A condition that a test turns on; `false` without the feature.
#[cfg(not(feature = "enabled"))]
#[macro_export]
macro_rules! switched {
    ($name:literal) => {
        false
    };
}
