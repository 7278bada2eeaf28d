//! Real servers on loopback, each ended by the test that started it.

pub mod running;
pub mod ssh;
pub mod users;
