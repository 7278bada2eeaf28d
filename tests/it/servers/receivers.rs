//! Who gets notices: a receiver of webhooks and a mail server, as `chat.py` and `mail.py` say. For every user.

use std::path::Path;

use serde_json::Value;

use super::certificates::Certificate;
use super::python::PythonServer;

/// A running receiver.
pub struct Receiver {
    pub port: u16,
    server: PythonServer,
}

impl Receiver {
    /// Starts a receiver of webhooks below `dir`.
    pub fn chat(dir: &Path, certificate: Option<&Certificate>, settings: Value) -> Self {
        Self::start(
            ("chat", include_str!("chat.py")),
            dir,
            certificate,
            settings,
        )
    }

    /// Starts a mail server below `dir`.
    pub fn mail(dir: &Path, certificate: Option<&Certificate>, settings: Value) -> Self {
        Self::start(
            ("mail", include_str!("mail.py")),
            dir,
            certificate,
            settings,
        )
    }

    fn start(
        script: (&str, &str),
        dir: &Path,
        certificate: Option<&Certificate>,
        settings: Value,
    ) -> Self {
        let Value::Object(settings) = settings else {
            panic!("no object: {settings}");
        };
        let server = PythonServer::start(script, dir, certificate, settings);
        Self {
            port: server.port,
            server,
        }
    }

    /// What it got.
    pub fn got(&self) -> Vec<Value> {
        let lines = self.server.commands();
        lines
            .iter()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}
