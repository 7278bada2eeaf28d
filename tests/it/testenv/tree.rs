//! Everything that can be seen of files without touching them: what a command changes that should change nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// One line for each file and directory below `root`: mode, owner, inode, size, times of content and inode, content.
pub fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    look(root, &mut lines);
    lines.sort();
    assert!(lines.len() > 1, "nothing lies in {}", root.display());
    lines
}

fn look(path: &Path, lines: &mut Vec<String>) {
    let meta = fs::symlink_metadata(path).expect("metadata");
    let content = if meta.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            look(&entry.expect("an entry").path(), lines);
        }
        String::new()
    } else if meta.is_file() {
        auto_dispatcher::domain::artifact::Digester::of(&fs::read(path).expect("readable"))
    } else {
        format!("{:?}", meta.file_type())
    };
    lines.push(format!(
        "{} {:o} {} {} {} {}.{} {}.{} {content}",
        path.display(),
        meta.mode(),
        meta.uid(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec()
    ));
}
