//! How many requests are worked on at a time: top-level keys.

use holdfast_core::admission::Limits;

use super::{Error, Stanza};

/// Reads the keys that are there.
pub fn read(top: &Stanza<'_>, into: &mut Limits) -> Result<(), Error> {
    for (key, limit) in [
        ("max_requests_in_flight", &mut into.all),
        ("max_requests_in_flight_per_client", &mut into.client),
        ("max_logins_in_flight", &mut into.logins),
        ("max_renewals_in_flight", &mut into.renewals),
    ] {
        if let Some(number) = top.number(key)? {
            *limit = usize::try_from(number).unwrap_or(usize::MAX);
        }
    }
    Ok(())
}
