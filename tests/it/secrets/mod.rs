//! Secrets: where they come from, who may read what holds them, and that nothing shows them.

mod agent;
mod commands;
mod hardening;
mod masking;
mod memory;
mod permissions;
