//! Real writers: what each of them puts into the drop directory arrives once, with its final bytes.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use auto_dispatcher::domain::artifact::Digester;
use rustix::process::Signal;
use serde_json::json;

use super::{Inbox, bytes};
use crate::pipeline::{LIMIT, signal};
use crate::servers::pyftpdlib::{LOGIN, PASSWORD, Pyftpdlib};
use crate::testenv::{Ran, wait_until};

/// No test takes so long: what arrives all the same was not waited for.
const LONG: [&str; 2] = ["--settle", "1h"];

/// An FTP client that uploads what comes through its stdin, under the first name, and renames that to the second.
const CLIENT: &str = "
import ftplib, os, sys
port, login, password, *names = sys.argv[1:]
ftp = ftplib.FTP()
ftp.connect('127.0.0.1', int(port))
ftp.login(login, password)
ftp.storbinary('STOR ' + names[0], os.fdopen(0, 'rb', 0))
if len(names) > 1:
    ftp.rename(*names)
ftp.quit()
";

fn client(server: &Pyftpdlib, names: &[&str]) -> Child {
    Command::new("/usr/bin/python3")
        .args(["-I", "-c", CLIENT, &server.port.to_string()])
        .args([LOGIN, PASSWORD])
        .args(names)
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3 (Debian package python3)")
}

#[track_caller]
fn uploaded(mut client: Child) {
    drop(client.stdin.take());
    assert!(client.wait().expect("wait").success());
}

#[track_caller]
fn rsync(options: &[&str], from: &Path, to: &Path) {
    let mut command = Command::new("rsync");
    command
        .args(options)
        .arg(format!("{}/", from.display()))
        .arg(to);
    // (Debian package rsync)
    Ran::of(&mut command).exits(0);
}

fn append(path: &Path, piece: &[u8]) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("open");
    file.write_all(piece).expect("write");
}

/// Tells a writer to stop, also where the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_file_that_grows_by_pieces_arrives_whole_and_holds_up_no_other() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--settle", "5"]);
    let stop = AtomicBool::new(false);
    let whole = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let begun = Instant::now();
            let mut whole = Vec::new();
            // Closed after each piece, as by a shell's >>: nothing but its changes shows that it is not whole.
            while !stop.load(Ordering::SeqCst) && begun.elapsed() < LIMIT {
                let piece = bytes(1000 + whole.len() % 77);
                append(&inbox.file("app-grows"), &piece);
                whole.extend(piece);
                thread::sleep(Duration::from_millis(100));
            }
            whole
        });
        let stop = Stop(&stop);
        wait_until("the file grows", LIMIT, || inbox.file("app-grows").exists());
        inbox.write("app-second", "dropped meanwhile");
        inbox.arrives_once("app-second", "dropped meanwhile");
        assert_eq!(inbox.installed(), ["app-second"]);
        drop(stop);
        writer.join().expect("the writer")
    });
    inbox.arrives_once("app-grows", &whole);
    inbox.installs_only(&["app-grows", "app-second"]);
}

#[test]
fn a_writer_who_pauses_for_longer_than_the_settle_time_is_waited_for() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    let whole = bytes(50_000);
    let mut file = File::create(inbox.file("app-held")).expect("create");
    file.write_all(&whole[..20_000]).expect("write");
    // What is written later settles later, and so twice the settle time is over.
    inbox.installs_only(&[]);
    inbox.installs_only(&[]);
    file.write_all(&whole[20_000..]).expect("write");
    drop(file);
    inbox.arrives_once("app-held", &whole);
    inbox.installs_only(&["app-held"]);
}

#[test]
fn what_is_written_while_the_file_is_waited_for_counts_though_nothing_follows_it() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&[]);
    let mut file = File::create(inbox.file("app-held")).expect("create");
    file.write_all(b"all there is").expect("write");
    inbox.installs_only(&[]);
    // It is closed as it was: only its closing makes it ready.
    drop(file);
    inbox.arrives_once("app-held", "all there is");
}

#[test]
fn a_file_that_is_overwritten_in_place_is_a_new_package_and_with_equal_content_it_is_none() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1"]);
    let versions = ["one", "two", "longer than before", "one"];
    for (index, content) in versions.into_iter().enumerate() {
        inbox.write("app", content);
        inbox.arrives("app", index + 1);
        inbox.write("app", content);
        inbox.installs_only(&vec!["app"; index + 1]);
    }
    let mut ran = inbox.ran();
    ran.retain(|(name, _)| name == "app");
    let digests = versions.map(|content| ("app".to_owned(), Digester::of(content.as_bytes())));
    assert_eq!(ran, digests);
}

#[test]
fn a_file_that_is_renamed_into_place_is_taken_at_once() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&LONG);
    inbox.drop_file("app-1", "from elsewhere");
    inbox.arrives_once("app-1", "from elsewhere");
    inbox.write(".app-2", "hidden beside it");
    fs::rename(inbox.file(".app-2"), inbox.file("app-2")).expect("rename");
    inbox.arrives_once("app-2", "hidden beside it");
    inbox.drop_file("app-1", "instead of what was there");
    inbox.arrives("app-1", 2);
    // Equal content is nothing new, in whatever file it comes.
    inbox.drop_file("app-1", "instead of what was there");
    inbox.drop_file("app-3", "at last");
    inbox.arrives_once("app-3", "at last");
    assert_eq!(inbox.installed(), ["app-1", "app-2", "app-1", "app-3"]);
}

#[test]
fn what_rsync_renames_into_place_is_taken_at_once() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&LONG);
    let from = inbox.elsewhere();
    fs::create_dir(&from).expect("mkdir");
    let first = bytes(300_000);
    fs::write(from.join("app-1"), &first).expect("write");
    rsync(&["-a"], &from, &inbox.dir);
    inbox.arrives_once("app-1", &first);
    // Nothing to do for rsync, and then a new version of one file alone.
    rsync(&["-a"], &from, &inbox.dir);
    fs::write(from.join("app-2"), "another").expect("write");
    rsync(&["-a"], &from, &inbox.dir);
    inbox.arrives_once("app-2", "another");
    fs::write(from.join("app-1"), "a new version").expect("write");
    rsync(&["-a"], &from, &inbox.dir);
    inbox.arrives("app-1", 2);
    assert_eq!(inbox.installed(), ["app-1", "app-2", "app-1"]);
}

#[test]
fn what_rsync_writes_in_place_slowly_arrives_once_from_every_directory() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&[]);
    let from = inbox.elsewhere();
    fs::create_dir_all(from.join("deep/down")).expect("mkdir");
    let large = bytes(2_000_000);
    fs::write(from.join("app-large"), &large).expect("write");
    fs::write(from.join("deep/down/app-small"), "small").expect("write");
    rsync(&["-a", "--inplace", "--bwlimit=800"], &from, &inbox.dir);
    inbox.arrives_once("app-large", &large);
    inbox.arrives_once("app-small", "small");
    // Its times are set behind its back.
    rsync(&["-a", "--inplace", "--ignore-times"], &from, &inbox.dir);
    inbox.installs_only(&["app-large", "app-small"]);
    fs::write(from.join("app-large"), &large[..1_500_000]).expect("write");
    rsync(&["-a", "--inplace"], &from, &inbox.dir);
    inbox.arrives("app-large", 2);
    inbox.installs_only(&["app-large", "app-large", "app-small"]);
}

#[test]
fn what_an_ftp_server_writes_in_place_is_taken_when_the_upload_is_over() {
    let inbox = Inbox::at("ftp-root", "app");
    let server = Pyftpdlib::start(inbox.pipeline.env.root(), None, json!({}));
    assert_eq!(server.home(), inbox.dir);
    let _scan = inbox.scan(&["--interval", "1"]);
    let whole = bytes(400_000);
    let mut client = client(&server, &["app-slow.tar"]);
    let mut pipe = client.stdin.take().expect("stdin");
    pipe.write_all(&whole[..250_000]).expect("write");
    let file = inbox.file("app-slow.tar");
    wait_until("a part was uploaded", LIMIT, || {
        fs::metadata(&file).is_ok_and(|metadata| metadata.len() > 100_000)
    });
    // The client pauses for longer than the settle time.
    inbox.installs_only(&[]);
    pipe.write_all(&whole[250_000..]).expect("write");
    drop(pipe);
    uploaded(client);
    inbox.arrives_once("app-slow.tar", &whole);
    inbox.installs_only(&["app-slow.tar"]);
}

#[test]
fn what_an_ftp_client_uploads_under_a_temporary_name_is_taken_at_once_under_its_own() {
    let inbox = Inbox::at("ftp-root", "app");
    let server = Pyftpdlib::start(inbox.pipeline.env.root(), None, json!({}));
    let _scan = inbox.scan(&LONG);
    let whole = bytes(200_000);
    for (temporary, name) in [
        ("app-1.tar.filepart", "app-1.tar"),
        (".app-2.tar", "app-2.tar"),
    ] {
        let mut client = client(&server, &[temporary, name]);
        let mut pipe = client.stdin.take().expect("stdin");
        pipe.write_all(&whole).expect("write");
        drop(pipe);
        uploaded(client);
        inbox.arrives_once(name, &whole);
    }
    let renames = server.commands();
    let renames = renames.iter().filter(|line| line.starts_with("RNTO"));
    assert_eq!(renames.count(), 2);
    assert_eq!(inbox.installed(), ["app-1.tar", "app-2.tar"]);
}

#[test]
fn other_content_of_the_same_size_with_the_same_times_is_a_new_package() {
    let inbox = Inbox::new();
    inbox.write("app-old", "0123");
    let _scan = inbox.scan(&["--interval", "1"]);
    inbox.stock_is_read();
    inbox.write("app-1", "abcd");
    inbox.arrives_once("app-1", "abcd");
    for (name, content) in [("app-old", "3210"), ("app-1", "dcba")] {
        let path = inbox.file(name);
        let was = fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .expect("metadata");
        let mut file = OpenOptions::new().write(true).open(&path).expect("open");
        file.write_all(content.as_bytes()).expect("write");
        file.set_modified(was).expect("utimes");
    }
    inbox.arrives_once("app-old", "3210");
    inbox.arrives("app-1", 2);
    inbox.installs_only(&["app-1", "app-1", "app-old"]);
}

#[test]
fn what_cp_and_mv_bring_from_another_file_system_with_its_old_times_arrives_once() {
    let inbox = Inbox::new();
    // Older than the first start by far.
    let from = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let whole = bytes(3_000_000);
    for name in ["app-1", "app-2"] {
        let path = from.path().join(name);
        fs::write(&path, &whole).expect("write");
        Ran::of(Command::new("touch").args(["-d", "2001-02-03"]).arg(path)).exits(0);
    }
    let _scan = inbox.scan(&["--interval", "1"]);
    for (program, name) in [(&["cp", "-p"][..], "app-1"), (&["mv"], "app-2")] {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(from.path().join(name));
        Ran::of(command.arg(&inbox.dir)).exits(0);
    }
    inbox.arrives_once("app-1", &whole);
    inbox.arrives_once("app-2", &whole);
    inbox.installs_only(&["app-1", "app-2"]);
}

#[test]
fn files_in_directories_that_are_made_at_the_same_moment_are_seen_without_a_walk() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1h"]);
    let mut names = Vec::new();
    for number in 0..40 {
        let name = format!("app-{number}");
        inbox.write(
            format!("{}/{}/{name}", number % 7, "deep/".repeat(number % 5)),
            &name,
        );
        names.push(name);
    }
    for name in &names {
        inbox.arrives_once(name, name);
    }
    inbox.installs_only(&names.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn what_is_dropped_first_is_installed_first() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&[]);
    let modified = |name: &str| {
        let metadata = fs::metadata(inbox.file(name));
        metadata
            .and_then(|metadata| metadata.modified())
            .expect("metadata")
    };
    let names = ["app-5", "app-2", "app-9", "app-1", "app-7"];
    let mut last = None;
    for name in names {
        // Clocks of file systems are coarse.
        wait_until("the clock goes on", LIMIT, || {
            inbox.write(name, name);
            Some(modified(name)) > last
        });
        last = Some(modified(name));
    }
    inbox.arrives("app-7", 1);
    assert_eq!(inbox.installed(), names);
}

#[test]
fn what_goes_before_it_has_settled_was_never_there() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1", "--settle", "4"]);
    inbox.write("app-1", "a slip");
    inbox.write("deep/app-2", "another one");
    fs::remove_file(inbox.file("app-1")).expect("remove");
    fs::remove_dir_all(inbox.file("deep")).expect("remove");
    inbox.installs_only(&[]);
    inbox.write("app-1", "meant");
    inbox.arrives_once("app-1", "meant");
    assert!(!inbox.log().contains("cannot be read"), "{}", inbox.log());
}

#[test]
fn what_comes_in_a_flood_that_the_kernel_cannot_tell_of_arrives() {
    let inbox = Inbox::new();
    let _scan = inbox.scan(&["--interval", "1h"]);
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("/proc");
    let most: usize = most.trim().parse().expect("a number");
    let scans = inbox.pipeline.workers();
    for &pid in &scans {
        signal(pid, Signal::STOP);
    }
    fs::create_dir(inbox.file("flood")).expect("mkdir");
    // Each is told of twice: it is made, and it is closed.
    for number in 0..most {
        File::create(inbox.file(format!(".{number}"))).expect("create");
    }
    inbox.write("app-1", "one");
    inbox.write("flood/app-2", "two");
    for &pid in &scans {
        signal(pid, Signal::CONT);
    }
    inbox.arrives_once("app-1", "one");
    inbox.arrives_once("app-2", "two");
    let log = inbox.log();
    assert!(
        log.contains("more happened than the kernel could tell"),
        "{log}"
    );
    inbox.installs_only(&["app-1", "app-2"]);
}
