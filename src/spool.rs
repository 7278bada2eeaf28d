//! Artifacts at rest.
