//! Progress on a real terminal (tmux): bars that fit, go, and leave nothing behind; and lines where there is none.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use auto_dispatcher::domain::delivery::State;

use super::host::Host;
use super::{LIMIT, Pipeline};
use crate::servers::relay::Relay;
use crate::testenv::{Ran, runs, wait_until, write_program};

/// What the shell shows behind everything: root's and anybody's.
const PROMPTS: [char; 2] = ['#', '$'];

/// Longer than a screen takes to show something.
const SHOWN: Duration = Duration::from_secs(90);

/// A terminal with a shell in it, which ends with the test.
struct Terminal<'a> {
    pipeline: &'a Pipeline,
    /// A server of its own: one that is about to end takes nobody any more.
    socket: PathBuf,
}

impl<'a> Terminal<'a> {
    fn new(pipeline: &'a Pipeline, columns: u32) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let socket = pipeline.env.path(format!("tmux-{number}"));
        let terminal = Self { pipeline, socket };
        let columns = columns.to_string();
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", "24", "exec sh"]);
        terminal.shows("the prompt", |screen| screen.ends_with(PROMPTS));
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let env = &self.pipeline.env;
        let mut command = Command::new("tmux");
        command
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(&self.socket)
            .args(args)
            .env_clear()
            .env("HOME", env.home())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(env.home());
        Ran::of(&mut command).exits(0).stdout
    }

    /// Types the command with these arguments, which tells its exit code in the end.
    fn runs(&self, before: &str, args: &[&str]) {
        let ours = self.pipeline.command(args);
        let words: Vec<String> = std::iter::once(ours.get_program())
            .chain(ours.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let script = self.pipeline.env.home().join("run");
        write_program(&script, format!("#!/bin/sh\nexec {}\n", words.join(" ")));
        self.types(&format!("clear; {before} ./run; echo \"EXIT=$?\""));
    }

    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn resize(&self, columns: u32) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", "24"]);
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        let screen = self.tmux(&["capture-pane", "-p"]);
        screen.trim_end().to_owned()
    }

    /// Waits until the screen is as it is to be.
    #[track_caller]
    fn shows(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let end = Instant::now() + SHOWN;
        while Instant::now() < end {
            screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("waited in vain for {what}; on the screen:\n{screen}");
    }

    /// Waits for the end of the command and for that exit code; nothing of the bars is left.
    #[track_caller]
    fn ends(&self, code: i32) -> String {
        let mark = format!("EXIT={code}");
        let screen = self.shows(&mark, |screen| {
            screen.lines().any(|line| line == mark) && screen.ends_with(PROMPTS)
        });
        for bar in [
            " of 3 done",
            "to be served",
            "install  0:",
            "[=",
            "planning r",
            "waits until",
            "again at",
        ] {
            assert!(!screen.contains(bar), "{bar} is left:\n{screen}");
        }
        screen
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// Whether there is one line with the total and one for each of three lanes, and nothing torn.
fn is_whole(screen: &str) -> bool {
    let lines = |word: &str| screen.lines().filter(|line| line.contains(word)).count();
    lines("0 of 3 done") == 1
        && lines("install  0:") == 2
        && lines("waits until") + lines("again at") == 1
}

/// Two hosts at a long install, and one that is down.
fn three_lanes(host: &Host) -> Pipeline {
    let pipeline = Pipeline::bare();
    let closed = crate::servers::running::free_port();
    pipeline.rules(&[
        host.rule("app")
            .with("host", "127.0.0.1 127.0.0.2")
            .with("install_command", host.long_command()),
        host.rule("核心")
            .with("ssh_port", closed)
            .with("retry_delay", 600),
    ]);
    pipeline.env.write("home/app-1.0.tar", "1");
    pipeline
        .env
        .write("home/核心系统升级包-2026.11.24.tar", "2");
    pipeline
}

const SEND: [&str; 3] = ["send", "app-1.0.tar", "核心系统升级包-2026.11.24.tar"];

#[test]
fn bars_fit_a_terminal_that_is_resized_and_leave_the_table_alone() {
    let host = Host::up();
    let pipeline = three_lanes(&host);
    let terminal = Terminal::new(&pipeline, 100);
    terminal.runs("", &SEND);
    terminal.shows("bars", is_whole);
    terminal.resize(40);
    let screen = terminal.shows("narrow bars", |screen| {
        is_whole(screen) && screen.lines().all(|line| line.chars().count() <= 40)
    });
    assert!(screen.contains("核心"), "{screen}");
    terminal.resize(120);
    terminal.shows("wide bars", |screen| {
        is_whole(screen) && screen.contains("核心系统升级包-2026.11.24.tar -> ")
    });
    host.go();
    let row = pipeline.awaits("核心系统升级包-2026.11.24.tar", State::Waiting);
    pipeline.ad(&["cancel", &row["id"].to_string()]).exits(0);
    let screen = terminal.ends(1);
    assert_eq!(screen.matches(" done").count(), 2, "{screen}");
    assert_eq!(screen.matches(" cancelled").count(), 1, "{screen}");
    assert_eq!(screen.matches("uploaded to").count(), 0, "{screen}");
}

#[test]
fn an_interrupted_command_leaves_a_clean_terminal() {
    let host = Host::up();
    let pipeline = three_lanes(&host);
    let terminal = Terminal::new(&pipeline, 80);
    terminal.runs("", &SEND);
    terminal.shows("bars", is_whole);
    terminal.tmux(&["send-keys", "C-c"]);
    let screen = terminal.ends(130);
    assert!(screen.contains("auto-dispatcher: interrupted"), "{screen}");
    terminal.types("echo as be''fore");
    terminal.shows("the shell", |screen| screen.contains("\nas before\n"));
    // The service's way to work shares the bars, and its log stays above them.
    terminal.runs("", &["worker", "--until-idle"]);
    terminal.shows("bars", is_whole);
    terminal.tmux(&["send-keys", "C-c"]);
    terminal.ends(130);
    host.go();
}

#[test]
fn planning_that_takes_long_is_shown_and_may_be_interrupted_cleanly() {
    let host = Host::up();
    let pipeline = three_lanes(&host);
    pipeline.commit(&[("app-1.0.tar", b"1")]);
    let slow = pipeline.env.program(
        "slow-svnlook",
        format!(
            "#!/bin/sh\n[ \"$1\" != changed ] || sleep 10007\nexec {} \"$@\"\n",
            super::svnlook().display()
        ),
    );
    pipeline.settings(&format!("svnlook = {}", slow.display()));
    let terminal = Terminal::new(&pipeline, 80);
    terminal.runs("", &["replay", pipeline.repository(), "1"]);
    terminal.shows("a spinner", |screen| screen.contains(" planning r1  0:0"));
    terminal.tmux(&["send-keys", "C-c"]);
    // A shell runs nothing of a line whose command a signal has ended.
    terminal.shows("the prompt alone", |screen| screen.trim().len() == 1);
    terminal.types("echo \"EXIT=$?\"");
    terminal.ends(130);
    assert!(!pipeline.state().exists());
    wait_until("svnlook has gone, too", LIMIT, || {
        !runs(&["sleep", "10007"])
    });
}

#[test]
fn an_upload_shows_its_bytes_and_colours_only_where_they_are_wanted() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.env.write("home/app", vec![b'x'; 16 << 20]);
    for (before, has_colours) in [("", true), ("NO_COLOR=1", false)] {
        let relay = Relay::to(host.port, 8 << 20);
        pipeline.rules(&[host.rule("app").with("ssh_port", relay.port)]);
        let terminal = Terminal::new(&pipeline, 110);
        terminal.runs(before, &["send", "app"]);
        relay.is_spent();
        let screen = terminal.shows("a bar", |screen| {
            screen.contains("upload  [=")
                && screen.contains(" of 16.0 MiB")
                && screen.contains("0 of 1 done; ")
        });
        assert!(!screen.contains("1 of 1 done"), "{screen}");
        let raw = terminal.tmux(&["capture-pane", "-e", "-p"]);
        assert_eq!(raw.contains("\u{1b}[36m"), has_colours, "{raw:?}");
        relay.cut();
        terminal.ends(0);
    }
}

#[test]
fn the_log_on_the_terminal_and_bars_do_not_tear_each_other() {
    let host = Host::up();
    let pipeline = three_lanes(&host);
    let logger = "[loggers]\nkeys=root\n[handlers]\nkeys=err\n[formatters]\nkeys=f\n[logger_root]\nlevel=INFO\n\
                  handlers=err\n[handler_err]\nclass=StreamHandler\nargs=(sys.stderr,)\nformatter=f\n\
                  [formatter_f]\nformat=LOG|%(message)s|END\n";
    pipeline.env.write("repository/conf/logger.cfg", logger);
    let terminal = Terminal::new(&pipeline, 200);
    terminal.runs("", &SEND);
    terminal.shows("bars", is_whole);
    host.go();
    let row = pipeline.awaits("核心系统升级包-2026.11.24.tar", State::Waiting);
    wait_until("both are installed", LIMIT, || host.lines("ran").len() == 2);
    pipeline.ad(&["cancel", &row["id"].to_string()]).exits(0);
    terminal.ends(1);
    let all = terminal.tmux(&["capture-pane", "-p", "-J", "-S", "-"]);
    let log: Vec<&str> = all.lines().filter(|line| line.contains("LOG|")).collect();
    assert!(log.len() > 5, "{all}");
    for line in log {
        let line = line.trim_end();
        assert!(
            line.starts_with("LOG|") && line.ends_with("|END"),
            "{line:?} in\n{all}"
        );
    }
}

#[test]
fn without_a_terminal_there_are_lines_and_few_of_them() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[host.rule("app").with("host", "127.0.0.1 127.0.0.2")]);
    let file = pipeline.env.write("home/app", vec![b'x'; 60 << 20]);
    let begun = Instant::now();
    let ran = pipeline
        .ad(&["send", file.to_str().expect("UTF-8")])
        .exits(0);
    let looks = usize::try_from(begun.elapsed().as_secs() / 5).expect("a count");
    assert!(!ran.stderr.contains('\u{1b}'), "{ran}");
    assert_eq!(ran.stderr.matches("uploaded to").count(), 2, "{ran}");
    for id in ["#1 ", "#2 "] {
        let progress = |line: &&str| line.starts_with(id) && line.ends_with(" of 60.0 MiB");
        assert!(
            ran.stderr.lines().filter(progress).count() <= looks,
            "{ran}"
        );
    }
    // A terminal that can show nothing.
    let terminal = Terminal::new(&pipeline, 100);
    terminal.runs("TERM=dumb", &["send", "app"]);
    let screen = terminal.ends(0);
    assert!(screen.contains("uploaded to"), "{screen}");
}
