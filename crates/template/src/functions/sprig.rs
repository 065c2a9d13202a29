//! Sprig's functions under consul-template's names (`sprig_…`): those whose result depends on their arguments alone.

pub(crate) mod text;
pub(crate) mod values;
