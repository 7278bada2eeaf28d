//! What svnadmin dumps: the input is read as a dump, and as the text and the name of a file in one. Texts come back byte
//! by byte, however the dump is cut and whatever they hold.

use auto_dispatcher::source::svnlook::probes::{DumpedPath, dump};

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let whole = dump([data]);
    for size in [1, 7] {
        assert_eq!(whole, dump(data.chunks(size)), "pieces of {size}");
    }
    if let Ok((uuid, paths)) = whole {
        let mut rest = data;
        for path in &paths {
            let text = path.text.as_deref().unwrap_or_default();
            assert!(path.bytes >= text.len() as u64, "{path:?}");
            assert!(path.bytes <= data.len() as u64, "{path:?}");
            let name = rest
                .windows(path.path.len().max(1))
                .position(|part| part.starts_with(path.path.as_bytes()));
            rest = &rest[name.expect("a name of the input's")..];
        }
        assert_eq!(dump([written(&uuid, &paths).as_slice()]), Ok((uuid, paths)));
    }
    let name = String::from_utf8_lossy(data);
    let name = name.split('\n').next().unwrap_or_default();
    let file = DumpedPath {
        path: name.strip_prefix('/').unwrap_or(name).to_owned(),
        sha1: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        text: Some(data.to_vec()),
        bytes: data.len() as u64,
    };
    // As svnadmin would: a name is no part of a line that cannot be told from it.
    if name.len() < 8192 {
        let paths = vec![file.clone(), file];
        let told = dump([written("u", &paths).as_slice()]);
        assert_eq!(told, Ok(("u".to_owned(), paths)));
    }
}

/// The dump of revision 1 in which these paths are.
fn written(uuid: &str, paths: &[DumpedPath]) -> Vec<u8> {
    let mut dump =
        format!("SVN-fs-dump-format-version: 2\n\nUUID: {uuid}\n\nRevision-number: 1\n\n\n")
            .into_bytes();
    for path in paths {
        // An absolute path loses its slash, the first one alone.
        let head = format!(
            "Node-path: /{}\nNode-kind: file\nNode-action: add\n",
            path.path
        );
        dump.extend_from_slice(head.as_bytes());
        if let Some(sha1) = &path.sha1 {
            dump.extend_from_slice(format!("Text-content-sha1: {sha1}\n").as_bytes());
        }
        let size = path.text.as_ref().map_or(0, Vec::len) as u64;
        let properties = path.bytes - size;
        if properties > 0 {
            dump.extend_from_slice(format!("Prop-content-length: {properties}\n").as_bytes());
        }
        if path.text.is_some() {
            dump.extend_from_slice(format!("Text-content-length: {size}\n").as_bytes());
        }
        if properties > 0 || path.text.is_some() {
            dump.extend_from_slice(format!("Content-length: {}\n", path.bytes).as_bytes());
        }
        dump.push(b'\n');
        if let Some(padding) = properties.checked_sub(10) {
            dump.resize(
                dump.len() + usize::try_from(padding).expect("of the input's size"),
                b'x',
            );
            dump.extend_from_slice(b"PROPS-END\n");
        }
        dump.extend_from_slice(path.text.as_deref().unwrap_or_default());
        dump.extend_from_slice(b"\n\n");
    }
    dump
}
