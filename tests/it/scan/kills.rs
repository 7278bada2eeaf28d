//! Scanning is killed, at named points and at random moments: nothing is lost, and nothing comes twice.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auto_dispatcher::domain::artifact::Digester;
use auto_dispatcher::fail_points::ALL;

use super::Inbox;
use crate::pipeline::{LIMIT, Pipeline};
use crate::testenv::wait_until;

/// Runs the binary with these arguments until a fail point kills it.
#[track_caller]
fn dies(inbox: &Inbox, args: &[&str], point: &str) {
    let mut command = inbox.command(args);
    command.env("AUTO_DISPATCHER_FAIL_POINT", point);
    let mut child = command.spawn().expect("the binary");
    let mut status = None;
    wait_until(&format!("{args:?} dies at {point}"), LIMIT, || {
        status = child.try_wait().expect("wait");
        status.is_some()
    });
    let signal = status.and_then(|status| status.signal());
    assert_eq!(signal, Some(9), "{args:?} never came to {point}");
}

#[test]
fn a_kill_at_any_point_of_scanning_loses_nothing_and_doubles_nothing() {
    for point in ALL.iter().filter(|point| point.starts_with("scan.")) {
        let inbox = Inbox::new();
        let args = ["--settle", "0", "--after", "delete"];
        let is_stock = point.starts_with("scan.stock");
        inbox.write("app-before", b"was there");
        if !is_stock {
            inbox.once(&args).exits(0);
            inbox.write("app-new", b"came");
            inbox.write("sub/app-too", b"came, too");
        }
        dies(&inbox, &[&args[..], &["--once"]].concat(), point);
        // What comes while nobody scans.
        inbox.write("app-later", b"came later");
        inbox.once(&args).exits(0);
        let mut expected = vec!["app-later"];
        if !is_stock {
            expected.extend(["app-new", "app-too"]);
        }
        let mut installed = inbox.installed();
        installed.sort();
        expected.sort_unstable();
        assert_eq!(installed, expected, "killed at {point}");
        assert_eq!(inbox.names(), ["app-before"], "killed at {point}");
    }
}

/// One package after the other, each in one of the ways that packages come.
fn writes(dir: &Path, over: &AtomicBool, random: &mut fastrand::Rng) -> HashMap<String, Vec<u8>> {
    let mut written = HashMap::new();
    for number in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("app-{number}");
        let bytes: Vec<u8> = (0..random.usize(1..3000)).map(|_| random.u8(..)).collect();
        let sub = dir.join(["", "one", "two/deep"][random.usize(0..3)]);
        fs::create_dir_all(&sub).expect("mkdir");
        match random.u8(0..4) {
            0 => fs::write(sub.join(&name), &bytes).expect("write"),
            1 => {
                let part = sub.join(format!("{name}.part"));
                fs::write(&part, &bytes).expect("write");
                fs::rename(part, sub.join(&name)).expect("rename");
            }
            2 => {
                // By pieces, with pauses that are shorter than the time to settle.
                use std::io::Write as _;
                let mut file = fs::File::create(sub.join(&name)).expect("create");
                for piece in bytes.chunks(1000) {
                    file.write_all(piece).expect("write");
                    std::thread::sleep(Duration::from_millis(random.u64(0..60)));
                }
            }
            _ => {
                let fresh = dir
                    .parent()
                    .expect("a parent")
                    .join(format!("fresh-{number}"));
                fs::create_dir_all(&fresh).expect("mkdir");
                fs::write(fresh.join(&name), &bytes).expect("write");
                fs::rename(fresh, sub.join(format!("dir-{number}"))).expect("rename");
            }
        }
        written.insert(name, bytes);
        // Nothing new: touched.
        if random.u8(0..4) == 0 {
            let known = format!("app-{}", random.u32(0..=number));
            if let Ok(file) = fs::File::open(dir.join(known)) {
                let _ = file.set_modified(std::time::SystemTime::now());
            }
        }
        std::thread::sleep(Duration::from_millis(random.u64(0..40)));
    }
    written
}

#[test]
fn scanning_that_is_killed_at_random_moments_loses_nothing_and_doubles_nothing() {
    let seed = std::env::var("AD_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(0..1_000_000_000));
    let kills = std::env::var("AD_SCAN_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok());
    let kills: u32 = kills.unwrap_or(25);
    let mut random = fastrand::Rng::with_seed(seed);
    let inbox = Inbox::new();
    inbox.once(&[]).exits(0);
    let over = AtomicBool::new(false);
    let mut others = random.fork();
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| writes(&inbox.dir, &over, &mut others));
        for _ in 0..kills {
            let process = Pipeline::started(inbox.command(&["--settle", "0", "--interval", "1"]));
            std::thread::sleep(Duration::from_millis(random.u64(20..900)));
            process.kill();
        }
        over.store(true, Ordering::SeqCst);
        writer.join().expect("the writer")
    });
    inbox.once(&["--settle", "1"]);
    // What was dispatched when the last one was killed is worked off, too.
    inbox.pipeline.ad(&["worker", "--until-idle"]);
    let mut installed: HashMap<String, Vec<String>> = HashMap::new();
    for (name, sha256) in inbox.ran() {
        installed.entry(name).or_default().push(sha256);
    }
    for (name, bytes) in &written {
        let runs = installed.remove(name).unwrap_or_default();
        // One that was written in pieces while nobody saw it may have been taken before its end: then its whole
        // comes as well, as the last one.
        assert_eq!(
            runs.last(),
            Some(&Digester::of(bytes)),
            "{name}, seed {seed}: {runs:?}"
        );
        let mut once = runs.clone();
        once.sort();
        once.dedup();
        assert_eq!(
            once.len(),
            runs.len(),
            "{name} twice, seed {seed}: {runs:?}"
        );
    }
    assert!(installed.is_empty(), "seed {seed}: {installed:?}");
    eprintln!(
        "scan: {kills} kills, {} packages, seed {seed}",
        written.len()
    );
}
