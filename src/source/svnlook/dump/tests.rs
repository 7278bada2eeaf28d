//! Dumps as svnadmin writes them, cut anywhere, and what is none.

use super::*;

const HEAD: &str = "SVN-fs-dump-format-version: 2\n\nUUID: u-1\n\nRevision-number: 7\n\
    Prop-content-length: 10\nContent-length: 10\n\nPROPS-END\n\n";
const SHA1: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

/// What a dump told, one line each.
fn read(dump: &[u8], piece: usize) -> Result<Vec<String>, String> {
    let mut reader = Reader::new(7);
    let mut told: Vec<String> = Vec::new();
    for part in dump.chunks(piece) {
        let flow = reader.feed(part, &mut |piece| {
            match piece {
                Piece::Bytes(bytes) => {
                    assert!(!bytes.is_empty());
                    let text = String::from_utf8_lossy(bytes);
                    told.last_mut().expect("a text").push_str(&text);
                }
                Piece::Uuid(uuid) => told.push(format!("uuid {uuid}")),
                Piece::End => told.last_mut().expect("a text").push('.'),
                Piece::Path { path, text, bytes } => {
                    let sha1 = text.and_then(|text| text.sha1).is_some();
                    let size = text.map(|text| text.size);
                    told.push(format!("{path} {bytes} {size:?} {sha1} "));
                }
            }
            ControlFlow::Continue(())
        })?;
        assert!(flow.is_continue());
    }
    reader.end()?;
    Ok(told)
}

fn node(headers: &str, content: &str) -> String {
    format!("{HEAD}Node-path: a\n{headers}\n{content}\n\n")
}

#[test]
fn every_kind_of_record_is_read_however_it_is_cut() {
    let inner = "Node-path: not me\nNode-action: add\n\nPROPS-END\n";
    let dump = format!(
        "{HEAD}Node-path: /d e\nNode-kind: dir\nNode-action: add\nProp-content-length: 10\n\
         Content-length: 10\n\nPROPS-END\n\n\n\
         Node-path: gone\nNode-action: delete\n\n\n\
         Node-path: ü: 包\nNode-kind: file\nNode-action: replace\nText-content-md5: x\nText-content-sha1: {SHA1}\n\
         Prop-content-length: 10\nText-content-length: {length}\nContent-length: {both}\n\nPROPS-END\n{inner}\n\n\
         Node-path: copy\nNode-kind: file\nNode-action: add\nNode-copyfrom-rev: 6\nNode-copyfrom-path: x\n\
         Text-copy-source-md5: x\nText-copy-source-sha1: y\n\n\n\
         Node-path: empty\nNode-kind: file\nNode-action: add\nText-content-length: 0\nContent-length: 0\n\n\n\n\
         Node-path: props\nNode-kind: file\nNode-action: change\nProp-content-length: 10\nContent-length: 10\n\n\
         PROPS-END\n\n\n",
        length = inner.len(),
        both = inner.len() + 10,
    );
    let expected = [
        "uuid u-1".to_owned(),
        "d e 10 None false ".to_owned(),
        "gone 0 None false ".to_owned(),
        format!(
            "ü: 包 {} Some({}) true {inner}.",
            inner.len() + 10,
            inner.len()
        ),
        "copy 0 None false ".to_owned(),
        "empty 0 Some(0) false .".to_owned(),
        "props 10 None false ".to_owned(),
    ];
    for piece in [1, 2, 7, 4096] {
        assert_eq!(read(dump.as_bytes(), piece), Ok(expected.to_vec()));
    }
    for length in 0..dump.len() {
        let part = &dump.as_bytes()[..length];
        let is_between = part.ends_with(b"\n\n") && length >= HEAD.len();
        assert!(read(part, 4096).is_err() || is_between, "{length}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let file = "Node-kind: file\nNode-action: add\n";
    let wrong = [
        HEAD.replace(": 2\n", ": 3\n"),
        HEAD.replace("UUID: u-1\n\n", ""),
        HEAD.replace("number: 7", "number: 8"),
        HEAD.replace("PROPS-END", "PROPS_END"),
        HEAD.replace(": 10\n", ": 9\n"),
        format!("{HEAD}{HEAD}"),
        format!("{HEAD}Node-path: a\nText-delta: true\n\n"),
        format!("{HEAD}nonsense\n\n"),
        format!("{HEAD}Revision-number: 8\n\n"),
        node("Node-action: none\n", ""),
        node(
            "Node-action: delete\nText-content-length: 1\nContent-length: 1\n",
            "x",
        ),
        node(
            "Node-action: add\nNode-kind: dir\nText-content-length: 1\nContent-length: 1\n",
            "x",
        ),
        node(
            &format!("{file}Text-content-length: 1\nContent-length: 2\n"),
            "xy",
        ),
        node(&format!("{file}Text-content-length: 1\n"), "x"),
        node(&format!("{file}Content-length: 0\n"), ""),
        node(&format!("{file}Content-length: 1\n"), "x"),
        node(
            &format!("{file}Text-content-length: +1\nContent-length: +1\n"),
            "x",
        ),
        node(
            &format!("{file}Text-content-length: 18446744073709551616\nContent-length: 1\n"),
            "x",
        ),
        node(
            &format!(
                "{file}Prop-content-length: 18446744073709551615\nText-content-length: 2\nContent-length: 1\n"
            ),
            "x",
        ),
        node(
            &format!("{file}Prop-content-length: 0\nContent-length: 0\n"),
            "",
        ),
        node(
            &format!("{file}Text-content-length: 1\nContent-length: 1\n"),
            "xy",
        ),
        node(
            &format!("{file}Text-content-sha1: xyz\nText-content-length: 1\nContent-length: 1\n"),
            "x",
        ),
        node("Node-action: add\nNode-action: add\n", ""),
    ];
    for dump in wrong {
        assert!(read(dump.as_bytes(), 4096).is_err(), "{dump}");
    }
    let not_utf8 = [HEAD.as_bytes(), b"Node-path: \xff\nNode-action: delete\n\n"].concat();
    assert!(read(&not_utf8, 4096).is_err());
    let long = format!("{HEAD}Node-path: {}\n", "x".repeat(LINE_MAX_BYTES));
    assert!(read(long.as_bytes(), 4096).is_err());
    let many = format!("{HEAD}{}\n", "a: b\n".repeat(HEADERS_MAX + 1));
    assert!(read(many.as_bytes(), 4096).is_err());
}

#[test]
fn whoever_has_had_enough_hears_no_more() {
    let dump = node(
        "Node-kind: file\nNode-action: add\nText-content-length: 4\nContent-length: 4\n",
        "text",
    );
    for enough in 1..=4 {
        let mut heard = 0;
        let mut reader = Reader::new(7);
        let flow = reader.feed(dump.as_bytes(), &mut |_| {
            heard += 1;
            if heard == enough {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        assert_eq!(flow, Ok(ControlFlow::Break(())));
        assert_eq!(heard, enough);
    }
}
