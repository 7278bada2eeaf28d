//! Real servers on loopback, each ended by the test that started it.

pub mod certificates;
pub mod pyftpdlib;
pub mod svn;
pub mod vsftpd;
pub mod running;
pub mod ssh;
pub mod users;
