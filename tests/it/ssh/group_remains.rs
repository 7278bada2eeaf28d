//! Many small files at once, where attempts are broken off: what one leaves behind harms neither the next one nor us.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use auto_dispatcher::domain::fault::Fault;
use auto_dispatcher::transport::{Brought, Group, Grouped, Milestone, Session};

use super::groups::{Files, TEMPORARY, bring, connected, names};
use crate::servers::ssh::SshServer;
use crate::testenv::wait_until;

fn group<'a>(dir: &'a str, temporary: &'a str, files: &'a [Grouped<'a>]) -> Group<'a> {
    Group {
        dir,
        temporary,
        mode: None,
        files,
    }
}

/// Processes that work in a directory of this name that is no longer there.
fn haunting(temporary: &str) -> Vec<PathBuf> {
    let is_gone = format!("{temporary} (deleted)");
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let haunts = |process: &PathBuf| {
        fs::read_link(process.join("cwd"))
            .is_ok_and(|cwd| cwd.to_string_lossy().ends_with(&is_gone))
    };
    processes
        .map(|process| process.path())
        .filter(haunts)
        .collect()
}

#[test]
fn who_is_asked_may_say_no_at_every_milestone() {
    let server = SshServer::sshd("");
    let files = Files::new(4);
    let (mut session, dir, local) = connected(&server);
    let all = files.grouped();
    let is_at = [
        |milestone: &Milestone<'_>| matches!(milestone, Milestone::Asked(_)),
        |milestone: &Milestone<'_>| matches!(milestone, Milestone::Begun(2)),
        |milestone: &Milestone<'_>| matches!(milestone, Milestone::Sent),
        |milestone: &Milestone<'_>| matches!(milestone, Milestone::Verified(_)),
    ];
    for (number, is_at) in is_at.into_iter().enumerate() {
        let temporary = format!(".ad-0123456789abcdef-{number}-group.part");
        let brought = session.bring_group(&group(&dir, &temporary, &all), &mut |milestone| {
            if is_at(&milestone) {
                return Err(Fault::ours("no"));
            }
            Ok(())
        });
        assert_eq!(brought, Err(Fault::ours("no")));
    }
    // And who may not go is left out.
    let brought = session.bring_group(&group(&dir, TEMPORARY, &all), &mut |milestone| {
        if let Milestone::Asked(goes) = milestone {
            goes[1] = false;
        }
        Ok(())
    });
    let which = vec![true, false, true, true];
    let published = Brought::Published {
        which,
        is_tidy: true,
    };
    assert_eq!(brought, Ok(published));
    assert_eq!(files.arrived(&local), [true, false, true, true]);
    wait_until("nothing else is there", Duration::from_mins(1), || {
        names(&local) == 3
    });
}

/// An attempt that tells when the host has verified, and waits there for what is to become of it.
fn halted(
    session: &mut dyn Session,
    group: &Group<'_>,
    verified: &Sender<()>,
    verdict: &Receiver<Result<(), Fault>>,
) -> Result<Brought, Fault> {
    session.bring_group(group, &mut |milestone| {
        if !matches!(milestone, Milestone::Verified(_)) {
            return Ok(());
        }
        verified.send(()).expect("the test is there");
        verdict
            .recv_timeout(Duration::from_mins(2))
            .expect("the test is there")
    })
}

#[test]
fn what_is_left_of_an_earlier_attempt_takes_nothing_away_from_the_next_one() {
    const NAME: &str = ".ad-0123456789abcdef-70-group.part";
    let server = SshServer::sshd("");
    let files = Files::new(4);
    let (mut earlier, dir, local) = connected(&server);
    let (mut later, _, _) = connected(&server);
    let all = files.grouped();
    let group = group(&dir, NAME, &all);
    let minute = Duration::from_mins(1);
    let (earlier_verified, hears_earlier) = channel();
    let (later_verified, hears_later) = channel();
    let (to_earlier, earlier_verdict) = channel();
    let (to_later, later_verdict) = channel();
    let (earlier_brought, later_brought) = thread::scope(|scope| {
        let (earlier, later, group) = (&mut earlier, &mut later, &group);
        let earlier =
            scope.spawn(move || halted(&mut **earlier, group, &earlier_verified, &earlier_verdict));
        hears_earlier.recv_timeout(minute).expect("it has verified");
        let later =
            scope.spawn(move || halted(&mut **later, group, &later_verified, &later_verdict));
        hears_later.recv_timeout(minute).expect("it has verified");
        let haunting = haunting(NAME);
        assert!(!haunting.is_empty(), "both are at work");
        to_earlier.send(Err(Fault::ours("no"))).expect("it waits");
        let earlier = earlier.join().expect("no panic");
        wait_until("the earlier one is over", minute, || {
            !haunting.iter().any(|process| process.exists())
        });
        to_later.send(Ok(())).expect("it waits");
        (earlier, later.join().expect("no panic"))
    });
    assert_eq!(earlier_brought, Err(Fault::ours("no")));
    let published = Brought::Published {
        which: vec![true; 4],
        is_tidy: true,
    };
    assert_eq!(later_brought, Ok(published));
    assert_eq!(files.arrived(&local), [true; 4]);
    assert_eq!(names(&local), 4);
}

#[test]
fn what_vanishes_before_it_is_renamed_is_not_published() {
    let server = SshServer::sshd("");
    let files = Files::new(4);
    let (mut session, dir, local) = connected(&server);
    let all = files.grouped();
    let unpacked = local.join(TEMPORARY);
    let brought = session.bring_group(&group(&dir, TEMPORARY, &all), &mut |milestone| {
        if matches!(milestone, Milestone::Verified(_)) {
            fs::remove_dir_all(&unpacked).expect("it is there");
        }
        Ok(())
    });
    match brought {
        Ok(Brought::Refused(why)) => assert!(why.contains("has been removed"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(names(&local), 0);
    assert_eq!(bring(&mut *session, &dir, &all, None).which(), [true; 4]);
}

#[test]
fn what_an_earlier_attempt_left_is_replaced_and_a_link_is_not_followed() {
    let server = SshServer::sshd("");
    let files = Files::new(3);
    let (mut session, dir, local) = connected(&server);
    fs::create_dir(local.join(TEMPORARY)).expect("mkdir");
    fs::write(local.join(TEMPORARY).join("f-9"), "stale").expect("write");
    assert_eq!(
        bring(&mut *session, &dir, &files.grouped(), None).which(),
        [true; 3]
    );
    assert_eq!(names(&local), 3);
    let elsewhere = server.home_on_disk().join("elsewhere");
    fs::create_dir(&elsewhere).expect("mkdir");
    fs::write(elsewhere.join("kept"), "kept").expect("write");
    symlink(&elsewhere, local.join(TEMPORARY)).expect("symlink");
    assert_eq!(
        bring(&mut *session, &dir, &files.grouped(), None).which(),
        [true; 3]
    );
    assert_eq!((names(&local), names(&elsewhere)), (3, 1));
    symlink(&elsewhere, local.join(TEMPORARY)).expect("symlink");
    session.tidy_group(&dir, TEMPORARY).expect("tidy");
    assert_eq!((names(&local), names(&elsewhere)), (3, 1));
    session.tidy_group(&dir, TEMPORARY).expect("tidy again");
}
