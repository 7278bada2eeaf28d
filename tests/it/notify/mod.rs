//! Notices, sent by the real binary to real receivers: commands, webhooks, mail.

mod cli;
mod commands;
mod floods;
mod kills;
mod mails;
mod webhooks;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::pipeline::Pipeline;
use crate::pipeline::host::Host;
use crate::testenv::Ran;

/// A dispatcher whose failures are told.
struct Site {
    pipeline: Pipeline,
    host: Host,
}

impl Site {
    /// The host is down, and is not tried again.
    fn new() -> Self {
        let site = Self {
            pipeline: Pipeline::bare(),
            host: Host::down(),
        };
        site.pipeline
            .rules(&[site.host.rule("app").with("retries", 0)]);
        site
    }

    /// A section of the settings, `site` beside it.
    fn notifier(&self, lines: &str) {
        self.pipeline
            .settings(&format!("site = 银行 A\n[notify:ops]\n{lines}"));
    }

    /// One whose command adds each message to a file; what it runs before that.
    fn command(&self, before: &str, lines: &str) {
        let told = self.told_file();
        self.notifier(&format!(
            "notify_command = sh -c \"{before} cat >> {}\"\n{lines}",
            told.display()
        ));
    }

    fn told_file(&self) -> PathBuf {
        self.pipeline.env.path("told")
    }

    /// What a command was told, message by message.
    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.told_file()).unwrap_or_default();
        // The last line may be half there.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// Sends a package.
    fn send(&self, name: &str) -> Ran {
        let file = self.pipeline.env.write(name, "x");
        self.pipeline.ad(&["send", file.to_str().expect("UTF-8")])
    }

    /// A file that holds a secret by right.
    fn vault(&self, name: &str, content: &str) -> PathBuf {
        self.pipeline.env.write(format!("vault-{name}"), content)
    }

    /// A command as notices show it.
    fn typed(&self, words: &str) -> String {
        let rules = self.pipeline.rules_file();
        format!("auto-dispatcher --config {} {words}", rules.display())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.pipeline.state().join("auto-dispatcher.log")).unwrap_or_default()
    }
}
