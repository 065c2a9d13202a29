//! What the mounter gives up at its start: the network, and all capabilities but those that it uses.

use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, set_no_new_privs};
use tracing::warn;

/// Moves this thread, and those it starts, into a network namespace that has nothing. Unix sockets are found by path, not
/// by network, and go on working.
pub fn leave_network() {
    // Safe here: no other thread exists that could share what is left behind, and file descriptors stay.
    #[allow(deprecated, reason = "its successor is unsafe for the sake of FILES, which is not asked for")]
    if let Err(error) = rustix::thread::unshare(UnshareFlags::NEWNET) {
        warn!(%error, "cannot leave the network: the mounter does not use it, but could");
    }
}

/// Keeps what mounting and giving sockets away need. Children, of which there are none, could not get more.
pub fn drop_capabilities() {
    let keep = CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::CHOWN | CapabilitySet::FOWNER;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    if let Err(error) = set_capabilities(None, sets).and_then(|()| set_no_new_privs(true)) {
        warn!(%error, "cannot give up capabilities");
    }
}
