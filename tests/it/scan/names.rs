//! Which names are packages: filters, markers, links and special files, and names that would harm the careless.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use super::Inbox;
use crate::pipeline::{LIMIT, field, holds};
use crate::testenv::wait_until;

/// No test takes so long: what arrives all the same was not waited for.
const LONG: [&str; 2] = ["--settle", "1h"];

fn fifo(path: &Path) {
    let mode = Mode::from_raw_mode(0o644);
    mknodat(CWD, path, FileType::Fifo, mode, 0).expect("mkfifo");
}

#[test]
fn unfinished_and_hidden_files_are_taken_once_they_have_their_names() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    let names = [
        (".app-hidden", "app-hidden"),
        ("app-1.part", "app-1"),
        ("app-2.tmp", "app-2"),
        ("deep/app-3.filepart", "deep/app-3"),
        ("app-4~", "app-4"),
        (".app-5.tar.Ab12Cd", "app-5.tar"),
    ];
    for (unfinished, _) in names {
        inbox.write(unfinished, unfinished);
    }
    inbox.write(".hidden/app-6", "in a hidden directory");
    inbox.write(".nfs0000app", "NFS's own");
    inbox.installs_only(&[]);
    for (unfinished, name) in names {
        fs::rename(inbox.file(unfinished), inbox.file(name)).expect("rename");
        let package = name.rsplit('/').next().expect("a name");
        inbox.arrives_once(package, unfinished);
    }
    fs::rename(inbox.file(".hidden"), inbox.file("shown")).expect("rename");
    inbox.arrives_once("app-6", "in a hidden directory");
    let all = [
        "app-hidden",
        "app-1",
        "app-2",
        "app-3",
        "app-4",
        "app-5.tar",
        "app-6",
    ];
    inbox.installs_only(&all);
}

#[test]
fn only_what_is_included_and_not_excluded_is_taken() {
    let inbox = Inbox::new();
    let args = [
        "--include",
        "*.tar",
        "--include",
        "app-last*",
        "--include",
        "cfg/*.cfg",
        "--include",
        ".app*.z",
        "--exclude",
        "app-old*",
        "--exclude",
        "attic",
    ];
    let _scan = inbox.scan(&args);
    for name in [
        "app-1.tar",
        "app-2.zip",
        "app-old.tar",
        "deep/app-3.tar",
        "deep/app-old-3.tar",
        "attic/app-4.tar",
        "deep/attic/app-5.tar",
        "cfg/app-6.cfg",
        "deep/app-7.cfg",
        "cfg/deep/app-8.cfg",
        // Who asks for it by name gets it.
        ".app-9.z",
    ] {
        inbox.write(name, name);
    }
    for name in ["app-1.tar", "deep/app-3.tar", "cfg/app-6.cfg"] {
        inbox.arrives_once(name.rsplit('/').next().expect("a name"), name);
    }
    // The rule wants `app` in front, and so this one has none.
    let taken = ["app-1.tar", "app-3.tar", "app-6.cfg"];
    inbox.installs_only(&taken);
    let skipped = inbox
        .pipeline
        .sql("SELECT count(*) FROM packages WHERE path = '.app-9.z'");
    assert_eq!(skipped, [Some(1)]);
}

#[test]
fn a_file_with_a_marker_is_taken_at_once_and_none_is_without() {
    let inbox = Inbox::new();
    let args = [&LONG[..], &["--marker", ".done", "--interval", "1"]].concat();
    let _scan = inbox.scan(&args);
    inbox.write("app-1", "one");
    inbox.drop_file("app-2", "two");
    inbox.write("deep/app-3", "three");
    inbox.write("deep/app-3.done", "");
    inbox.arrives_once("app-3", "three");
    inbox.drop_file("app-2.done", "");
    inbox.arrives_once("app-2", "two");
    assert_eq!(inbox.installed(), ["app-3", "app-2"]);
    inbox.write("app-1.done", "");
    inbox.arrives_once("app-1", "one");
    // The marker of what was there before does not count for what is there now.
    inbox.write("app-1", "newer");
    inbox.write("app-4", "four");
    inbox.write("app-4.done", "");
    inbox.arrives_once("app-4", "four");
    inbox.write("app-5.done", "");
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let marked = modified(&inbox.file("app-5.done")).expect("metadata");
    let hidden = inbox.elsewhere();
    // Clocks of file systems are coarse.
    wait_until("the clock goes on", LIMIT, || {
        fs::write(&hidden, "the marker was there before").expect("write");
        modified(&hidden).expect("metadata") > marked
    });
    fs::rename(&hidden, inbox.file("app-5")).expect("rename");
    inbox.write("app-6", "six");
    inbox.write("app-6.done", "");
    inbox.arrives_once("app-6", "six");
    let without = ["app-3", "app-2", "app-1", "app-4", "app-6"];
    assert_eq!(inbox.installed(), without);
    inbox.write("app-1.done", "");
    inbox.arrives("app-1", 2);
    inbox.write("app-5.done", "");
    inbox.arrives_once("app-5", "the marker was there before");
    holds(&inbox.host.file("in/app-1"), b"newer");
    let rows = inbox.pipeline.history();
    assert_eq!(rows.len(), 7, "{rows:?}");
    assert!(
        !field(&rows, "package")
            .iter()
            .any(|name| name.contains(".done"))
    );
}

#[test]
fn a_marker_that_comes_right_behind_its_file_makes_it_ready_at_once() {
    let inbox = Inbox::new();
    let args = [&LONG[..], &["--marker", ".done", "--interval", "1"]].concat();
    let _scan = inbox.scan(&args);
    let names: Vec<String> = (0..30).map(|number| format!("app-{number}")).collect();
    for name in &names {
        inbox.write(name, name);
        inbox.write(format!("{name}.done"), "");
    }
    for name in &names {
        inbox.arrives_once(name, name);
    }
}

#[test]
fn symbolic_links_are_not_followed_and_special_files_never_opened() {
    let inbox = Inbox::new();
    let outside = inbox.elsewhere();
    fs::create_dir(&outside).expect("mkdir");
    fs::write(outside.join("app-outside"), "outside").expect("write");
    // Before the first start, ...
    symlink(outside.join("app-outside"), inbox.file("app-link-1")).expect("symlink");
    symlink(&outside, inbox.file("link-1")).expect("symlink");
    fifo(&inbox.file("app-fifo-1"));
    let _listener = UnixListener::bind(inbox.file("app-socket-1")).expect("bind");
    let _scan = inbox.scan(&["--interval", "1"]);
    // ... in place, ...
    symlink(outside.join("app-outside"), inbox.file("app-link-2")).expect("symlink");
    symlink(&outside, inbox.file("link-2")).expect("symlink");
    symlink(&inbox.dir, inbox.file("upwards")).expect("symlink");
    symlink("/nowhere", inbox.file("app-dangling")).expect("symlink");
    fifo(&inbox.file("app-fifo-2"));
    let _another = UnixListener::bind(inbox.file("app-socket-2")).expect("bind");
    // ... and renamed into place.
    let hidden = inbox.elsewhere();
    symlink(outside.join("app-outside"), &hidden).expect("symlink");
    fs::rename(&hidden, inbox.file("app-link-3")).expect("rename");
    symlink(&outside, &hidden).expect("symlink");
    fs::rename(&hidden, inbox.file("link-3")).expect("rename");
    fifo(&hidden);
    fs::rename(&hidden, inbox.file("app-fifo-3")).expect("rename");
    inbox.installs_only(&[]);
    inbox.write("app-1", "a file");
    inbox.arrives_once("app-1", "a file");
    // A link in the place of a file that was taken, and a file in the place of a link.
    fs::remove_file(inbox.file("app-1")).expect("remove");
    symlink(outside.join("app-outside"), inbox.file("app-1")).expect("symlink");
    inbox.drop_file("app-link-1", "a file now");
    inbox.arrives_once("app-link-1", "a file now");
    inbox.installs_only(&["app-1", "app-link-1"]);
}

#[test]
fn symbolic_links_are_followed_where_the_settings_say_so() {
    let inbox = Inbox::new();
    let outside = inbox.elsewhere();
    fs::create_dir(&outside).expect("mkdir");
    let section = format!(
        "[scan:in]\ndirectory = {}\nsettle = 1\ninterval = 1\nfollow_symlinks = yes",
        inbox.arg()
    );
    inbox.pipeline.settings(&section);
    let _scan = inbox.scan(&[]);
    symlink(&outside, inbox.file("link")).expect("symlink");
    symlink("..", inbox.file("upwards")).expect("symlink");
    fs::write(outside.join("app-1"), "one").expect("write");
    inbox.arrives_once("app-1", "one");
    let file = inbox.elsewhere();
    fs::write(&file, "two").expect("write");
    symlink(&file, inbox.file("app-2")).expect("symlink");
    inbox.arrives_once("app-2", "two");
    fs::write(outside.join("app-3"), "three").expect("write");
    inbox.arrives_once("app-3", "three");
}

#[test]
fn hostile_names_arrive_literally() {
    let inbox = Inbox::at("in", ".*");
    let _scan = inbox.scan(&[]);
    let mut names: Vec<String> = [
        "new\nline",
        "it's",
        "say \"so\"",
        "$(touch pwned)",
        "`touch pwned`",
        "a;touch pwned",
        "-rf",
        "--help",
        "two  blanks",
        " leading",
        "trailing ",
        "tab\tinside",
        "*",
        "?[x]",
        "a\\b",
        "{path}",
        "%s%n",
        "%(host)s",
        "#hash",
        "中文包-1.0.tar",
        "..a",
        "\u{1b}[31mred",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("n".repeat(255));
    names.push("中".repeat(85));
    // Names that begin with a dot are hidden.
    names.retain(|name| !name.starts_with('.'));
    for name in &names {
        inbox.write(name, name);
    }
    let rows = inbox.pipeline.settled(names.len());
    assert!(rows.iter().all(|row| row["state"] == "done"), "{rows:?}");
    names.sort();
    for found in [
        field(&rows, "package"),
        field(&rows, "path"),
        inbox.installed(),
    ] {
        let mut found = found;
        found.sort();
        assert_eq!(found, names);
    }
    assert_eq!(inbox.host.list("in"), names);
    for name in &names {
        holds(&inbox.host.file("in").join(name), name.as_bytes());
    }
    for place in [
        inbox.host.home(),
        inbox.host.file("in"),
        inbox.pipeline.env.home(),
        inbox.dir.clone(),
    ] {
        assert!(!place.join("pwned").exists());
    }
    assert!(!inbox.log().contains('\u{1b}'), "{}", inbox.log());
}

#[test]
fn hostile_directories_arrive_literally() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&[]);
    let directories = [
        "new\nline",
        "$(touch pwned)",
        "-rf",
        "it's",
        " ",
        "中文",
        "a\\b",
        "*",
    ];
    for (index, directory) in directories.iter().enumerate() {
        inbox.write(Path::new(directory).join(format!("app-{index}")), directory);
    }
    let rows = inbox.pipeline.settled(directories.len());
    for (index, directory) in directories.iter().enumerate() {
        let name = format!("app-{index}");
        inbox.arrived_once(&name, directory);
        let row = rows
            .iter()
            .find(|row| row["package"] == name)
            .expect("a row");
        assert_eq!(row["path"], format!("{directory}/{name}"));
    }
}

#[test]
fn a_name_that_is_not_utf_8_is_complained_of_once_and_harms_nobody() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    let complaints = || inbox.log().matches("its name is not UTF-8").count();
    inbox.write(OsStr::from_bytes(b"app-\xff"), "one");
    inbox.write("app-1", "beside it");
    inbox.arrives_once("app-1", "beside it");
    wait_until("it is complained of", LIMIT, || complaints() > 0);
    // The directory is read again and again, because something new comes there.
    for _ in 0..3 {
        inbox.installs_only(&["app-1"]);
    }
    assert_eq!(complaints(), 1, "{}", inbox.log());
    inbox.drop_file(OsStr::from_bytes(b"app-\xff-another"), "two");
    wait_until("so is another one", LIMIT, || complaints() > 1);
    fs::rename(
        inbox.file(OsStr::from_bytes(b"app-\xff")),
        inbox.file("app-2"),
    )
    .expect("rename");
    inbox.arrives_once("app-2", "one");
    // A directory of such a name is not looked into.
    inbox.write(Path::new(OsStr::from_bytes(b"\xff")).join("app-3"), "three");
    inbox.installs_only(&["app-1", "app-2"]);
}

#[test]
fn names_that_differ_in_what_is_not_utf_8_alone_are_complained_of_each() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    let complaints = || inbox.log().matches("its name is not UTF-8").count();
    // Two words in Latin-1, as an old FTP client sends them.
    inbox.write(OsStr::from_bytes(b"app-H\xf6he"), "one");
    wait_until("it is complained of", LIMIT, || complaints() > 0);
    inbox.write(OsStr::from_bytes(b"app-H\xfche"), "two");
    // Two walks, at least.
    inbox.installs_only(&[]);
    inbox.installs_only(&[]);
    inbox.installs_only(&[]);
    assert_eq!(complaints(), 2, "{}", inbox.log());
}

#[test]
fn a_symbolic_link_in_the_place_of_a_directory_leads_nowhere_outside() {
    let inbox = Inbox::new();
    let outside = inbox.elsewhere();
    fs::create_dir(&outside).expect("mkdir");
    fs::write(outside.join("app-secret"), "secret").expect("write");
    let _scan = inbox.scan(&["--interval", "1"]);
    inbox.write("sub/app-1", "one");
    inbox.arrives_once("app-1", "one");
    let away = inbox.elsewhere();
    fs::rename(inbox.file("sub"), &away).expect("rename");
    symlink(&outside, inbox.file("sub")).expect("symlink");
    inbox.installs_only(&["app-1"]);
    fs::write(outside.join("app-another"), "secret, too").expect("write");
    // In the place of the file that was known there, too.
    fs::write(outside.join("app-1"), "secret as well").expect("write");
    inbox.installs_only(&["app-1"]);
    fs::remove_file(inbox.file("sub")).expect("remove");
    fs::rename(&away, inbox.file("sub")).expect("rename");
    inbox.write("sub/app-2", "two");
    inbox.arrives_once("app-2", "two");
    inbox.installs_only(&["app-1", "app-2"]);
}

#[test]
fn a_directory_that_is_swapped_for_a_link_all_the_time_leads_nowhere_outside() {
    let inbox = Inbox::new();
    let outside = inbox.elsewhere();
    fs::create_dir(&outside).expect("mkdir");
    for number in 0..20 {
        fs::write(outside.join(format!("app-secret-{number}")), "secret").expect("write");
    }
    let link = inbox.elsewhere();
    symlink(&outside, &link).expect("symlink");
    fs::create_dir(inbox.file("sub")).expect("mkdir");
    for number in 0..20 {
        inbox.write(format!("sub/app-secret-{number}"), "stock");
    }
    let _scan = inbox.scan(&["--interval", "1", "--settle", "0"]);
    thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            for _ in 0..20_000 {
                renameat_with(CWD, inbox.file("sub"), CWD, &link, RenameFlags::EXCHANGE)
                    .expect("exchange");
            }
        });
        let mut number = 0;
        while !swaps.is_finished() {
            number += 1;
            let name = format!("app-{number}");
            inbox.write(&name, &name);
            inbox.arrives_once(&name, &name);
        }
        swaps.join().expect("the swaps");
    });
    let installed = inbox.installed();
    assert!(
        !installed.iter().any(|name| name.contains("secret")),
        "{installed:?}"
    );
    inbox.write("app-last", "last");
    inbox.arrives_once("app-last", "last");
    let rows = inbox.pipeline.history();
    assert!(
        !field(&rows, "package")
            .iter()
            .any(|name| name.contains("secret")),
        "{rows:?}"
    );
}
