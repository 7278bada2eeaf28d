//! `--dry-run`: what a command would do, told by the plan that it would record. Makes, changes and dials nothing; reads
//! the journal only to tell what stands before in each lane.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::lines::{bytes, json_line, line_of};
use super::report::counted;
use super::screen::{Screen, Tone};
use super::setup::Setup;
use crate::config::credentials::PasswordSource;
use crate::domain::change::Change;
use crate::domain::install::{InstallFacts, fill};
use crate::domain::plan::{Plan, PlannedDelivery, PlannedSkip, default_dest_dir};
use crate::domain::text::escape;
use crate::error::{Error, Result};
use crate::journal::{Journal, LaneStanding, Source};
use crate::state_dir::StateDir;
use crate::worker::configurations::Loaded;

/// Columns of a label.
const LABEL: usize = 12;
/// How far what belongs to a package is indented.
const INDENT: usize = 4;

/// Where a batch would come from.
pub(super) struct Origin<'a> {
    /// What kind of event.
    pub source: Source,
    /// The repository, if it came from one.
    pub repository: Option<&'a Path>,
    /// The revision.
    pub revision: Option<u64>,
    /// Who committed it.
    pub author: Option<&'a str>,
    /// The drop directory.
    pub directory: Option<&'a Path>,
}

/// A batch that would be recorded.
pub(super) struct Batch<'a> {
    pub origin: Origin<'a>,
    pub changes: &'a [Change],
    pub plan: &'a Plan,
    /// The stamp, if it were recorded now.
    pub stamp: &'a str,
    /// Bytes of each change, where they are known without exporting anything.
    pub sizes: &'a [u64],
    /// What else is to be said of it: a word for programs, a sentence for people.
    pub note: Option<(&'static str, String)>,
}

#[derive(Serialize)]
struct Head<'a> {
    dry_run: bool,
    source: &'static str,
    repository: Option<&'a Path>,
    revision: Option<u64>,
    author: Option<&'a str>,
    directory: Option<&'a Path>,
    path: &'a str,
    package: &'a str,
    size: Option<u64>,
    note: Option<&'static str>,
}

#[derive(Serialize)]
struct DeliveryLine<'a> {
    #[serde(flatten)]
    head: &'a Head<'a>,
    rule: &'a str,
    rule_line: usize,
    host: &'a str,
    login: &'a str,
    lane: &'a str,
    transports: Vec<&'static str>,
    password_source: Option<PasswordSource>,
    password_set: bool,
    identity_file: Option<&'a Path>,
    dest_dir: &'a str,
    remote_path: String,
    install_command: Option<&'a str>,
    command: Option<String>,
    pending: Option<u64>,
    stopped_by: Option<i64>,
}

#[derive(Serialize)]
struct SkipLine<'a> {
    #[serde(flatten)]
    head: &'a Head<'a>,
    skipped: String,
    trouble: bool,
}

/// What a dry run tells, batch by batch.
pub(super) struct DryRun<'a> {
    out: &'a mut dyn Write,
    json: bool,
    screen: Screen,
    loaded: &'a Loaded,
    kept: std::result::Result<Option<(StateDir, Journal)>, Error>,
    lanes: HashMap<String, LaneStanding>,
    /// Deliveries of this run, by lane.
    planned: HashMap<String, u64>,
    skipped: u64,
    trouble: bool,
}

impl<'a> DryRun<'a> {
    pub(super) fn new(
        setup: &Setup,
        loaded: &'a Loaded,
        json: bool,
        out: &'a mut dyn Write,
    ) -> Self {
        Self {
            out,
            json,
            screen: Screen::stdout(),
            loaded,
            kept: setup.peek(),
            lanes: HashMap::new(),
            planned: HashMap::new(),
            skipped: 0,
            trouble: false,
        }
    }

    /// The state directory and its journal, where they are there and can be read.
    pub(super) fn kept(&self) -> Option<&(StateDir, Journal)> {
        self.kept.as_ref().ok()?.as_ref()
    }

    /// Something would not go well.
    pub(super) fn is_trouble(&mut self) {
        self.trouble = true;
    }

    /// Tells of one batch, under its heading.
    pub(super) fn batch(&mut self, heading: &str, batch: &Batch<'_>) -> Result<()> {
        if !self.json && !heading.is_empty() {
            let hosts = batch.plan.deliveries.len() as u64;
            let what = format!("{heading}: {}", counted(hosts, "delivery"));
            self.line(0, Tone::Plain, &what)?;
        }
        let mut left = batch.plan.deliveries.as_slice();
        while let Some(first) = left.first() {
            let of_same = |one: &&PlannedDelivery| one.change == first.change;
            let (same, rest) = left.split_at(left.iter().take_while(of_same).count());
            left = rest;
            self.package(batch, first, same)?;
        }
        for skip in &batch.plan.skips {
            self.skip(batch, skip)?;
        }
        Ok(())
    }

    fn package(
        &mut self,
        batch: &Batch<'_>,
        first: &PlannedDelivery,
        same: &[PlannedDelivery],
    ) -> Result<()> {
        let Some(change) = batch.changes.get(first.change) else {
            return Ok(());
        };
        let head = batch.head(first.change, change);
        if self.json {
            return same.iter().try_for_each(|one| {
                let (standing, _) = self.before(one)?;
                let line = self.delivery_line(&head, one, batch, standing);
                json_line(self.out, &line)
            });
        }
        let size = head
            .size
            .map_or_else(String::new, |size| format!(", {}", bytes(size)));
        self.line(INDENT / 2, Tone::Good, &format!("{}{size}", change.path))?;
        if let Some((_, note)) = &batch.note {
            self.row("note", note)?;
        }
        self.row(
            "rule",
            &format!("[{}] line {}", first.rule, first.rule_line),
        )?;
        for one in same {
            self.target(one)?;
        }
        let mut directory = first.dest_dir.clone();
        if first.dest_dir == default_dest_dir(batch.stamp) {
            directory += " (stamped when it is recorded)";
        }
        if first.dest_dir.starts_with('~') {
            directory += "; ~ is the home there";
        }
        self.row("directory", &directory)?;
        let command = batch.command(first, change);
        self.row("install", command.as_deref().unwrap_or("nothing to run"))
    }

    fn target(&mut self, one: &PlannedDelivery) -> Result<()> {
        let known = self.loaded.describe(&one.rule, &one.target.host);
        let key = one.connection.identity_file.as_ref();
        let key = key.map_or_else(String::new, |key| format!(", key {}", key.display()));
        let text = format!(
            "{} by {}; password {}{key}",
            one.target.lane(),
            transports(one).join(", "),
            password_words(known.source)
        );
        self.row("to", &text)?;
        let (standing, ours) = self.before(one)?;
        let mut words = Vec::new();
        if let Some(standing) = standing.filter(|standing| standing.open > 0) {
            let running = match standing.running {
                0 => "",
                _ => ", one of which runs",
            };
            words.push(format!("{} pending there{running}", standing.open));
        }
        if ours > 0 {
            words.push(format!("{ours} of this run"));
        }
        if !words.is_empty() {
            self.row("  behind", &words.join(", "))?;
        }
        if let Some(id) = standing.and_then(|standing| standing.stopped_by) {
            let text = format!(
                "#{id} failed and stops this lane: nothing goes there before `retry {id}` or `dismiss {id}`"
            );
            self.row("  stopped", &text)?;
        }
        Ok(())
    }

    /// What stands before a delivery: in the journal, if that can be read, and of this run. It stands there itself now.
    fn before(&mut self, one: &PlannedDelivery) -> Result<(Option<LaneStanding>, u64)> {
        let lane = one.target.lane();
        let standing = match (self.lanes.get(&lane).copied(), self.kept()) {
            (Some(standing), _) => Some(standing),
            (None, Some((_, journal))) => Some(journal.lane_standing(&lane)?),
            (None, None) => self.kept.is_ok().then(LaneStanding::default),
        };
        if let Some(standing) = standing {
            self.lanes.insert(lane.clone(), standing);
        }
        let ours = self.planned.entry(lane).or_default();
        *ours += 1;
        Ok((standing, *ours - 1))
    }

    fn delivery_line<'b>(
        &self,
        head: &'b Head<'b>,
        one: &'b PlannedDelivery,
        batch: &Batch<'_>,
        standing: Option<LaneStanding>,
    ) -> serde_json::Value {
        let known = self.loaded.describe(&one.rule, &one.target.host);
        let lane = one.target.lane();
        let ours = self.planned.get(&lane).map_or(0, |ours| ours - 1);
        let command = batch.changes.get(one.change);
        let told = DeliveryLine {
            head,
            rule: &one.rule,
            rule_line: one.rule_line,
            host: &one.target.host,
            login: &one.target.login,
            lane: &lane,
            transports: transports(one),
            password_source: known.source,
            password_set: known.source.is_some(),
            identity_file: one.connection.identity_file.as_deref(),
            dest_dir: &one.dest_dir,
            remote_path: remote_path(&one.dest_dir, head.package),
            install_command: one.service.install_command.as_deref(),
            command: command.and_then(|change| batch.command(one, change)),
            pending: standing.map(|standing| standing.open + ours),
            stopped_by: standing.and_then(|standing| standing.stopped_by),
        };
        // Texts, numbers and lists always serialise.
        serde_json::to_value(told).unwrap_or_default()
    }

    fn skip(&mut self, batch: &Batch<'_>, skip: &PlannedSkip) -> Result<()> {
        let Some(change) = batch.changes.get(skip.change) else {
            return Ok(());
        };
        let trouble = skip.reason.is_trouble();
        self.trouble |= trouble;
        self.skipped += 1;
        if self.json {
            let head = batch.head(skip.change, change);
            let line = SkipLine {
                head: &head,
                skipped: skip.reason.to_string(),
                trouble,
            };
            return json_line(self.out, &line);
        }
        let tone = if trouble { Tone::Warn } else { Tone::Dim };
        let text = format!("{}  skipped: {}", change.path, skip.reason);
        self.line(INDENT / 2, tone, &text)
    }

    /// A line of what else there is to say.
    pub(super) fn say(&mut self, text: &str) -> Result<()> {
        if self.json {
            return Ok(());
        }
        self.line(0, Tone::Plain, text)
    }

    /// An object of what else there is to say.
    pub(super) fn object(&mut self, value: &impl Serialize) -> Result<()> {
        if self.json {
            json_line(self.out, value)?;
        }
        Ok(())
    }

    /// Ends the report; the exit code.
    pub(super) fn end(mut self) -> Result<u8> {
        let deliveries: u64 = self.planned.values().sum();
        let (lanes, skipped) = (self.planned.len() as u64, self.skipped);
        self.say(&format!(
            "{} to {}, {skipped} skipped. This was a dry run: nothing was recorded, sent or changed.",
            counted(deliveries, "delivery"),
            counted(lanes, "target")
        ))?;
        if let Err(error) = &self.kept {
            let text = format!(
                "What is pending is not known, and a real run as this user would stop here: {error}"
            );
            if self.json {
                json_line(
                    self.out,
                    &serde_json::json!({"dry_run": true, "error": text}),
                )?;
            } else {
                for line in text.lines() {
                    self.line(0, Tone::Warn, line)?;
                }
            }
        } else if self.kept().is_none() {
            self.say(
                "There is no journal yet: the real run would make one, and nothing is pending.",
            )?;
        }
        Ok(u8::from(self.trouble))
    }

    fn row(&mut self, label: &str, text: &str) -> Result<()> {
        let text = escape(text);
        let mut label = format!("{}{label:<LABEL$}", " ".repeat(INDENT));
        for part in self.screen.wrap(&text, INDENT + LABEL) {
            let shown = self.screen.paint(Tone::Dim, &label);
            line_of(self.out, &format!("{shown}{part}"))?;
            label = " ".repeat(INDENT + LABEL);
        }
        Ok(())
    }

    fn line(&mut self, indent: usize, tone: Tone, text: &str) -> Result<()> {
        let text = escape(text);
        let mut before = indent;
        for part in self.screen.wrap(&text, INDENT) {
            let shown = self.screen.paint(tone, &part);
            line_of(self.out, &format!("{}{shown}", " ".repeat(before)))?;
            before = INDENT;
        }
        Ok(())
    }
}

impl Batch<'_> {
    fn head<'b>(&'b self, index: usize, change: &'b Change) -> Head<'b> {
        let origin = &self.origin;
        Head {
            dry_run: true,
            source: origin.source.as_str(),
            repository: origin.repository,
            revision: origin.revision,
            author: origin.author,
            directory: origin.directory,
            path: &change.path,
            package: change.package(),
            size: self.sizes.get(index).copied(),
            note: self.note.as_ref().map(|(word, _)| *word),
        }
    }

    /// The install command, its placeholders filled in as far as they are known here: `~` stays, for only the host
    /// knows what it stands for.
    fn command(&self, one: &PlannedDelivery, change: &Change) -> Option<String> {
        let command = one.service.install_command.as_deref()?;
        let revision = self.origin.revision;
        let facts = InstallFacts {
            package: change.package().to_owned(),
            path: remote_path(&one.dest_dir, change.package()),
            dest_dir: one.dest_dir.clone(),
            revision: revision.map_or_else(String::new, |revision| revision.to_string()),
            ..InstallFacts::default()
        };
        Some(fill(command, &facts))
    }
}

fn remote_path(dest_dir: &str, package: &str) -> String {
    format!("{}/{package}", dest_dir.trim_end_matches('/'))
}

fn transports(one: &PlannedDelivery) -> Vec<&'static str> {
    let kinds = one.connection.transports.iter();
    kinds.map(|kind| kind.as_str()).collect()
}

fn password_words(source: Option<PasswordSource>) -> &'static str {
    match source {
        Some(PasswordSource::Config) => "from the rules file",
        Some(PasswordSource::Netrc) => "from netrc",
        Some(PasswordSource::Command) => "from password_command",
        None => "none: a key or an agent has to do",
    }
}
