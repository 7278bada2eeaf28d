//! `report --html`: the file itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::pipeline::Pipeline;
use crate::pipeline::host::Host;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

#[test]
fn the_file_is_ours_alone_whole_and_needs_nothing_from_elsewhere() {
    let host = Host::up();
    let pipeline = Pipeline::bare();
    pipeline.rules(&[
        host.rule("good"),
        host.rule("bad").with("install_command", "echo; exit 2"),
    ]);
    let empty = pipeline.ad(&["report", "--html", "-"]).exits(5);
    assert!(empty.stderr.contains("there is no journal"), "{empty}");
    pipeline.commit(&[("good-1", b"g"), ("bad-1", b"b")]);
    pipeline
        .ad(&["hook", pipeline.repository(), "1", "--wait"])
        .exits(1);
    let path = pipeline.env.write("page.html", "an older page");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let name = path.to_str().unwrap();
    let ran = pipeline.ad(&["report", "--html", name]).exits(0);
    assert_eq!(ran.stdout, "");
    assert_eq!(mode(&path), 0o600);
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("1 delivery failed") && page.contains("good-1"));
    for word in [
        "http://",
        "https://",
        "src=",
        "url(http",
        "@import",
        "data-live",
        "<link",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    pipeline
        .ad(&["report", "--html", name, "--mode", "0644"])
        .exits(0);
    assert_eq!(mode(&path), 0o644);
    let stdout = pipeline
        .ad(&["report", "--html", "-", "--limit", "1"])
        .exits(0)
        .stdout;
    assert!(stdout.contains("</html>"));
    // By its details: cards and time line name deliveries, too.
    assert_eq!(stdout.matches("<summary><bdi>").count(), 1);
    let nowhere = pipeline.env.path("no/such/page.html");
    let ran = pipeline
        .ad(&["report", "--html", nowhere.to_str().unwrap()])
        .exits(5);
    assert!(
        ran.stderr.contains("cannot write the page") && ran.stderr.contains("hint: "),
        "{ran}"
    );
    let left: Vec<_> = fs::read_dir(pipeline.env.root())
        .unwrap()
        .flatten()
        .collect();
    assert!(
        !left
            .iter()
            .any(|file| file.file_name().to_string_lossy().starts_with(".ad-page-"))
    );
}
