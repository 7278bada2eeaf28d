//! What an SSH server says before anything is encrypted. Of a beginning nothing is said but that more has to come, more
//! bytes change nothing, and what is read stands there.

use auto_dispatcher::transport::ssh::probes::first_words;

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let whole = first_words(data);
    let end = data.len().min(2048);
    for at in (0..end).step_by(1 + end / 64) {
        match first_words(&data[..at]) {
            Ok(None) => {}
            early => assert_eq!(early, whole, "after {at} bytes"),
        }
    }
    if let Ok(Some(words)) = whole {
        let more = [data, b"and more"].concat();
        assert_eq!(first_words(&more).as_ref(), Ok(&Some(words)));
    }
    let packet = [b"SSH-2.0-x\r\n", data].concat();
    let Ok(Some(words)) = first_words(&packet) else {
        return;
    };
    assert_eq!(words.banner, "SSH-2.0-x");
    let mut bytes = 0;
    for name in words.lists.iter().flatten() {
        assert!(!name.is_empty() && !name.contains(','));
        bytes += name.chars().count();
    }
    assert!(bytes <= data.len());
}
