//! Filters of drop directories: the first line holds what is included, the second what is left out, the third the
//! marker's end, the others are paths. What is left out is never taken; a marker stands for its file.

use auto_dispatcher::config::scans;
use auto_dispatcher::domain::drop_directory::DropFilter;

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut words = || -> Vec<String> {
        let line = lines.next().unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    };
    let (include, exclude) = (words(), words());
    let mut out = DropFilter::default();
    let mut filter = DropFilter::default();
    if !include.is_empty() && scans::include(&mut filter, &include).is_err() {
        return;
    }
    if scans::exclude(&mut filter, &exclude).is_err() {
        return;
    }
    scans::include(&mut out, &exclude).expect("the same globs");
    filter.marker = lines
        .next()
        .filter(|end| !end.is_empty())
        .and_then(|end| scans::marker(end).ok());
    for path in lines.take(20).filter(|path| !path.is_empty()) {
        if out.takes(path) {
            assert!(!filter.takes(path) && !filter.enters(path), "{path:?}");
        }
        if let Some(marker) = filter.marker_of(path)
            && !path.ends_with('/')
        {
            assert_eq!(filter.marked_by(&marker), Some(path));
            assert!(!filter.takes(&marker), "a marker is no package");
        }
    }
}
