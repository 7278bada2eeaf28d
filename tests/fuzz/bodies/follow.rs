//! What hosts print while an install command is followed, and around any script. A stream means the same however it is
//! cut, and no stream takes more memory than was allowed.

use auto_dispatcher::transport::ssh::probes::{follow, script};

const NONCE: &str = "ADx";
const OUTPUT_MAX: usize = 64;

/// Piece by piece; the smallest pieces for short streams alone.
fn sizes(stream: &[u8]) -> [usize; 2] {
    if stream.len() <= 512 {
        [1, 3]
    } else {
        [61, 500]
    }
}

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let whole = follow(NONCE, OUTPUT_MAX, [data]);
    assert!(whole.kept.output.len() <= OUTPUT_MAX);
    assert!(i64::try_from(whole.kept.output_cut_bytes).is_ok());
    assert!(whole.shown.ends_with(&whole.kept.output));
    for size in sizes(data) {
        assert_eq!(whole, follow(NONCE, OUTPUT_MAX, data.chunks(size)));
    }
    let began = [b"\nADx\n", data].concat();
    for stream in [data, &began] {
        let whole = script(NONCE, [stream]);
        for size in sizes(stream) {
            assert_eq!(
                whole,
                script(NONCE, stream.chunks(size)),
                "pieces of {size}"
            );
        }
        assert!(whole.output.len() + whole.held_bytes <= stream.len());
    }
    let run = script(NONCE, [&began[..]]);
    assert!(
        run.held_bytes <= 64,
        "{} bytes are held back",
        run.held_bytes
    );
}
