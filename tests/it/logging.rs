//! Log files that threads and processes share, and the lines that the old settings give.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use auto_dispatcher::domain::log_format::LogFormat;
use auto_dispatcher::domain::log_settings::{FileSink, LogLevel, LogSettings, Sink, SinkKind};
use auto_dispatcher::logging::{RotatingFile, install};

use crate::testenv::{TestEnv, wait_until};

const OLD_FORMAT: &str =
    "%(asctime)s [%(thread)d] %(filename)s[line:%(lineno)d] %(levelname)s %(message)s";
/// Tells the helper processes below where to write.
const PLACE: &str = "LOGGING_TEST_PLACE";
const NUMBER: &str = "LOGGING_TEST_NUMBER";

const PROCESSES: usize = 4;
const THREADS: usize = 2;
const LINES: usize = 2500;
const SHARED_MAX_BYTES: u64 = 32 * 1024;

fn sink(path: PathBuf, max_bytes: u64, backups: u32) -> FileSink {
    FileSink {
        path,
        append: true,
        max_bytes,
        backups,
    }
}

/// The command of another process that runs one of the helpers below.
fn helper(name: &str, place: &Path, number: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", &format!("logging::{name}"), "--nocapture"])
        .env_clear()
        .env(PLACE, place)
        .env(NUMBER, number.to_string())
        .stdin(Stdio::null());
    command
}

/// Where to write, in a process that another test started; none in the test run itself, where the
/// helpers below have nothing to do.
fn place() -> Option<PathBuf> {
    std::env::var_os(PLACE).map(PathBuf::from)
}

fn run_helper(name: &str, place: &Path) -> Output {
    let output = helper(name, place, 0).output().expect("a helper");
    assert!(output.status.success(), "{output:?}");
    output
}

/// The log and its backups, the newest first.
fn files(log: &Path) -> Vec<String> {
    let mut all = vec![fs::read_to_string(log).expect("the log")];
    for number in 1.. {
        match fs::read_to_string(format!("{}.{number}", log.display())) {
            Ok(content) => all.push(content),
            Err(_) => return all,
        }
    }
    all
}

fn shared_line(process: usize, thread: usize, number: usize) -> String {
    format!(
        "process {process} thread {thread} line {number} {}",
        "x".repeat(number % 50)
    )
}

#[test]
fn helper_that_writes_lines() {
    let Some(place) = place() else { return };
    let process: usize = std::env::var(NUMBER)
        .expect("a number")
        .parse()
        .expect("a number");
    wait_until("the sign to begin", Duration::from_mins(1), || {
        place.join("go").exists()
    });
    let writers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let file = RotatingFile::new(sink(place.join("shared.log"), SHARED_MAX_BYTES, 1000));
            thread::spawn(move || {
                for number in 0..LINES {
                    file.write_line(&shared_line(process, thread, number))
                        .expect("a line");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("a writer");
    }
}

#[test]
fn processes_that_rotate_the_same_log_lose_and_tear_no_line() {
    let env = TestEnv::new();
    let start = |number| {
        helper("helper_that_writes_lines", env.root(), number)
            .stdout(Stdio::null())
            .spawn()
            .expect("a helper")
    };
    let children: Vec<Child> = (0..PROCESSES).map(start).collect();
    env.write("go", "");
    for mut child in children {
        assert!(child.wait().expect("a helper").success());
    }
    let files = files(&env.path("shared.log"));
    assert!(
        files.len() > 10,
        "only {} files: nothing was rotated",
        files.len()
    );
    for content in &files {
        assert!(
            content.len() as u64 <= SHARED_MAX_BYTES,
            "a file of {} bytes",
            content.len()
        );
        assert!(content.ends_with('\n'));
    }
    let mut missing = HashSet::new();
    for process in 0..PROCESSES {
        for thread in 0..THREADS {
            missing.extend((0..LINES).map(|number| shared_line(process, thread, number)));
        }
    }
    for line in files.iter().flat_map(|content| content.lines()) {
        assert!(missing.remove(line), "torn or doubled: {line}");
    }
    assert!(missing.is_empty(), "{} lines lost", missing.len());
}

#[test]
fn the_newest_lines_are_kept_in_as_many_files_as_were_asked_for() {
    let env = TestEnv::new();
    let log = env.path("bounded.log");
    let file = RotatingFile::new(sink(log.clone(), 100, 3));
    for number in 0..200 {
        file.write_line(&format!("line {number:03}"))
            .expect("a line");
    }
    let mut files = files(&log);
    assert_eq!(files.len(), 4);
    assert!(files.iter().all(|content| content.len() < 100));
    files.reverse();
    let kept: Vec<String> = files.concat().lines().map(str::to_owned).collect();
    let newest: Vec<String> = (200 - kept.len()..200)
        .map(|number| format!("line {number:03}"))
        .collect();
    assert_eq!(kept, newest);
}

#[test]
fn a_line_longer_than_the_limit_gets_a_file_of_its_own() {
    let env = TestEnv::new();
    let log = env.path("long.log");
    let file = RotatingFile::new(sink(log.clone(), 50, 5));
    let wide = "y".repeat(500);
    for line in ["before", &wide, "after"] {
        file.write_line(line).expect("a line");
    }
    assert_eq!(files(&log), ["after\n", &format!("{wide}\n"), "before\n"]);
}

#[test]
fn a_log_is_private_and_its_directory_is_made() {
    let env = TestEnv::new();
    let log = env.path("state/log/a.log");
    RotatingFile::new(sink(log.clone(), 100, 1))
        .write_line("x")
        .expect("a line");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&log), 0o600);
    assert_eq!(mode(&env.path("state/log/a.log.lock")), 0o600);
    assert_eq!(mode(&env.path("state/log")), 0o700);
    assert_eq!(mode(&env.path("state")), 0o700);
}

#[test]
fn mode_w_empties_the_log_unless_it_rotates() {
    let env = TestEnv::new();
    for (name, max_bytes, kept) in [
        ("plain.log", 0, "new\n"),
        ("rotating.log", 1000, "old\nnew\n"),
    ] {
        let log = env.write(name, "old\n");
        let file = RotatingFile::new(FileSink {
            append: false,
            ..sink(log.clone(), max_bytes, 5)
        });
        file.write_line("new").expect("a line");
        assert_eq!(fs::read_to_string(log).expect("the log"), kept);
    }
}

#[test]
fn a_log_that_was_renamed_or_removed_by_others_is_made_again() {
    let env = TestEnv::new();
    let log = env.path("moved.log");
    let file = RotatingFile::new(sink(log.clone(), 0, 0));
    file.write_line("one").expect("a line");
    fs::rename(&log, env.path("elsewhere")).expect("mv");
    file.write_line("two").expect("a line");
    fs::remove_file(&log).expect("rm");
    file.write_line("three").expect("a line");
    assert_eq!(fs::read_to_string(log).expect("the log"), "three\n");
    assert_eq!(
        fs::read_to_string(env.path("elsewhere")).expect("the log"),
        "one\n"
    );
}

#[test]
fn a_lock_that_somebody_sits_on_delays_a_line_and_does_not_stop_it() {
    let env = TestEnv::new();
    let log = env.path("held.log");
    let file = RotatingFile::new(sink(log.clone(), 10, 2));
    file.write_line("before").expect("a line");
    let lock = fs::File::open(env.path("held.log.lock")).expect("the lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("flock");
    file.write_line("meanwhile").expect("a line");
    assert_eq!(
        files(&log),
        ["before\nmeanwhile\n"],
        "without the lock nothing is rotated"
    );
    drop(lock);
    file.write_line("after").expect("a line");
    assert_eq!(files(&log), ["after\n", "before\nmeanwhile\n"]);
}

#[test]
fn a_full_disk_is_an_error_that_names_the_log() {
    let file = RotatingFile::new(sink("/dev/full".into(), 100, 2));
    let error = file.write_line("x").expect_err("an error");
    assert!(
        error
            .message
            .starts_with("cannot write to the log /dev/full: No space left"),
        "{error}"
    );
    assert!(!Path::new("/dev/full.lock").exists());
}

#[test]
fn helper_that_logs_by_the_old_settings() {
    let Some(place) = place() else { return };
    let format = LogFormat::parse(OLD_FORMAT, None).expect("the old format");
    let file = SinkKind::File(sink(place.join("auto-dispatcher.log"), 10 * 1024 * 1024, 5));
    let loud = |kind| Sink {
        kind,
        level: LogLevel::NotSet,
        format: format.clone(),
    };
    let errors = Sink {
        kind: SinkKind::File(sink(place.join("errors.log"), 0, 0)),
        level: LogLevel::Error,
        format: LogFormat::message_only(),
    };
    let sinks = vec![loud(SinkKind::Stderr), loud(file), errors];
    install(&LogSettings {
        level: LogLevel::Debug,
        sinks,
    })
    .expect("a logger");
    log::debug!(target: "auto_dispatcher::worker", "完成 {}", "a\nforged line\u{1b}[2J");
    log::warn!(target: "auto_dispatcher", "second");
    log::error!(target: "auto_dispatcher::cli", "third");
    log::trace!(target: "auto_dispatcher", "too fine");
    log::error!(target: "suppaftp", "PASS sEcReT-hunter2");
    assert!(
        install(&LogSettings {
            level: LogLevel::Debug,
            sinks: Vec::new()
        })
        .is_err()
    );
}

#[test]
fn the_old_settings_give_the_old_lines_on_stderr_and_in_the_file() {
    let env = TestEnv::new();
    let output = run_helper("helper_that_logs_by_the_old_settings", env.root());
    let log = fs::read_to_string(env.path("auto-dispatcher.log")).expect("the log");
    assert_eq!(String::from_utf8_lossy(&output.stderr), log);
    let lines: Vec<&str> = log.lines().collect();
    let ends = [
        "DEBUG 完成 a\\nforged line\\x1b[2J",
        "WARNING second",
        "ERROR third",
    ];
    assert_eq!(lines.len(), ends.len(), "{log}");
    for (line, end) in lines.iter().zip(ends) {
        let form = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[\d+\] logging\.rs\[line:\d+\] ";
        let found = regex::Regex::new(form)
            .expect("a pattern")
            .find(line)
            .expect(line);
        assert_eq!(&line[found.end()..], end);
    }
    assert_eq!(
        fs::read_to_string(env.path("errors.log")).expect("the log"),
        "third\n"
    );
}

#[test]
fn a_log_that_cannot_be_written_is_mentioned_once_and_stops_nothing() {
    let env = TestEnv::new();
    let file = env.write("file", "");
    let output = run_helper("helper_that_logs_by_the_old_settings", &file);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = |log: &str| {
        stderr.matches(&format!("{log}: ")).count() + stderr.matches("said once").count()
    };
    assert_eq!(
        stderr.matches("said once").count(),
        2,
        "once for each log: {stderr}"
    );
    assert!(
        said("auto-dispatcher.log") >= 2 && stderr.contains("WARNING second"),
        "{stderr}"
    );
}

#[test]
fn a_closed_stderr_stops_nothing() {
    let env = TestEnv::new();
    let mut child = helper("helper_that_logs_by_the_old_settings", env.root(), 0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a helper");
    drop(child.stderr.take());
    assert!(child.wait().expect("a helper").success());
    let log = fs::read_to_string(env.path("auto-dispatcher.log")).expect("the log");
    assert_eq!(log.lines().count(), 3);
}
