//! A kill -9 between settling and telling loses nothing; one between sending and marking sends once more, under the
//! same number.

use std::os::unix::process::ExitStatusExt as _;

use auto_dispatcher::fail_points::ALL;

use super::Site;
use crate::pipeline::LIMIT;
use crate::testenv::wait_until;

#[test]
fn a_kill_at_any_point_of_telling_loses_nothing() {
    let points = ALL.iter().filter(|point| point.starts_with("notice."));
    let points: Vec<_> = points.chain(&["lane.settled"]).collect();
    assert_eq!(points.len(), 5);
    for point in points {
        let site = Site::new();
        site.command("", "");
        let file = site.pipeline.env.write("app", "x");
        let mut command = site.pipeline.command(&["send", file.to_str().unwrap()]);
        command.env("AUTO_DISPATCHER_FAIL_POINT", point);
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        let mut status = None;
        wait_until(&format!("send dies at {point}"), LIMIT, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(
            status.and_then(|status| status.signal()),
            Some(9),
            "{point}"
        );
        let before = site.told().len();
        assert_eq!(
            before,
            usize::from(["notice.sent", "notice.marked"].contains(point)),
            "{point}"
        );
        site.pipeline.ad(&["worker", "--until-idle"]).exits(0);
        let told = site.told();
        let expected = if *point == "notice.sent" { 2 } else { 1 };
        assert_eq!(told.len(), expected, "killed at {point}: {told:?}");
        assert!(told.iter().all(|message| *message == told[0]), "{told:?}");
        // And that is all.
        site.pipeline.ad(&["worker", "--until-idle"]).exits(0);
        assert_eq!(site.told().len(), expected, "killed at {point}");
    }
}
