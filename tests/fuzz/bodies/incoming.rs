//! Notes that the hooks of other users leave: what is believed is what we would have written, and names an absolute
//! path and a revision that can exist.

use auto_dispatcher::domain::incoming::{Note, Read};

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    if let Read::Whole(note) = Note::read(data) {
        assert!(note.repository.starts_with('/') && !note.repository.contains('\0'));
        assert!(
            !note
                .repository
                .split('/')
                .any(|part| part == ".." || part == ".")
        );
        assert!(note.repository == "/" || !note.repository.ends_with('/'));
        assert!(!note.uuid.contains(|c: char| !c.is_ascii_graphic()));
        assert!(i64::try_from(note.revision).is_ok());
        assert_eq!(Note::read(note.text().as_bytes()), Read::Whole(note));
    }
    let text = String::from_utf8_lossy(data);
    let note = Note {
        repository: format!("/srv/{}", text.replace(['\0', '/'], "")),
        uuid: "1f3ab4e8-0000-11ee-be56-0242ac120002".to_owned(),
        revision: data.len() as u64 + 1,
    };
    let is_plain = !["/srv/", "/srv/.", "/srv/.."].contains(&note.repository.as_str());
    if is_plain && note.repository.len() <= 4096 {
        let text = note.text();
        assert_eq!(Note::read(text.as_bytes()), Read::Whole(note));
        assert_eq!(Note::read(text.trim_end().as_bytes()), Read::Beginning);
    }
}
