//! Checks as they are shown: by groups, each with its tone and what mends it, and a count at the end.

use std::io::Write;

use super::check::{Check, Grouped, Outcome};
use crate::cli::lines::{json_line, line_of};
use crate::cli::screen::{Screen, Tone, width_of};
use crate::domain::text::escape;
use crate::error::Result;

/// Columns before what was found: outcome and kind of check.
const OUTCOME: usize = 9;
const KIND: usize = 14;
/// A screen that is narrower gives what was found lines of its own.
const NARROW: usize = 60;

/// Shows checks as they come.
pub(super) struct Show<'o> {
    out: &'o mut dyn Write,
    screen: Screen,
    json: bool,
    group: Option<String>,
    counts: [usize; 3],
}

impl<'o> Show<'o> {
    pub(super) fn new(out: &'o mut dyn Write, json: bool) -> Self {
        Self::on(Screen::stdout(), out, json)
    }

    fn on(screen: Screen, out: &'o mut dyn Write, json: bool) -> Self {
        Self {
            out,
            screen,
            json,
            group: None,
            counts: [0; 3],
        }
    }

    pub(super) fn has_failures(&self) -> bool {
        self.counts[2] > 0
    }

    pub(super) fn check(&mut self, grouped: &Grouped) -> Result<()> {
        let check = &grouped.check;
        let at = match check.result {
            Outcome::Ok => 0,
            Outcome::Warning => 1,
            Outcome::Failure => 2,
        };
        self.counts[at] += 1;
        if self.json {
            return json_line(self.out, check);
        }
        if self.group.as_ref() != Some(&grouped.group) {
            if self.group.is_some() {
                line_of(self.out, "")?;
            }
            for line in self.screen.wrap(&escape(&grouped.group), 0) {
                line_of(self.out, &line)?;
            }
            self.group = Some(grouped.group.clone());
        }
        self.lines(check)
    }

    fn lines(&mut self, check: &Check) -> Result<()> {
        let tone = tone(check.result);
        let outcome = self.screen.paint(tone, check.result.as_str());
        let gap = " ".repeat(OUTCOME.saturating_sub(check.result.as_str().len()));
        let head = format!("  {outcome}{gap}{}", check.kind);
        let is_narrow = self.screen.width.is_some_and(|width| width < NARROW);
        let indent = if is_narrow { 4 } else { 2 + OUTCOME + KIND };
        let mut lines = self.screen.wrap(&escape(&check.detail), indent).into_iter();
        if is_narrow {
            line_of(self.out, &head)?;
        } else {
            let gap = " ".repeat(KIND.saturating_sub(width_of(&check.kind)).max(1));
            let first = lines.next().unwrap_or_default();
            line_of(self.out, format!("{head}{gap}{first}").trim_end())?;
        }
        for line in lines {
            line_of(self.out, &format!("{}{line}", " ".repeat(indent)))?;
        }
        if let Some(mend) = &check.mend {
            // In one line however narrow the screen is: it is there to be copied.
            line_of(self.out, &format!("    mend: {}", escape(mend)))?;
        }
        Ok(())
    }

    /// The last line.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let [ok, warnings, failures] = self.counts;
        let counted = |count: usize, what: &str| {
            let s = if count == 1 { "" } else { "s" };
            format!("{count} {what}{s}")
        };
        let all = counted(ok + warnings + failures, "check");
        let part = |count: usize, words: String, tone: Tone| {
            let tone = if count == 0 { Tone::Plain } else { tone };
            self.screen.paint(tone, &words).into_owned()
        };
        let parts = [
            part(ok, format!("{ok} ok"), Tone::Good),
            part(warnings, counted(warnings, "warning"), Tone::Warn),
            part(failures, counted(failures, "failure"), Tone::Bad),
        ];
        line_of(self.out, "")?;
        line_of(self.out, &format!("{all}: {}", parts.join(", ")))
    }
}

fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Ok => Tone::Good,
        Outcome::Warning => Tone::Warn,
        Outcome::Failure => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(width: usize) -> String {
        let checks = [
            (
                "this machine, as svn (uid 110)",
                "hook",
                Outcome::Ok,
                "/svn/prod/hooks/post-commit, executable, owner uid 0",
                None,
            ),
            (
                "this machine, as svn (uid 110)",
                "state",
                Outcome::Failure,
                "the state directory /var/lib/auto-dispatcher is open to others (mode 0755)",
                Some("chmod 700 /var/lib/auto-dispatcher"),
            ),
            (
                "deploy@app1.example.com",
                "host key",
                Outcome::Warning,
                "ssh-ed25519 SHA256:0DYuG0MB88jhte4JvfTiz71Jb6LjP1m/bmqaCunTvwQ is new; the first delivery records it",
                Some(
                    "auto-dispatcher trust 'app1.example.com' --port 22 --fingerprint SHA256:0DYuG0MB88jhte4JvfTiz71Jb6LjP1m/bmqaCunTvwQ",
                ),
            ),
            (
                "deploy@app1.example.com",
                "banner",
                Outcome::Ok,
                "SSH-2.0-\u{1b}[31mred 中文",
                None,
            ),
        ];
        let mut out = Vec::new();
        let screen = Screen {
            colours: false,
            width: Some(width),
        };
        let mut show = Show::on(screen, &mut out, false);
        for (group, check, result, detail, mend) in checks {
            let check = Check {
                kind: check.to_owned(),
                subject: String::new(),
                result,
                detail: detail.to_owned(),
                mend: mend.map(str::to_owned),
            };
            let group = group.to_owned();
            show.check(&Grouped { group, check }).unwrap();
        }
        assert!(show.has_failures());
        show.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn checks_fit_screens_of_all_widths() {
        for width in [40, 80, 120] {
            insta::assert_snapshot!(format!("doctor_{width}"), shown(width));
        }
    }
}
