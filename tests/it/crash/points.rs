//! A kill -9 at every transition: a worker or a hook dies at each named point, a healthy worker goes on, and
//! every promise is kept.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use auto_dispatcher::fail_points::ALL;
use rustix::process::Signal;

use super::check::Wrong;
use super::say;
use super::world::{Hook, Way, World};
use crate::testenv::wait_until;

/// Records a revision and starts no worker.
const RECORDS: Hook = Hook::DiesAt("hook.recorded");

/// Points that a process passes once: those of the hook, and of a worker's beginning and end. Two dead workers
/// would have to be found at once for a second rescue.
const ONCE: [&str; 3] = ["hook.", "worker.", "planner.gap"];

/// Runs the binary to its end, which has to be a kill at this fail point.
#[track_caller]
fn dies(world: &World, args: &[&str], point: &str) {
    let mut child = world.start(args, Some(point));
    let mut status = None;
    wait_until(
        &format!("{args:?} dies at {point}"),
        crate::pipeline::LIMIT,
        || {
            world.let_pauses_pass();
            status = child.try_wait().expect("wait");
            status.is_some()
        },
    );
    let signal = status.and_then(|status| status.signal());
    assert_eq!(
        signal,
        Some(9),
        "{args:?} never came to {point}; if it takes more to come there, add that to this module\n{}",
        world.log()
    );
}

/// Three packages in a revision that a hook recorded, and, `gaps` times, one that no hook recorded below another.
fn commits(world: &mut World, gaps: usize) {
    let large = vec![b'x'; 300_000];
    let three = vec![
        (world.name("a", "bad"), b"bad".to_vec()),
        (world.name("a", "ok"), large),
        (world.name("a", "ok"), Vec::new()),
    ];
    world.commit(&RECORDS, three);
    for _ in 0..gaps {
        let lost = (world.name("a", "ok"), b"lost".to_vec());
        world.commit(&Hook::Missing, vec![lost]);
        let recorded = (world.name("a", "file"), b"recorded".to_vec());
        world.commit(&RECORDS, vec![recorded]);
    }
}

/// Small packages without an install, which travel together, before and behind one that does not.
fn commits_groups(world: &mut World) {
    for kinds in [&["file"; 5][..], &["ok"], &["file"; 4]] {
        let small =
            |(number, kind): (usize, &&str)| (world.name("a", kind), vec![b'0'; number * 700]);
        let files = kinds.iter().enumerate().map(small).collect();
        world.commit(&RECORDS, files);
    }
}

/// The hook of a new revision dies at `point`; it may not even have recorded it.
fn hook_dies(world: &mut World, point: &str) {
    let file = (world.name("a", "ok"), b"x".to_vec());
    let revision = world.commit(&Hook::Missing, vec![file]).to_string();
    dies(
        world,
        &["hook", world.pipeline.repository(), &revision],
        point,
    );
    commits(world, 0);
}

/// What is committed before each kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commits {
    Installs,
    Groups,
}

/// One kill at `point`, when it is passed for the `count`th time.
fn kill_at(world: &mut World, what: Commits, point: &str, count: usize) {
    let counted = format!("{point}:{count}");
    // A worker that a hook started would come before ours.
    world.end_all(Signal::TERM);
    if point.starts_with("hook.") {
        hook_dies(world, &counted);
    } else {
        let gaps = if point.starts_with("planner.") {
            count
        } else {
            0
        };
        if what == Commits::Groups {
            commits_groups(world);
        } else {
            commits(world, gaps);
        }
        if point == "worker.caught_up" {
            let unnamed = (world.name("a", "ok"), b"no hook came".to_vec());
            world.commit(&Hook::Missing, vec![unnamed]);
        }
        if point.starts_with("worker.resc") {
            dies(world, &["worker", "--until-idle"], "lane.claimed");
        }
        dies(world, &["worker", "--until-idle"], &counted);
    }
    eprintln!("killed at {counted}");
    world.work();
    let mut complaints = world.complaints();
    // What lies about may lie until the lane has its next work.
    complaints.retain(|complaint| complaint.wrong != Wrong::Leftover);
    let complaints: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert!(
        complaints.is_empty(),
        "killed at {counted}:\n{}\n{}",
        complaints.join("\n"),
        world.log()
    );
}

/// Kills at every one of these points; says how many kills there were.
fn kill_at_each(way: Way, what: Commits, is_asked: impl Fn(&str) -> bool) -> usize {
    let mut world = World::new(&[way]);
    let first = (world.name("a", "ok"), b"the ledger begins".to_vec());
    world.commit(&RECORDS, vec![first]);
    let mut kills = 0;
    for point in ALL.iter().filter(|point| is_asked(point)) {
        let most = if ONCE.iter().any(|once| point.starts_with(once)) {
            1
        } else {
            2
        };
        for count in 1..=most {
            kill_at(&mut world, what, point, count);
            kills += 1;
        }
    }
    world.finish();
    world.kept_every_promise(&format!("after {kills} kills over {way:?}"));
    say(&format!("{kills} kills at fail points over {way:?}"));
    kills
}

#[test]
fn a_kill_at_any_point_breaks_no_promise_over_ssh() {
    // Those of drop directories, of notes, of notices and of groups are tried where these are.
    let elsewhere = ["scan.", "incoming.", "notice.", "group."];
    let is_elsewhere = |point: &str| elsewhere.iter().any(|home| point.starts_with(home));
    let kills = kill_at_each(Way::Ssh, Commits::Installs, |point| !is_elsewhere(point));
    assert!(kills > ALL.len(), "{kills}");
}

#[test]
fn a_kill_at_any_point_of_a_group_breaks_no_promise() {
    let of_groups = ["group.", "lane.", "spool.purging"];
    let kills = kill_at_each(Way::Ssh, Commits::Groups, |point| {
        of_groups.iter().any(|home| point.starts_with(home))
    });
    assert!(kills > 15, "{kills}");
}

#[test]
fn a_kill_at_any_point_of_an_attempt_breaks_no_promise_over_ftp() {
    let kills = kill_at_each(Way::Ftp, Commits::Installs, |point| {
        point.starts_with("attempt.")
    });
    assert!(kills > 10, "{kills}");
}

/// The names that the code gives to [`auto_dispatcher::fail_points::hit`].
fn names_in_the_code(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            names.extend(names_in_the_code(&path));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let calls = text.split("fail_points::hit(\"").skip(1);
        names.extend(calls.filter_map(|call| call.split('"').next().map(str::to_owned)));
    }
    names
}

#[test]
fn every_fail_point_is_in_the_code_once_and_in_the_list() {
    let mut named = names_in_the_code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    named.sort_unstable();
    let mut listed: Vec<String> = ALL.iter().map(ToString::to_string).collect();
    listed.sort_unstable();
    assert_eq!(named, listed);
}
