//! What a process does to itself: nothing of its memory may end up in a file, or with another process of its user.

use std::sync::OnceLock;

use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, getrlimit, prlimit, set_dumpable_behavior, setrlimit};
use tracing::{debug, warn};

/// What [`harden`] found.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Turns off core dumps, and reading of the memory by other processes of the same user. What the system refuses is a
/// warning: a process that cannot do this is still better than none.
pub fn harden() {
    let before = getrlimit(Resource::Core);
    let _ = BEFORE.set(before);
    // Not the maximum: it could never be given back to a program that is started.
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: before.maximum }) {
        warn!(%error, "core dumps cannot be turned off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "the process cannot be made non-dumpable");
    }
}

/// Gives a program that was started the limit of core dumps that this process came with: whether it may dump is its
/// owner's to say. The rest of [`harden`] ends by itself where a program begins.
pub fn unharden(child: u32) {
    let Some(before) = BEFORE.get() else { return };
    let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return };
    if let Err(error) = prlimit(Some(pid), Resource::Core, *before) {
        // It may have ended meanwhile, or run as another user by now.
        debug!(%error, child, "the limit of core dumps stays 0");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::fd::AsRawFd,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn no_dumps_and_no_debugger_but_programs_that_are_started_are_as_before() {
        let before = getrlimit(Resource::Core);
        harden();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        // Its own descriptors stay open to it by their names.
        let file = fs::File::open("/proc/self/status").unwrap();
        fs::read_to_string(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();

        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        unharden(child.id());
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        let current = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        let current = current.split_whitespace().next().unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(current, before.current.map_or("unlimited".to_owned(), |bytes| bytes.to_string()));
    }
}
