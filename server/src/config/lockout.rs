//! `user_lockout "all" { … }`.

use holdfast_core::lockout::{KINDS, LockoutTuning, Lockouts};

use super::Error;
use holdfast_hcl::Stanza;

/// Reads one block; the type of auth method is its label.
pub fn read(kind: &str, stanza: &Stanza<'_>, into: &mut Lockouts, warnings: &mut Vec<String>) -> Result<(), Error> {
    if kind != "all" && !KINDS.contains(&kind) {
        return Err(stanza.wrong("", format!("{kind:?} has no users to lock out: use all or one of {KINDS:?}")).into());
    }
    let seconds = |key| stanza.duration(key).map(|found| found.map(|duration| duration.as_secs()));
    let tuning = LockoutTuning {
        threshold: stanza.number("lockout_threshold")?,
        duration: seconds("lockout_duration")?,
        counter_reset: seconds("lockout_counter_reset")?,
        disable: stanza.bool("disable_lockout")?,
    };
    into.by_kind.insert(kind.to_owned(), tuning);
    stanza.finish(warnings);
    Ok(())
}
