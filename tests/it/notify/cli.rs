//! `notify`, and what `check` says of notifiers.

use super::Site;

#[test]
fn notifiers_are_listed_and_tried_by_name() {
    let site = Site::new();
    let told = site.told_file();
    site.pipeline.settings(&format!(
        "[notify:good]\nnotify_command = sh -c \"cat >> {}\"\n[notify:bad]\non = batch\nnotify_command = sh -c \
         \"echo no paper >&2; exit 9\"\n",
        told.display()
    ));
    let listed = site.pipeline.ad(&["notify"]).exits(0).stdout;
    assert!(
        listed.contains("good") && listed.contains("failure, unknown, recovery"),
        "{listed}"
    );
    let ran = site.pipeline.ad(&["notify", "--test"]).exits(1);
    assert!(
        ran.stdout.contains("ok: good (command): sh ended well"),
        "{ran}"
    );
    assert!(
        ran.stdout
            .contains("failed: bad (command): sh ended with exit status: 9: no paper"),
        "{ran}"
    );
    site.pipeline.ad(&["notify", "--test", "good"]).exits(0);
    let told = site.told();
    assert_eq!(told.len(), 2);
    assert!(
        told.iter()
            .all(|message| message["test"] == true && message["groups"] == serde_json::json!([]))
    );
    let rows = site
        .pipeline
        .ad(&["notify", "--test", "--json"])
        .exits(1)
        .json();
    assert_eq!(
        (&rows[0]["sent"], &rows[1]["sent"]),
        (&true.into(), &false.into())
    );
    let ran = site.pipeline.ad(&["notify", "--test", "godo"]).exits(2);
    assert!(ran.stderr.contains("it has good, bad"), "{ran}");
}

#[test]
fn check_tells_mistakes_with_their_lines_and_resembling_keys() {
    let site = Site::new();
    site.notifier("notify_command = true\ndigest_aftr = 5m\n");
    let ran = site.pipeline.ad(&["check"]).exits(0);
    assert!(ran.stdout.contains("did you mean `digest_after`?"), "{ran}");
    site.notifier("notify_command = true\non = always\n");
    let ran = site.pipeline.ad(&["check"]).exits(3);
    assert!(
        ran.stdout
            .contains("auto-dispatcher.cfg:8: `on` is no list of"),
        "{ran}"
    );
    site.notifier("webhook_file = /no/such/file\n");
    let ran = site.pipeline.ad(&["check"]).exits(0);
    assert!(
        ran.stdout
            .contains("[notify:ops]: there is no file /no/such/file"),
        "{ran}"
    );
    site.pipeline.settings("");
    let ran = site.pipeline.ad(&["notify"]).exits(3);
    assert!(ran.stderr.contains("has no section [notify:NAME]"), "{ran}");
}
