//! The composition root: configuration, wiring, the holdfast binary.
