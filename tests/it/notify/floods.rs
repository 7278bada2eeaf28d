//! Floods are summed, and two workers tell nothing twice.

use super::Site;
use crate::pipeline::LIMIT;
use crate::testenv::wait_until;

#[test]
fn a_thousand_failures_of_a_host_are_a_message_and_a_digest() {
    let site = Site::new();
    site.command("", "");
    let files: Vec<_> = (0..1000)
        .map(|number| site.pipeline.env.write(format!("many/app-{number}"), "x"))
        .collect();
    let mut args = vec!["send"];
    args.extend(files.iter().map(|file| file.to_str().unwrap()));
    site.pipeline.ad(&args).exits(1);
    let count = || -> u64 {
        let told = site.told();
        told.iter()
            .map(|message| message["groups"][0]["count"].as_u64().unwrap())
            .sum()
    };
    let first = site.told();
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(count() < 1000);
    // The window is over for a worker whose settings say so.
    site.command("", "digest_after = 1");
    let _worker = site.pipeline.spawn(&["worker"]);
    wait_until("all is told", LIMIT, || count() == 1000);
    let told = site.told();
    assert_eq!(told.len(), 2, "{told:?}");
    let commands = &told[1]["groups"][0]["commands"];
    assert_eq!(commands[1], site.typed("retry --host 127.0.0.1"));
}

#[test]
fn two_workers_tell_it_once() {
    let site = Site::new();
    // Long enough for the other one to look meanwhile.
    site.command("sleep 2;", "");
    let workers = [
        site.pipeline.spawn(&["worker"]),
        site.pipeline.spawn(&["worker"]),
    ];
    wait_until("both live", LIMIT, || site.pipeline.workers().len() == 2);
    site.send("app").exits(1);
    wait_until("it is told", LIMIT, || {
        site.pipeline
            .sql("SELECT count(*) FROM messages WHERE sent_at IS NOT NULL")
            == [Some(1)]
    });
    let told = site.told();
    assert_eq!(told.len(), 1, "{told:?}");
    drop(workers);
}

#[test]
fn a_worker_that_a_hook_started_stays_to_tell() {
    let site = Site::new();
    site.command("", "digest_after = 12");
    site.pipeline.install_hook();
    for (number, name) in ["app-1", "app-2"].into_iter().enumerate() {
        site.pipeline.commit(&[(name, b"x")]);
        site.pipeline.settled(number + 1);
        wait_until("the first one is told", LIMIT, || !site.told().is_empty());
    }
    // The second one waits for the end of the window, longer than `idle_exit`.
    site.pipeline.no_worker_lives();
    let counts: Vec<_> = site
        .told()
        .iter()
        .map(|message| message["groups"][0]["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), 2, "{counts:?}");
}
