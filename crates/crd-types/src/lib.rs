//! The custom resources, conditions, annotation and label names.
