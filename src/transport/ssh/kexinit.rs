//! What a server says before anything is encrypted: its banner and the lists of algorithms in its first packet
//! (RFC 4253, 4.2, 6 and 7.1). Pure, strict and bounded: whatever the bytes are, there is an answer.

/// Lines that a server may send before its banner.
const LINES_MAX: usize = 64;
/// The longest of them.
const LINE_BYTES_MAX: usize = 1024;
/// The longest packet that everybody has to take.
const PACKET_BYTES_MAX: usize = 35_000;
/// The number of the packet.
const KEXINIT: u8 = 20;

/// The lists of a server, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerLists {
    /// `SSH-2.0-...`, without its end of line.
    pub(super) banner: String,
    /// Key exchanges.
    pub(super) key_exchanges: Vec<String>,
    /// Signature algorithms of host keys.
    pub(super) host_keys: Vec<String>,
    /// Ciphers from us to it, and from it to us.
    pub(super) ciphers: [Vec<String>; 2],
    /// MACs from us to it, and from it to us.
    pub(super) macs: [Vec<String>; 2],
}

/// Reads what came so far; nothing means that more has to come.
pub(super) fn read(bytes: &[u8]) -> Result<Option<ServerLists>, &'static str> {
    let Some((banner, rest)) = banner(bytes)? else {
        return Ok(None);
    };
    let Some(mut payload) = packet(rest)? else {
        return Ok(None);
    };
    let kind = take(&mut payload, 1)?;
    if kind != [KEXINIT] {
        return Err("its first packet holds no lists of algorithms");
    }
    // The cookie.
    take(&mut payload, 16)?;
    let mut list = || names(&mut payload);
    Ok(Some(ServerLists {
        key_exchanges: list()?,
        host_keys: list()?,
        ciphers: [list()?, list()?],
        macs: [list()?, list()?],
        banner,
    }))
}

/// The banner, and what follows it.
fn banner(bytes: &[u8]) -> Result<Option<(String, &[u8])>, &'static str> {
    let mut rest = bytes;
    for _ in 0..LINES_MAX {
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            return if rest.len() > LINE_BYTES_MAX {
                Err("it sends an endless line instead of a banner")
            } else {
                Ok(None)
            };
        };
        let (line, behind) = rest.split_at(end);
        if line.len() > LINE_BYTES_MAX {
            return Err("it sends an endless line instead of a banner");
        }
        rest = &behind[1..];
        if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            return Ok(Some((String::from_utf8_lossy(line).into_owned(), rest)));
        }
        if line.starts_with(b"SSH-") {
            return Err("it speaks a version of SSH before 2.0 only");
        }
    }
    Err("it sends many lines and no banner")
}

/// The payload of the first packet.
fn packet(bytes: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if !(2..=PACKET_BYTES_MAX).contains(&length) {
        return Err("its first packet has an impossible length");
    }
    let Some(packet) = rest.get(..length) else {
        return Ok(None);
    };
    let (&padding, content) = packet.split_first().ok_or("its first packet is empty")?;
    let payload = content.len().checked_sub(usize::from(padding));
    payload
        .and_then(|length| content.get(..length))
        .map(Some)
        .ok_or("its first packet has an impossible padding")
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], &'static str> {
    let (taken, rest) = bytes
        .split_at_checked(count)
        .ok_or("its lists of algorithms end too soon")?;
    *bytes = rest;
    Ok(taken)
}

fn names(bytes: &mut &[u8]) -> Result<Vec<String>, &'static str> {
    let length = take(bytes, 4)?;
    let length = length
        .iter()
        .fold(0_usize, |sum, &byte| (sum << 8) | usize::from(byte));
    let text = take(bytes, length)?;
    Ok(text
        .split(|&byte| byte == b',')
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(lists: [&str; 6]) -> Vec<u8> {
        let mut payload = vec![KEXINIT];
        payload.extend([7; 16]);
        for list in lists.iter().chain(&["none", "none", "", ""]) {
            payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            payload.extend(list.as_bytes());
        }
        payload.extend([0; 5]);
        let mut packet = vec![4];
        packet.extend(&payload);
        packet.extend([0; 4]);
        let mut bytes = b"hello\r\nSSH-2.0-Test 1\r\n".to_vec();
        bytes.extend(u32::try_from(packet.len()).unwrap().to_be_bytes());
        bytes.extend(&packet);
        bytes
    }

    #[test]
    fn the_lists_are_read_once_they_are_whole() {
        let bytes = sent(["k1,k2", "h", "c1,c2", "c3", "m", ""]);
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Ok(None), "{end} bytes");
        }
        let lists = read(&bytes).unwrap().unwrap();
        assert_eq!(lists.banner, "SSH-2.0-Test 1");
        assert_eq!(lists.key_exchanges, ["k1", "k2"]);
        assert_eq!(lists.ciphers, [vec!["c1", "c2"], vec!["c3"]]);
        assert_eq!(lists.macs, [vec!["m"], vec![]]);
    }

    #[test]
    fn whatever_comes_there_is_an_answer_and_an_end() {
        let whole = sent(["k1,k2", "h", "c1,c2", "c3", "m", ""]);
        // Each byte changed in turn, the rest as it was: no panic, and no list longer than what came.
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                drop(read(&bytes));
            }
        }
        for (bytes, why) in [
            (vec![b'x'; 5000], "endless line"),
            (b"y\n".repeat(100), "many lines"),
            (b"SSH-1.5-old\n".to_vec(), "before 2.0"),
            (b"SSH-2.0-x\n\xff\xff\xff\xff".to_vec(), "length"),
            (b"SSH-2.0-x\n\0\0\0\x02\x09\x14".to_vec(), "padding"),
            (b"SSH-2.0-x\n\0\0\0\x02\0\x15".to_vec(), "no lists"),
            (
                [&b"SSH-2.0-x\n\0\0\0\x17\0\x14"[..], &[0; 16], &[0xff; 5]].concat(),
                "too soon",
            ),
        ] {
            let told = read(&bytes).unwrap_err();
            assert!(told.contains(why), "{told} instead of {why}");
        }
    }
}
