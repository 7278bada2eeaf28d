//! `notify_command`, and what holds for every way: what is told, recovery, receivers that are down or hang.

use std::fs;

use auto_dispatcher::domain::delivery::State;

use super::Site;
use crate::pipeline::LIMIT;
use crate::pipeline::host::Host;
use crate::testenv::wait_until;

#[test]
fn a_failure_is_told_with_what_to_type_and_its_end_is_told_too() {
    let mut site = Site::new();
    let seen = site.pipeline.env.path("seen");
    let look = format!("pwd > {0}; env >> {0};", seen.display());
    site.command(&look, "");
    site.send("app-1.tar").exits(1);
    let told = site.told();
    assert_eq!(told.len(), 1, "{told:?}");
    let (message, group) = (&told[0], &told[0]["groups"][0]);
    assert_eq!(message["site"], "银行 A");
    assert_eq!(message["notifier"], "ops");
    assert_eq!(
        (&group["kind"], &group["cause"]),
        (&"failure".into(), &"unreachable".into())
    );
    assert_eq!(group["package"], "app-1.tar");
    assert_eq!(group["deliveries"], serde_json::json!([1]));
    assert_eq!(
        group["commands"],
        serde_json::json!([site.typed("show 1"), site.typed("retry 1")])
    );
    assert!(
        group["why"].as_str().unwrap().contains("refused"),
        "{group}"
    );
    // Nothing of the worker's own environment but this.
    let seen = fs::read_to_string(seen).unwrap();
    let mut names: Vec<&str> = seen
        .lines()
        .skip(1)
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    assert_eq!(
        (seen.lines().next(), names),
        (Some("/"), vec!["HOME", "LC_ALL", "PATH"])
    );
    site.host.resume();
    site.pipeline.ad(&["retry", "1", "--wait"]).exits(0);
    let told = site.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1]["groups"][0]["kind"], "recovery");
    assert_ne!(told[0]["id"], told[1]["id"]);
    assert!(told[1]["groups"][0]["since"].is_string());
    // What goes on being well is no news.
    site.send("app-2.tar").exits(0);
    assert_eq!(site.told().len(), 2);
}

#[test]
fn without_a_notifier_nothing_is_kept() {
    let site = Site::new();
    site.send("app").exits(1);
    let rows = "SELECT (SELECT count(*) FROM notices) + (SELECT count(*) FROM messages) + (SELECT count(*) FROM troubles)";
    assert_eq!(site.pipeline.sql(rows), [Some(0)]);
}

#[test]
fn on_chooses_and_a_batch_is_told_when_it_is_settled() {
    let mut site = Site::new();
    site.command("", "on = batch");
    site.send("app-1").exits(1);
    site.host.resume();
    site.send("app-2").exits(0);
    let told = site.told();
    let kinds: Vec<_> = told
        .iter()
        .map(|message| &message["groups"][0]["kind"])
        .collect();
    assert_eq!(kinds, ["batch", "batch"]);
    assert_eq!(told[0]["groups"][0]["outcomes"]["failed"], 1);
    assert_eq!(told[1]["groups"][0]["outcomes"]["done"], 1);
}

#[test]
fn a_changed_host_key_is_told_with_the_command_that_looks_at_it() {
    let mut site = Site::new();
    site.command("", "");
    site.host.resume();
    site.send("app-1").exits(0);
    site.host.resume_with_another_key();
    site.send("app-2").exits(1);
    let group = &site.told()[0]["groups"][0];
    assert_eq!(group["cause"], "untrusted");
    assert_eq!(group["commands"][1], site.typed("trust 127.0.0.1"));
}

#[test]
fn a_revision_that_cannot_be_planned_is_told_and_its_mending_too() {
    let site = Site::new();
    site.command("", "");
    let rules = fs::read_to_string(site.pipeline.rules_file()).unwrap();
    site.pipeline.rules_text("[app\nhost = h\n");
    site.pipeline.commit(&[("readme", b"x")]);
    let repository = site.pipeline.repository();
    site.pipeline.ad(&["hook", repository, "1"]).exits(0);
    wait_until("the broken rules are told", LIMIT, || {
        site.told().len() == 1
    });
    let group = &site.told()[0]["groups"][0];
    assert_eq!(
        (&group["cause"], &group["place"]),
        (&"plan".into(), &repository.into())
    );
    site.pipeline.rules_text(&rules);
    wait_until("that it is planned is told", LIMIT, || {
        site.told().len() == 2
    });
    assert_eq!(site.told()[1]["groups"][0]["kind"], "recovery");
}

#[test]
fn a_receiver_that_is_down_for_a_while_gets_it_once_and_status_says_so_meanwhile() {
    let site = Site::new();
    let gate = site.pipeline.env.path("gate");
    let before = format!(
        "test -e {} || {{ echo pager is off >&2; exit 3; }};",
        gate.display()
    );
    site.command(&before, "");
    site.send("app").exits(1);
    assert_eq!(site.told().len(), 0);
    let status = site.pipeline.ad(&["status"]).exits(0).stdout;
    assert!(status.contains("could not be sent (tries: 1"), "{status}");
    let json = site.pipeline.status();
    let unsent = json.iter().find(|row| row["notifier"] == "ops").unwrap();
    assert!(
        unsent["error"].as_str().unwrap().contains("pager is off"),
        "{unsent}"
    );
    assert!(
        site.log()
            .contains("exit status: 3: pager is off; tried again in"),
        "{}",
        site.log()
    );
    let _worker = site.pipeline.spawn(&["worker"]);
    wait_until("it is tried once more", LIMIT, || {
        site.pipeline.sql("SELECT tries FROM messages") >= vec![Some(2)]
    });
    fs::write(gate, "").unwrap();
    wait_until("it is told", LIMIT, || site.told().len() == 1);
    wait_until("that is noted", LIMIT, || {
        !site
            .pipeline
            .ad(&["status"])
            .stdout
            .contains("could not be sent")
    });
    assert_eq!(site.told().len(), 1);
}

#[test]
fn what_is_too_old_is_given_up_and_shown() {
    let site = Site::new();
    site.command("exit 1;", "give_up_after = 1");
    site.send("app").exits(1);
    let _worker = site.pipeline.spawn(&["worker"]);
    wait_until("it is given up", LIMIT, || {
        site.pipeline.ad(&["status"]).stdout.contains("given up")
    });
    assert!(site.log().contains("given up after"), "{}", site.log());
}

#[test]
fn a_receiver_that_hangs_for_ever_holds_up_no_delivery_and_no_end() {
    let site = Site::new();
    let good = Host::up();
    site.pipeline
        .rules(&[site.host.rule("bad").with("retries", 0), good.rule("app")]);
    let pids = site.pipeline.env.path("pids");
    let hang = format!("echo $$ >> {}; exec sleep 100000;", pids.display());
    site.command(&hang, "timeout = 600");
    site.send("bad").exits(1);
    let mut worker = site.pipeline.spawn(&["worker"]);
    wait_until("the receiver hangs once more", LIMIT, || {
        fs::read_to_string(&pids)
            .unwrap_or_default()
            .lines()
            .count()
            == 2
    });
    let files: Vec<_> = (0..40)
        .map(|number| site.pipeline.env.write(format!("app-{number}"), "x"))
        .collect();
    let mut args = vec!["send"];
    args.extend(files.iter().map(|file| file.to_str().unwrap()));
    site.pipeline.ad(&args).exits(0);
    let rows = site.pipeline.settled(41);
    assert_eq!(rows.iter().filter(|row| row["state"] == "done").count(), 40);
    assert_eq!(
        site.pipeline.delivery("bad")["state"],
        State::Failed.as_str()
    );
    worker.terminate();
    assert_eq!(worker.ends(), Some(0));
    // What hung is gone with whoever waited for it.
    for pid in fs::read_to_string(&pids).unwrap().lines() {
        let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        wait_until("the command is ended", LIMIT, || {
            stat().is_empty() || stat().contains(") Z ")
        });
    }
}
