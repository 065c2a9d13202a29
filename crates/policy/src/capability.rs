//! What a stanza may grant.

use holdfast_logical::Operation;

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u16);

/// In the order in which `sys/capabilities` lists them.
const NAMES: [(&str, Capabilities); 10] = [
    ("sudo", Capabilities::SUDO),
    ("read", Capabilities::READ),
    ("list", Capabilities::LIST),
    ("update", Capabilities::UPDATE),
    ("delete", Capabilities::DELETE),
    ("create", Capabilities::CREATE),
    ("patch", Capabilities::PATCH),
    ("scan", Capabilities::SCAN),
    ("subscribe", Capabilities::SUBSCRIBE),
    ("deny", Capabilities::DENY),
];

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `create`
    pub const CREATE: Self = Self(1);
    /// `read`
    pub const READ: Self = Self(2);
    /// `update`
    pub const UPDATE: Self = Self(4);
    /// `patch`
    pub const PATCH: Self = Self(8);
    /// `delete`
    pub const DELETE: Self = Self(16);
    /// `list`
    pub const LIST: Self = Self(32);
    /// `scan`
    pub const SCAN: Self = Self(64);
    /// `sudo`
    pub const SUDO: Self = Self(128);
    /// `subscribe`: hear events of the path, of the types that the stanza names.
    pub const SUBSCRIBE: Self = Self(512);
    /// `deny`: wins over everything else.
    pub const DENY: Self = Self(256);

    /// The capability of this name.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, capability)| *capability)
    }

    /// The set of the legacy words `policy = "read"|"write"|"sudo"|"deny"`.
    pub fn legacy(word: &str) -> Option<Self> {
        let read = Self::READ | Self::LIST;
        let write = read | Self::CREATE | Self::UPDATE | Self::DELETE;
        match word {
            "deny" => Some(Self::DENY),
            "read" => Some(read),
            "write" => Some(write),
            "sudo" => Some(write | Self::SUDO),
            _ => None,
        }
    }

    /// What an operation needs; nothing for help, which is always allowed.
    pub fn needed(operation: Operation) -> Self {
        match operation {
            Operation::Create => Self::CREATE,
            Operation::Read => Self::READ,
            Operation::Update => Self::UPDATE,
            Operation::Patch => Self::PATCH,
            Operation::Delete => Self::DELETE,
            Operation::List => Self::LIST,
            Operation::Scan => Self::SCAN,
            Operation::Help => Self::NONE,
        }
    }

    /// Does it hold all of the other's?
    pub fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is `deny` in it?
    pub fn denies(self) -> bool {
        self.holds(Self::DENY)
    }

    /// Names in Vault's order; `["deny"]` when there are none or when `deny` is among them.
    pub fn names(self) -> Vec<&'static str> {
        if self.denies() || self == Self::NONE {
            return vec!["deny"];
        }
        NAMES.iter().filter(|(_, capability)| self.holds(*capability)).map(|(name, _)| *name).collect()
    }
}

impl std::ops::BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
