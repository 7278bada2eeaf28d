//! What a committer with a shell on the machine can do to the service, its secrets and the others: nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use auto_dispatcher::domain::incoming::Note;

use super::{ALICE, MALLORY, Site, run};
use crate::pipeline::LIMIT;
use crate::servers::svn::program;
use crate::testenv::{Ran, needs_root, wait_until};

/// The service, once it has made its directory.
fn served() -> (Site, crate::pipeline::Process) {
    let site = Site::new();
    let service = site.serve();
    site.serves();
    (site, service)
}

#[test]
fn nobody_else_reads_rules_journal_notes_or_the_memory_of_the_service() {
    needs_root!();
    let (site, service) = served();
    site.commit("alice", "app-1", "1").exits(0);
    site.delivered(1);
    let rules = site.pipeline.rules_file();
    let pid = service.pid();
    for place in [
        rules.to_str().expect("UTF-8").to_owned(),
        site.path("state/journal.sqlite").display().to_string(),
        site.path("dispatcher/key").display().to_string(),
        format!("/proc/{pid}/mem"),
        format!("/proc/{pid}/environ"),
        format!("/proc/{pid}/fd/0"),
    ] {
        for uid in [ALICE, MALLORY] {
            let ran = run(uid, &["/bin/cat", &place]);
            assert!(ran.code != Some(0) && ran.stdout.is_empty(), "{ran}");
        }
    }
    let incoming = site.incoming();
    let ran = run(MALLORY, &["/bin/ls", incoming.to_str().expect("UTF-8")]);
    assert!(ran.stderr.contains("Permission denied"), "{ran}");
    for args in [
        &["status"][..],
        &["history"],
        &["explain", "app-1"],
        &["worker", "--until-idle"],
    ] {
        let mut command = site.command(MALLORY, args);
        let ran = Ran::of(&mut command);
        assert!(ran.code != Some(0), "{ran}");
        assert!(!format!("{ran}").contains("tHeSeCrEt"), "{ran}");
    }
}

#[test]
fn nothing_is_forged_by_a_note() {
    needs_root!();
    let site = Site::new();
    site.work();
    site.commit("alice", "app-1", "1").exits(0);
    site.work();
    site.delivered(1);
    // A repository of her own, with a package in it.
    let own = site.path("mallory");
    fs::create_dir(&own).expect("mkdir");
    std::os::unix::fs::chown(&own, Some(MALLORY), None).expect("chown");
    let repository = own.join("repository");
    let shown = repository.to_str().expect("UTF-8");
    let svnadmin = program("svnadmin");
    run(
        MALLORY,
        &[svnadmin.to_str().expect("UTF-8"), "create", shown],
    )
    .exits(0);
    let file = site.pipeline.env.write("evil", "evil");
    let mut put = Command::new(program("svnmucc"));
    put.args(["-m", "x", "-U", &format!("file://{shown}"), "put"])
        .arg(file)
        .arg("app-evil");
    Ran::of(&mut put).exits(0);
    let uuid = fs::read_to_string(repository.join("db/uuid")).expect("uuid");
    let uuid = uuid.lines().next().expect("a line").to_owned();
    let true_one = site.note(1);
    let link = own.join("link");
    std::os::unix::fs::symlink(&site.pipeline.svn.repository, &link).expect("symlink");
    let forged = [
        Note {
            repository: shown.to_owned(),
            uuid: uuid.clone(),
            revision: 1,
        },
        Note {
            uuid,
            ..true_one.clone()
        },
        Note {
            revision: 0,
            ..true_one.clone()
        },
        Note {
            repository: link.to_str().expect("UTF-8").to_owned(),
            ..true_one.clone()
        },
    ];
    let mut texts: Vec<String> = forged
        .iter()
        .map(|note| note.text().trim_end().to_owned())
        .collect();
    let whole = true_one.text();
    texts.push(
        whole
            .trim_end()
            .replace('}', ",\"rules_file\":\"/tmp/rules\"}"),
    );
    texts.push("\u{1b}[2J".to_owned());
    for (number, text) in texts.iter().enumerate() {
        site.leave(MALLORY, &format!("forged-{number}"), text)
            .exits(0);
        site.work();
        assert!(site.notes().is_empty(), "{text}");
        let told = site.log().matches("was refused and removed").count();
        assert_eq!(told, number + 1, "{text}\n{}", site.log());
    }
    let log = site.log();
    assert!(log.contains(&format!("one of uid {MALLORY}: ")), "{log}");
    assert!(!log.contains('\u{1b}'), "{log:?}");
    site.commit("alice", "app-2", "2").exits(0);
    site.work();
    let rows = site.delivered(2);
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["app-1", "app-2"]);
}

#[test]
fn nobody_suppresses_or_replaces_the_note_of_another() {
    needs_root!();
    let site = Site::new();
    site.work();
    site.commit("alice", "app-1", "1").exits(0);
    let notes = site.notes();
    assert_eq!(notes.len(), 1);
    // Even who knows its name does nothing to it.
    let path = site.incoming().join(&notes[0]);
    let path = path.to_str().expect("UTF-8");
    let incoming = site.incoming();
    let incoming = incoming.to_str().expect("UTF-8");
    for words in [
        &["/bin/rm", "-f", path][..],
        &["/bin/mv", path, "/tmp/stolen-note"],
        &["/bin/mv", "-f", path, &format!("{incoming}/elsewhere")],
        &["/bin/sh", "-c", "echo >\"$0\"", path],
        &["/bin/sh", "-c", "ln -sf /dev/null \"$0\"", path],
        &["/bin/chmod", "777", path],
        &["/bin/chmod", "777", incoming],
        &["/bin/mv", incoming, &format!("{incoming}.old")],
        &["/bin/rm", "-rf", incoming],
    ] {
        run(MALLORY, words);
        assert_eq!(site.notes(), notes, "after {words:?}");
        assert_eq!(
            fs::read_to_string(path).expect("read"),
            site.note(1).text(),
            "after {words:?}"
        );
    }
    site.work();
    let rows = site.delivered(1);
    assert_eq!(rows, [("app-1".to_owned(), "done".to_owned())]);
}

#[test]
fn junk_is_cleared_away_while_the_notes_of_others_pass_and_the_log_stays_short() {
    needs_root!();
    let (site, service) = served();
    let incoming = site.incoming();
    let shown = incoming.to_str().expect("UTF-8");
    let script =
        "cd \"$0\" && i=0 && while [ $i -lt 3000 ]; do echo junk >junk-$i; i=$((i+1)); done
        head -c 50000000 /dev/zero >large; ln -s /etc/shadow link; mkfifo fifo; mkdir empty
        until mkdir -p full/of/it 2>/dev/null; do :; done";
    let mut junk = Command::new("/bin/sh");
    junk.args(["-c", script, shown]);
    let mut junk = super::by(junk, MALLORY).spawn().expect("a shell");
    site.commit("alice", "app-1", "1").exits(0);
    site.delivered(1);
    assert!(junk.wait().expect("wait").success());
    wait_until("only what cannot be removed is left", LIMIT, || {
        site.notes() == ["full"]
    });
    site.commit("alice", "app-2", "2").exits(0);
    site.delivered(2);
    let told = site.log().matches("refused and removed").count();
    assert!((1..20).contains(&told), "{told} lines");
    drop(service);
}

#[test]
fn a_full_file_system_of_notes_loses_no_revision() {
    needs_root!();
    let (site, disk) = Site::on_a_small_disk();
    site.work();
    site.commit("alice", "app-1", "1").exits(0);
    site.work();
    site.delivered(1);
    let fill = format!("cat /dev/zero >{}/filler; true", site.incoming().display());
    run(MALLORY, &["/bin/sh", "-c", &fill]);
    let ran = site.commit("alice", "app-2", "2");
    assert!(ran.stdout.contains("auto-dispatcher: r2:"), "{ran}");
    assert!(ran.stdout.contains("No space"), "{ran}");
    let service = site.serve();
    let rows = site.delivered(2);
    assert_eq!(rows[1], ("app-2".to_owned(), "done".to_owned()));
    wait_until("the filler is gone", LIMIT, || site.notes().is_empty());
    drop(service);
    drop(disk);
}

#[test]
fn a_fifo_in_one_repository_hangs_neither_the_others_nor_the_end_of_the_service() {
    needs_root!();
    let (site, service) = served();
    let other = site.path("other");
    let shown = other.to_str().expect("UTF-8");
    let mut create = Command::new(program("svnadmin"));
    Ran::of(create.args(["create", shown])).exits(0);
    let uuid = fs::read_to_string(other.join("db/uuid")).expect("uuid");
    let uuid = uuid.lines().next().expect("a line").to_owned();
    for name in ["current", "uuid"] {
        let file = other.join("db").join(name);
        let kept = file.with_extension("kept");
        fs::rename(&file, &kept).expect("rename");
        let mut fifo = Command::new("mkfifo");
        Ran::of(fifo.args(["-m", "666"]).arg(&file)).exits(0);
        let note = Note {
            repository: shown.to_owned(),
            uuid: uuid.clone(),
            revision: 1,
        };
        site.leave(MALLORY, &format!("fifo-{name}"), note.text().trim_end())
            .exits(0);
        let package = format!("app-{name}");
        site.commit("alice", &package, "1").exits(0);
        wait_until("the other one's is delivered", LIMIT, || {
            let rows = site.history();
            rows.iter()
                .any(|row| row["package"] == package.as_str() && row["state"] == "done")
        });
        fs::remove_file(&file).expect("remove");
        fs::rename(&kept, &file).expect("rename");
    }
    let mut service = service;
    service.terminate();
    assert_eq!(service.ends(), Some(0));
}

#[test]
fn a_hook_leaves_nothing_where_somebody_else_than_the_worker_could_remove_it() {
    needs_root!();
    let site = Site::new();
    fs::create_dir(site.incoming()).expect("mkdir");
    std::os::unix::fs::chown(site.incoming(), Some(MALLORY), None).expect("chown");
    fs::set_permissions(site.incoming(), fs::Permissions::from_mode(0o1733)).expect("chmod");
    let ran = site.commit("alice", "app-1", "1");
    assert!(ran.stdout.contains("belongs to uid"), "{ran}");
    assert!(site.notes().is_empty());
}
