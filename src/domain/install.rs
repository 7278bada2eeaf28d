//! The install command: what it is told, how its placeholders are filled, the scripts that run it on the
//! host, and what became of it. Knows nothing of how a script gets to the host.

use serde::{Deserialize, Serialize};

mod fill;

pub use fill::{PLACEHOLDERS, fill};

use crate::domain::target::InstallMode;
use crate::domain::text::shell_quote;

/// The exit status by which [`plain_script`] says that the time limit ended the command. It only counts
/// when the limit has passed.
pub const PLAIN_LATE_STATUS: i32 = 200;

/// How long a tracked command's output may grow on the host, bytes; looked at every second. Beyond, the file is
/// emptied and its tail kept.
pub const OUTPUT_ON_HOST_MAX_BYTES: u64 = 64 << 20;

/// What stands in an output where the host emptied the file.
pub(super) const CUT_MARK: &str =
    "[auto-dispatcher: the output grew too long for the host's disk and was cut here]";

/// What one run of an install command needs. Every path is one on the host, `~` resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallSpec {
    /// Names the directory on the host that makes the command run at most once:
    /// `[0-9A-Za-z_-]+`, unique to this delivery of this journal.
    pub token: String,
    /// The command, placeholders not yet filled.
    pub command: String,
    /// What the command sees, and what fills its placeholders.
    pub facts: InstallFacts,
    /// Limit for the command and its children; seconds.
    pub timeout_s: u64,
    /// How it is run.
    pub mode: InstallMode,
    /// Whether it may be run again when an earlier run's outcome cannot be had.
    pub idempotent: bool,
    /// Whether an earlier attempt was told that the command may begin: a host without a record of it has then
    /// lost it, and the command is not run.
    pub recorded: bool,
    /// How many bytes of output are kept: the tail.
    pub output_max_bytes: usize,
}

/// `AD_PACKAGE` and its siblings. What a source does not have is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstallFacts {
    /// `AD_PACKAGE`, `{package}`: base name.
    pub package: String,
    /// `AD_PATH`, `{path}`: absolute path of the package on the host.
    pub path: String,
    /// `AD_DEST_DIR`, `{dest_dir}`: absolute directory on the host.
    pub dest_dir: String,
    /// `AD_REPOSITORY`.
    pub repository: String,
    /// `AD_REVISION`, `{revision}`.
    pub revision: String,
    /// `AD_AUTHOR`.
    pub author: String,
    /// `AD_SHA256`.
    pub sha256: String,
    /// `AD_DELIVERY`.
    pub delivery: String,
}

/// How an install command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallEnd {
    /// With this status; 128 + n for signal n, as shells count.
    Exited(i32),
    /// `install_timeout` ended it and its children.
    TimedOut,
}

/// What is known of an install command that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallOutcome {
    /// How it ended.
    pub end: InstallEnd,
    /// stdout and stderr, merged; the tail where it was longer than the limit.
    pub output: Vec<u8>,
    /// Bytes that came before the tail.
    pub output_cut_bytes: u64,
}

/// The variables that the command sees, in a fixed order.
pub fn environment(facts: &InstallFacts) -> [(&'static str, &str); 8] {
    [
        ("AD_PACKAGE", &facts.package),
        ("AD_PATH", &facts.path),
        ("AD_DEST_DIR", &facts.dest_dir),
        ("AD_REPOSITORY", &facts.repository),
        ("AD_REVISION", &facts.revision),
        ("AD_AUTHOR", &facts.author),
        ("AD_SHA256", &facts.sha256),
        ("AD_DELIVERY", &facts.delivery),
    ]
}

/// The facts, exported, and the command in `$c`.
fn facts(spec: &InstallSpec) -> String {
    let mut script = String::new();
    for (name, value) in environment(&spec.facts) {
        let line = format!("{name}={}; export {name}\n", shell_quote(value));
        script.push_str(&line);
    }
    let command = shell_quote(&fill::refer(&spec.command, &spec.facts));
    script.push_str("c=");
    script.push_str(&command);
    script.push('\n');
    script
}

/// A script without comments and indentation: shells read scripts byte by byte.
fn lean(script: &str) -> String {
    let lines = script.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// What a shell on the host is taught once, so that each tracked run takes few words: what all wrappers share, and
/// `ad_tracked`, which starts a command unless that has happened before, then follows it to its end. (The wrapper runs
/// detached: it runs the command under the login's shell unless that has ever been done, bounds its time and its output,
/// and leaves the status.)
pub fn tracked_lesson() -> String {
    let host = lean(include_str!("install/host.sh"));
    let wrapper = format!(
        "most={OUTPUT_ON_HOST_MAX_BYTES}\nmark={}\n{host}{}{}",
        shell_quote(CUT_MARK),
        lean(include_str!("install/prologue.sh")),
        lean(include_str!("install/run.sh"))
    );
    format!(
        "ad_wrapper={}\n{host}ad_tracked() {{\n{}{}}}\n",
        shell_quote(&wrapper),
        lean(include_str!("install/start.sh")),
        lean(include_str!("install/follow.sh"))
    )
}

/// The script that starts the command unless that has happened before, then follows it to its end, in a shell that knows
/// [`tracked_lesson`]. It prints lines that begin with `nonce` and a letter: `P` (prepared: the script waits for a line
/// with the nonce before anything can run; not where the run is `recorded`), `D offset length` (followed by that many
/// bytes of output), `A` (alive), `S status`, `L` (lost), `E reason`.
pub fn tracked_script(spec: &InstallSpec, nonce: &str) -> String {
    let (limit, most) = (spec.timeout_s, spec.output_max_bytes);
    let own = format!("d=${{0%/*}}\nlimit={limit}\nm={most}\n{}", facts(spec));
    format!(
        "N={nonce}\nt={}\nm={most}\nlimit={limit}\nR={}\nw={}$ad_wrapper\nad_tracked\n",
        spec.token,
        u8::from(spec.recorded),
        shell_quote(&own),
    )
}

/// The script that runs the command attached; its exit status is the command's, or
/// [`PLAIN_LATE_STATUS`].
pub fn plain_script(spec: &InstallSpec) -> String {
    format!(
        "limit={}\n{}{}{}{}",
        spec.timeout_s,
        lean(include_str!("install/host.sh")),
        facts(spec),
        lean(include_str!("install/prologue.sh")),
        lean(include_str!("install/plain.sh"))
    )
}

/// The exit status by which [`forget_script`] says that the command still runs, and that nothing is removed.
pub const STILL_RUNS_STATUS: i32 = 201;

/// The script that removes what a tracked run keeps on the host. While the command runs it keeps all: without its
/// record nothing would end it at its limit, and another run could begin beside it.
pub fn forget_script(token: &str) -> String {
    // Under another name first: whoever of an earlier attempt is still about finds the whole record or none, and
    // not one that lacks the lock.
    format!(
        "b=$HOME/.auto-dispatcher\nd=$b/{token}\n\
         if [ -s \"$d/ran/pid\" ] && [ ! -f \"$d/status\" ]; then\n\
         read -r x y <\"$d/ran/pid\"\n! kill -s 0 \"$x\" 2>/dev/null || exit {STILL_RUNS_STATUS}\nfi\n\
         [ ! -d \"$d\" ] || mv -f \"$d\" \"$d.gone\" || [ ! -d \"$d\" ] || exit 1\n\
         rm -rf \"$d.gone\" || exit 1\nrmdir \"$b\" 2>/dev/null\ntrue\n"
    )
}

/// Whether `token` may name a directory on the host.
pub fn is_token(token: &str) -> bool {
    !token.is_empty()
        && token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The tail of an output, and how much came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    max_bytes: usize,
    kept: Vec<u8>,
    cut_bytes: u64,
}

impl Tail {
    /// Keeps the last `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            kept: Vec::new(),
            cut_bytes: 0,
        }
    }

    /// Adds what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        // Trimmed in large steps, so that many small pieces do not move the tail each time.
        if self.kept.len() > self.max_bytes.saturating_mul(2).saturating_add(65_536) {
            self.trim();
        }
    }

    /// Counts bytes that were never seen.
    pub fn skip(&mut self, bytes: u64) {
        let kept = self.kept.len() as u64;
        self.count(bytes.saturating_add(kept));
        self.kept.clear();
    }

    /// Whatever a host claims, it is a number that the journal can keep.
    fn count(&mut self, bytes: u64) {
        let cut = self.cut_bytes.saturating_add(bytes);
        self.cut_bytes = cut.min(i64::MAX.unsigned_abs());
    }

    fn trim(&mut self) {
        let surplus = self.kept.len().saturating_sub(self.max_bytes);
        self.kept.drain(..surplus);
        self.count(surplus as u64);
    }

    /// The outcome of a command that ended so, with this output.
    pub fn into_outcome(mut self, end: InstallEnd) -> InstallOutcome {
        self.trim();
        InstallOutcome {
            end,
            output: self.kept,
            output_cut_bytes: self.cut_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_skipped_is_a_number_that_can_be_kept() {
        let mut tail = Tail::new(1);
        tail.skip(u64::MAX);
        tail.push(b"abc");
        tail.skip(u64::MAX);
        tail.push(b"abc");
        let outcome = tail.into_outcome(InstallEnd::Exited(0));
        assert_eq!(outcome.output_cut_bytes, i64::MAX.unsigned_abs());
    }

    #[test]
    fn a_tail_counts_what_it_cut() {
        let mut tail = Tail::new(4);
        tail.push(b"abc");
        tail.skip(10);
        tail.push(b"defghi");
        let outcome = tail.into_outcome(InstallEnd::Exited(0));
        assert_eq!(
            (outcome.output.as_slice(), outcome.output_cut_bytes),
            (&b"fghi"[..], 15)
        );
    }

    #[test]
    fn tokens_are_harmless_names() {
        assert!(is_token("a-9_Z"));
        for bad in ["", "..", "a/b", "a b", "$x"] {
            assert!(!is_token(bad), "{bad}");
        }
    }
}
