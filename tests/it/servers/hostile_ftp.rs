//! An FTP server that means harm: see `hostile_ftp.py` for what it can be told to do. For every user.

use std::path::Path;

use serde_json::Value;

use super::certificates::Certificate;
use super::python::PythonServer;

/// A running server.
pub struct HostileFtp {
    pub port: u16,
    server: PythonServer,
}

impl HostileFtp {
    /// Starts it below `dir`.
    pub fn start(dir: &Path, certificate: Option<&Certificate>, settings: Value) -> Self {
        let Value::Object(settings) = settings else {
            panic!("no object: {settings}");
        };
        let script = ("hostile", include_str!("hostile_ftp.py"));
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
