//! What goes wrong between us and a repository: each case one clear message, and none a wrong answer.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auto_dispatcher::error::{Error, ErrorKind};
use auto_dispatcher::source::repository_files::read_uuid;
use auto_dispatcher::source::svnlook::{Limits, Repository, Svnlook};

use crate::servers::svn::{Svn, fake_svnlook, program};
use crate::testenv::{TestEnv, is_root, wait_until};

#[track_caller]
fn assert_source_error<T: std::fmt::Debug>(result: Result<T, Error>, parts: &[&str]) {
    let error = result.expect_err("an error");
    assert_eq!(error.kind, ErrorKind::Source, "{error}");
    let shown = error.to_string();
    for part in parts {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    assert!(
        !error.message.chars().any(char::is_control),
        "control characters in {shown:?}"
    );
    assert!(shown.len() < 8192, "{} bytes of message", shown.len());
}

fn open(path: &Path) -> Result<Repository, Error> {
    Svnlook::new(program("svnlook")).repository(path)
}

fn open_by(program: PathBuf, svn: &Svn) -> Result<Repository, Error> {
    Svnlook::new(program).repository(&svn.repository)
}

/// For programs that stay silent for ever: lists and files have to come soon.
fn open_impatiently(program: PathBuf, svn: &Svn) -> Result<Repository, Error> {
    let short = Duration::from_secs(3);
    let limits = Limits {
        listing: short,
        stall: short,
        ..Limits::default()
    };
    Svnlook::new(program)
        .with_limits(limits)
        .repository(&svn.repository)
}

fn one_file(env: &TestEnv) -> (Svn, u64) {
    let svn = Svn::create(env);
    svn.write("f", "0123456789");
    let revision = svn.commit();
    (svn, revision)
}

#[test]
fn what_is_no_repository_is_said_to_be_none() {
    let env = TestEnv::new();
    let (svn, _) = one_file(&env);
    let file = env.write("file", "x");
    fs::create_dir(env.path("empty\u{1b}[2J")).expect("mkdir");
    for (path, parts) in [
        (
            env.path("missing"),
            ["cannot find the repository", "No such file"],
        ),
        (file, ["is not a repository", "no directory"]),
        (
            env.path("empty\u{1b}[2J"),
            ["empty\\x1b[2J is not a Subversion repository", "no format"],
        ),
        (
            svn.working_copy.clone(),
            ["this is a working copy", "repos-root-url"],
        ),
        (
            svn.url().into(),
            ["cannot find the repository", "not its URL"],
        ),
    ] {
        assert_source_error(open(&path), &parts);
        assert_source_error(read_uuid(&path), &parts);
    }
}

#[test]
fn a_revision_or_path_that_is_not_there_is_named() {
    let env = TestEnv::new();
    let (svn, revision) = one_file(&env);
    let repository = svn.open();
    let missing = ["revision 99 does not exist", "the youngest is 1"];
    assert_source_error(repository.changes(99, false), &missing);
    assert_source_error(repository.author(99), &missing);
    assert_source_error(repository.date(99), &missing);
    assert_source_error(repository.export(99, "f", &mut io::sink()), &missing);
    assert_source_error(
        repository.changes(u64::MAX, false),
        &["does not exist", "the youngest is 1"],
    );
    let export = repository.export(revision, "no\rsuch", &mut io::sink());
    assert_source_error(export, &["no\\rsuch", "E160013", "exit status: 1"]);
    svn.write("dir/x", "x");
    let export = repository.export(svn.commit(), "dir", &mut io::sink());
    assert_source_error(export, &["is not a file"]);
}

#[test]
fn a_corrupt_revision_is_an_error_and_not_a_short_file() {
    let env = TestEnv::new();
    let svn = Svn::create(&env);
    let mut random = fastrand::Rng::with_seed(11);
    let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(2_000_000)
        .collect();
    svn.write("large", &content);
    let revision = svn.commit();
    let stored = svn.repository.join(format!("db/revs/0/{revision}"));
    let mut bytes = fs::read(&stored).expect("the revision");
    bytes[1_000_000..1_000_100].fill(0x55);
    fs::set_permissions(&stored, Permissions::from_mode(0o644)).expect("chmod");
    fs::write(&stored, bytes).expect("the damage");
    let mut exported = Vec::new();
    let result = svn.open().export(revision, "large", &mut exported);
    assert_source_error(result, &["cannot export large of revision 1", "svnlook: E"]);
    assert!(exported.len() < content.len());
}

#[test]
fn an_export_of_another_length_than_the_file_is_an_error() {
    let env = TestEnv::new();
    let (svn, revision) = one_file(&env);
    let script =
        r#"if [ "$1" = cat ]; then "$SVNLOOK" "$@" | head -c 3; else exec "$SVNLOOK" "$@"; fi"#;
    let repository = open_by(fake_svnlook(&env, "short", script), &svn).expect("a repository");
    let result = repository.export(revision, "f", &mut io::sink());
    assert_source_error(result, &["svnlook gave 3 bytes of 10"]);
}

#[test]
fn a_svnlook_that_hangs_is_ended_with_its_children() {
    let env = TestEnv::new();
    let (svn, revision) = one_file(&env);
    let pid = env.path("pid");
    let script = format!(
        "case $1 in cat|changed) sleep 1000 & echo $! > {}; wait;; *) exec \"$SVNLOOK\" \"$@\";; esac",
        pid.display()
    );
    let repository =
        open_impatiently(fake_svnlook(&env, "hanging", &script), &svn).expect("a repository");
    let is_gone = || {
        let pid = fs::read_to_string(&pid).expect("a pid");
        let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        status.is_err() || status.is_ok_and(|status| status.contains(") Z "))
    };
    assert_source_error(
        repository.export(revision, "f", &mut io::sink()),
        &["nothing was heard of it"],
    );
    wait_until(
        "the end of the export's child",
        Duration::from_secs(20),
        is_gone,
    );
    assert_source_error(
        repository.changes(revision, false),
        &["nothing was heard of it"],
    );
    wait_until(
        "the end of the listing's child",
        Duration::from_secs(20),
        is_gone,
    );
}

#[test]
fn a_svnlook_that_closes_its_outputs_and_stays_is_ended() {
    let env = TestEnv::new();
    let (svn, revision) = one_file(&env);
    let script = r#"[ "$1" = cat ] || exec "$SVNLOOK" "$@"; printf 0123456789; exec >&- 2>&-; exec sleep 1000"#;
    let repository =
        open_impatiently(fake_svnlook(&env, "staying", script), &svn).expect("a repository");
    assert_source_error(
        repository.export(revision, "f", &mut io::sink()),
        &["nothing was heard of it"],
    );
}

#[test]
fn a_flood_on_stderr_neither_blocks_the_export_nor_fills_the_message() {
    let env = TestEnv::new();
    let (svn, revision) = one_file(&env);
    let flood = "head -c 1000000 /dev/zero | tr '\\0' '\\033' >&2;";
    for (name, end, succeeds) in [("well", "exit 0", true), ("ill", "exit 3", false)] {
        let script = format!(
            "[ \"$1\" = cat ] || exec \"$SVNLOOK\" \"$@\"; {flood} \"$SVNLOOK\" \"$@\"; {flood} {end}"
        );
        let repository = open_by(fake_svnlook(&env, name, &script), &svn).expect("a repository");
        let mut content = Vec::new();
        let result = repository.export(revision, "f", &mut content);
        assert_eq!(content, b"0123456789");
        if succeeds {
            assert_eq!(result, Ok(10));
        } else {
            let error = result.expect_err("an error");
            assert!(error.message.contains("exit status: 3"), "{error}");
            assert!(
                error.message.contains("\\x1b") && error.message.len() < 9000,
                "{}",
                error.message.len()
            );
        }
    }
}

#[test]
fn a_locale_that_is_not_installed_is_an_error() {
    let env = TestEnv::new();
    let (svn, _) = one_file(&env);
    let fake = fake_svnlook(&env, "locale", r#"LC_ALL=xx_YY.UTF-8 exec "$SVNLOOK" "$@""#);
    assert_source_error(
        open_by(fake, &svn),
        &["cannot set LC_CTYPE locale", "C.UTF-8", "falsifies names"],
    );
}

#[test]
fn a_missing_or_relative_svnlook_is_named_with_the_way_out() {
    let env = TestEnv::new();
    let (svn, _) = one_file(&env);
    let missing = open_by(env.path("no-svnlook"), &svn);
    assert_source_error(
        missing,
        &[
            "cannot run",
            "no-svnlook",
            "Debian: subversion",
            "`svnlook`",
        ],
    );
    assert_source_error(open_by("svnlook".into(), &svn), &["not absolute"]);
}

#[test]
fn output_of_an_unknown_form_is_refused_and_not_guessed_at() {
    let env = TestEnv::new();
    let (svn, revision) = one_file(&env);
    for (name, output) in [
        ("form", "Z   f\\n"),
        ("cut", "A   f"),
        ("utf8", "A   \\377\\n"),
        ("copy", "A + f\\n"),
    ] {
        let script = format!("[ \"$1\" = changed ] || exec \"$SVNLOOK\" \"$@\"; printf '{output}'");
        let repository = open_by(fake_svnlook(&env, name, &script), &svn).expect("a repository");
        assert_source_error(
            repository.changes(revision, false),
            &["cannot list the changes of revision 1"],
        );
    }
}

#[test]
fn a_repository_that_cannot_be_read_is_an_error_of_the_source() {
    let env = TestEnv::new();
    let (svn, revision) = one_file(&env);
    fs::set_permissions(
        svn.repository.join("db/revs"),
        Permissions::from_mode(0o000),
    )
    .expect("chmod");
    // Root reads everything, so there svnlook is run as nobody.
    let script = r#"exec setpriv --reuid=65534 --regid=65534 --clear-groups "$SVNLOOK" "$@""#;
    let program = if is_root() {
        fake_svnlook(&env, "as-nobody", script)
    } else {
        program("svnlook")
    };
    let result = open_by(program, &svn).and_then(|repository| repository.changes(revision, false));
    fs::set_permissions(
        svn.repository.join("db/revs"),
        Permissions::from_mode(0o755),
    )
    .expect("chmod");
    assert_source_error(result, &["Permission denied", "exit status: 1"]);
}

#[test]
fn a_damaged_uuid_is_not_taken() {
    let env = TestEnv::new();
    let (svn, _) = one_file(&env);
    let file = svn.repository.join("db/uuid");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("chmod");
    fs::write(&file, "\n").expect("damage");
    assert_source_error(read_uuid(&svn.repository), &["UUID", "damaged"]);
    fs::remove_file(&file).expect("damage");
    assert_source_error(
        read_uuid(&svn.repository),
        &["cannot read the repository's UUID", "FSFS"],
    );
}

#[test]
fn a_writer_that_fails_is_an_error_of_the_state_and_not_of_the_source() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let env = TestEnv::new();
    let (svn, revision) = one_file(&env);
    let error = svn
        .open()
        .export(revision, "f", &mut Full)
        .expect_err("an error");
    assert_eq!(error.kind, ErrorKind::State);
    assert!(error.message.contains("cannot write the bytes"), "{error}");
}
