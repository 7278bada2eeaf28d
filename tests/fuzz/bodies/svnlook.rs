//! What svnlook prints: the input is read as the output of `changed --copy-info` and of `tree --full-paths`, and
//! as a name that svnlook shows. Names come back byte by byte, however the output is cut.

use auto_dispatcher::source::svnlook::probes::{changed, tree};

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let whole = changed([data]);
    let listed = tree([data]);
    for size in [1, 7] {
        assert_eq!(whole, changed(data.chunks(size)), "pieces of {size}");
        assert_eq!(listed, tree(data.chunks(size)), "pieces of {size}");
    }
    if let Ok(entries) = whole {
        let mut lines = data.split(|&byte| byte == b'\n');
        for entry in &entries {
            let line = lines.next().expect("a line for each entry");
            let line = line.get(4..).unwrap_or_default();
            assert!(is_shown(&entry.path, entry.directory, line), "{entry:?}");
            if entry.status == "Copied" {
                lines.next();
            }
        }
        assert_eq!(lines.next(), Some(&b""[..]), "a line was passed over");
    }
    if let Ok(paths) = listed {
        let mut lines = data.split(|&byte| byte == b'\n');
        for (path, directory) in &paths {
            let line = lines.next().expect("a line for each path");
            assert!(is_shown(path, *directory, line), "{path:?}");
        }
        assert_eq!(lines.next(), Some(&b""[..]), "a line was passed over");
    }
    name(data);
}

/// Whether svnlook shows a path so; the root is shown as a slash.
fn is_shown(path: &str, directory: bool, shown: &[u8]) -> bool {
    let slash = if directory { "/" } else { "" };
    shown == format!("{path}{slash}").as_bytes() || (directory && path == "/" && shown == b"/")
}

fn name(data: &[u8]) {
    let Some(name) = std::str::from_utf8(data)
        .ok()
        .filter(|name| !name.is_empty() && !name.contains('\n'))
    else {
        return;
    };
    let output = format!("A + {name}/\n    (from {name}:r7)\nUU  {name}\nD   x{name}\n");
    let entries = changed([output.as_bytes()]).expect("svnlook's own form");
    let modified = name.strip_suffix('/').filter(|path| !path.is_empty());
    assert_eq!(entries[0].path, name);
    assert_eq!(entries[1].path, modified.unwrap_or(name));
    assert_eq!(entries.len(), 3);
}
