//! pyftpdlib's server, for every user, with the peculiarities that real servers have been seen with. It logs
//! every command line it gets, as it gets it.

use std::path::Path;

use serde_json::{Value, json};

use super::certificates::Certificate;
use super::python::PythonServer;
use crate::testenv::secret;

/// The login that the server knows.
pub const LOGIN: &str = "packer";
/// Its password.
pub const PASSWORD: &str = secret!("pass#word 1");

/// A running server.
pub struct Pyftpdlib {
    pub port: u16,
    server: PythonServer,
}

impl Pyftpdlib {
    /// Starts it below `dir`. `peculiar` holds what `pyftpdlib.py` documents.
    pub fn start(dir: &Path, certificate: Option<&Certificate>, peculiar: Value) -> Self {
        let Value::Object(mut settings) = peculiar else {
            panic!("no object: {peculiar}");
        };
        settings
            .entry("login".to_owned())
            .or_insert_with(|| json!(LOGIN));
        settings
            .entry("password".to_owned())
            .or_insert_with(|| json!(PASSWORD));
        let script = ("ftp", include_str!("pyftpdlib.py"));
        let server = PythonServer::start(script, dir, certificate, settings);
        Self {
            port: server.port,
            server,
        }
    }

    /// Where the server's `/` lies.
    pub fn home(&self) -> &Path {
        &self.server.home
    }

    /// The command lines that it got.
    pub fn commands(&self) -> Vec<String> {
        self.server.commands()
    }
}
