//! Where things are in the store.

use bytes::Bytes;

/// The keyring, sealed under the root key.
pub const KEYRING: &[u8] = b"keyring";
/// Small record that every batch compares: term of the keyring.
pub const GENERATION: &[u8] = b"gen";
/// The new root key sealed under the old one, as of the last change of the root key.
pub const SUCCESSION: &[u8] = b"succession";
/// How far the store has come, see `session/milestone`. It is no part of a snapshot: a restore does not put it back.
pub const MILESTONE: &[u8] = b"milestone";
/// Records of members.
pub const MEMBERS: &[u8] = b"member/";
/// Records of lanes.
pub const LANES: &[u8] = b"lane/";
/// A key that never exists: deleting it is a heartbeat.
pub const NEVER: &[u8] = b"never";

/// Records outside the barrier.
pub const CLEAR: &[u8] = b"clear/";

/// Random id of one process start, never used again.
pub type MemberId = [u8; 16];

/// Key of a record outside the barrier.
pub fn clear(name: &str) -> Bytes {
    [CLEAR, name.as_bytes()].concat().into()
}

/// The name of a record outside the barrier, by its key.
pub fn clear_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(CLEAR)?).ok()
}

/// Key of a member's record.
pub fn member(id: &MemberId) -> Bytes {
    [MEMBERS, hex(id).as_bytes()].concat().into()
}

/// The member of a key made by [`member`].
pub fn member_of(key: &[u8]) -> Option<MemberId> {
    unhex(key.strip_prefix(MEMBERS)?)
}

/// Key of a lane's record.
pub fn lane(id: &MemberId, number: u8) -> Bytes {
    [LANES, format!("{}/{number}", hex(id)).as_bytes()].concat().into()
}

/// The member of a key made by [`lane`].
pub fn lane_owner(key: &[u8]) -> Option<MemberId> {
    let rest = key.strip_prefix(LANES)?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    unhex(&rest[..end])
}

/// Member and number of a key made by [`lane`].
pub fn lane_parts(key: &[u8]) -> Option<(MemberId, u8)> {
    let number = key.rsplit(|byte| *byte == b'/').next()?;
    Some((lane_owner(key)?, std::str::from_utf8(number).ok()?.parse().ok()?))
}

/// An id as people read it.
pub fn hex(id: &MemberId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &[u8]) -> Option<MemberId> {
    let mut id = [0u8; 16];
    if text.len() != 32 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(text.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_from_keys() {
        let id = [0xa7; 16];
        assert_eq!(member_of(&member(&id)), Some(id));
        assert_eq!(lane_owner(&lane(&id, 1)), Some(id));
        assert_eq!(lane_parts(&lane(&id, 3)), Some((id, 3)));
        assert_eq!(member_of(b"member/short"), None);
    }
}
