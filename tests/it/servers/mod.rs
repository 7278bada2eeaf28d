//! Real servers on loopback, each ended by the test that started it.

pub mod agent;
pub mod certificates;
pub mod hostile_ftp;
pub mod mounts;
pub mod pyftpdlib;
pub mod python;
pub mod receivers;
pub mod relay;
pub mod running;
pub mod ssh;
pub mod svn;
pub mod users;
pub mod vsftpd;
