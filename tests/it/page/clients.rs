//! Clients that mean no good, or know no better: none of them keeps others, or deliveries, waiting.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use auto_dispatcher::domain::delivery::State;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{Answer, Site};
use crate::pipeline::host::Host;
use crate::pipeline::{LIMIT, Pipeline};
use crate::testenv::wait_until;

/// How many threads the worker has.
fn threads(site: &Site) -> usize {
    let tasks = format!("/proc/{}/task", site.worker.pid());
    fs::read_dir(tasks).expect("threads").count()
}

/// Bytes of memory that the worker has.
fn memory(site: &Site) -> u64 {
    let status = format!("/proc/{}/status", site.worker.pid());
    let status = fs::read_to_string(status).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.expect("a number") << 10
}

#[test]
fn a_thousand_clients_that_say_nothing_keep_nobody_waiting() {
    // Both ends of a thousand connections: more than 1024 descriptors are ours to ask for on most systems.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("descriptors");
    let host = Host::up();
    let pipeline = Pipeline::new(&[host.rule("app")]);
    let mut site = Site::start(&pipeline);
    pipeline.commit(&[("app-1", b"x")]);
    pipeline.awaits("app-1", State::Done);
    assert_eq!(site.get("/").status, 200);
    let (threads_before, memory_before) = (threads(&site), memory(&site));
    let silent: Vec<TcpStream> = (0..1000)
        .map(|number| {
            let mut stream = site.connect();
            if number % 2 == 0 {
                // Slowly, and never to the end.
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: 127")
                    .expect("write");
            }
            stream
        })
        .collect();
    for path in ["/", "/metrics", "/health"] {
        assert_eq!(site.get(path).status, 200, "{path}");
    }
    pipeline.commit(&[("app-2", b"y")]);
    pipeline.awaits("app-2", State::Done);
    // A lane has a thread while it works, and so has who looks at a ledger or closes a session, for a moment.
    wait_until("no client has a thread", LIMIT, || {
        threads(&site) <= threads_before + 2
    });
    let grown = memory(&site).saturating_sub(memory_before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    // It ends at once, whoever hangs on.
    site.worker.terminate();
    assert_eq!(site.worker.ends(), Some(0));
    drop(silent);
}

#[test]
fn what_is_no_request_is_refused_and_nothing_is_smuggled() {
    let pipeline = Pipeline::new(&[]);
    let site = Site::start(&pipeline);
    let host = format!("Host: 127.0.0.1:{}\r\n", site.port);
    let long = format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(5000));
    for (bytes, status) in [
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            400,
        ),
        (vec![0; 100_000], 400),
        (b"GET\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
        (
            format!("GET / HTTP/1.1\r\n{host}{host}\r\n").into_bytes(),
            400,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nabc").into_bytes(),
            400,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                .into_bytes(),
            400,
        ),
        (
            format!("CONNECT / HTTP/1.1\r\n{host}\r\n").into_bytes(),
            405,
        ),
        (long.into_bytes(), 431),
        (many.into_bytes(), 431),
    ] {
        let answer = site.say(&bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
    }
    // Requests behind each other: the first is answered, and the connection ends.
    let two = format!("GET /nothing HTTP/1.1\r\n{host}\r\nGET /favicon.ico HTTP/1.1\r\n{host}\r\n");
    let answer = site.say(two.as_bytes());
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(!answer.body.contains("HTTP/1.1"), "{answer:?}");
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_it_and_holds_up_nobody() {
    let pipeline = Pipeline::new(&[]);
    let site = Site::start(&pipeline);
    wait_until("there is a journal", LIMIT, || site.get("/").status == 200);
    let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", site.port);
    let (first, rest) = request.split_at(20);
    let ask_slowly = || {
        let mut slow = site.connect();
        slow.write_all(first.as_bytes()).unwrap();
        let all = site.get("/");
        assert_eq!(all.status, 200);
        slow.write_all(rest.as_bytes()).unwrap();
        let mut one = [0];
        slow.read_exact(&mut one).unwrap();
        assert_eq!(site.get("/health").status, 200);
        Answer::read(&mut slow)
    };
    let mut read = ask_slowly();
    // Not slower than anybody is waited for, on a busy machine.
    wait_until("it was not too slow", LIMIT, || {
        let was_late = read.head.contains(" 408 ");
        if was_late {
            read = ask_slowly();
        }
        !was_late
    });
    assert!(read.body.trim_end().ends_with("</html>"), "{}", read.head);
}
