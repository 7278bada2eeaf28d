//! A line to a server that counts what passes, and holds it back after so many bytes of what clients send, until it is
//! cut. It leads FTP's data connections over itself, too: replies to EPSV are rewritten.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::testenv::wait_until;

/// What passes at a time, and how many of these are under way at most.
const PIECE_BYTES: usize = 16 * 1024;
const UNDER_WAY_MAX: usize = 2048;

struct Flow {
    left: AtomicU64,
    is_spent: AtomicBool,
    holds: AtomicBool,
    is_over: AtomicBool,
    /// How long everything is under way, each way.
    delay: Duration,
    /// After so many bytes the near end takes nothing until the client's kernel takes nothing either.
    gust: u64,
    sent: AtomicU64,
    received: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// The line; its near end is `port` of 127.0.0.1.
pub struct Relay {
    pub port: u16,
    flow: Arc<Flow>,
}

impl Relay {
    /// Leads to `port` and holds once, after `bytes` of what clients send.
    pub fn to(port: u16, bytes: u64) -> Self {
        Self::far(port, Duration::ZERO, bytes)
    }

    /// The same over a long line: whatever passes takes so long each way, and as much as comes is under way.
    pub fn far(port: u16, delay: Duration, bytes: u64) -> Self {
        Self::with(port, delay, bytes, u64::MAX)
    }

    /// A long line that takes `gust` bytes, then nothing until the client's kernel is full, and so on.
    pub fn gusty(port: u16, delay: Duration, gust: u64) -> Self {
        Self::with(port, delay, u64::MAX, gust)
    }

    fn with(port: u16, delay: Duration, bytes: u64, gust: u64) -> Self {
        let flow = Arc::new(Flow {
            left: AtomicU64::new(bytes),
            is_spent: AtomicBool::new(false),
            holds: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            delay,
            gust,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            open: Mutex::new(Vec::new()),
        });
        let port = lead(port, usize::MAX, &flow);
        Self { port, flow }
    }

    /// Bytes that passed since this was last asked, both ways.
    pub fn take_count(&self) -> u64 {
        self.flow.sent.swap(0, Ordering::SeqCst) + self.flow.received.swap(0, Ordering::SeqCst)
    }

    /// Waits until it holds.
    #[track_caller]
    pub fn is_spent(&self) {
        wait_until("the line holds", Duration::from_mins(1), || {
            self.flow.is_spent.load(Ordering::SeqCst)
        });
    }

    /// Whether it holds by now.
    pub fn holds(&self) -> bool {
        self.flow.is_spent.load(Ordering::SeqCst)
    }

    /// Ends every connection; later ones pass.
    pub fn cut(&self) {
        self.flow.cut();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.flow.is_over.store(true, Ordering::SeqCst);
        self.flow.cut();
        // Wakes the thread that accepts.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Flow {
    fn cut(&self) {
        // What is held back does not pass before its connection is ended.
        for stream in self.open.lock().expect("a lock").drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.holds.store(false, Ordering::SeqCst);
    }

    /// Counts what a client sends, and waits while it must not pass.
    fn sends(&self, count: u64) {
        if self.is_spent.load(Ordering::SeqCst) {
            while self.holds.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
        } else if self.left.fetch_sub(count, Ordering::SeqCst) <= count {
            self.holds.store(true, Ordering::SeqCst);
            self.is_spent.store(true, Ordering::SeqCst);
            return self.sends(count);
        }
        self.sent.fetch_add(count, Ordering::SeqCst);
    }
}

/// Listens, and leads the first `most` who come to `port`.
fn lead(port: u16, most: usize, flow: &Arc<Flow>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let near = listener.local_addr().expect("an address").port();
    let flow = Arc::clone(flow);
    std::thread::spawn(move || {
        for client in listener.incoming().take(most) {
            if flow.is_over.load(Ordering::SeqCst) {
                return;
            }
            let client = client.expect("a client");
            if flow.gust != u64::MAX {
                // Where much waited here, the client would never find its own side full.
                set_socket_recv_buffer_size(&client, 2 * PIECE_BYTES).expect("a socket");
            }
            // A server that is down is a line that ends at once.
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
                continue;
            };
            let copies = [&client, &server].map(|end| end.try_clone().expect("dup"));
            flow.open.lock().expect("a lock").extend(copies);
            let [from, to] = [&client, &server].map(|end| end.try_clone().expect("dup"));
            let there = Arc::clone(&flow);
            std::thread::spawn(move || {
                let near = from.try_clone().expect("dup");
                let mut gust = there.gust;
                pass(from, to, there.delay, |bytes| {
                    gust = gust.saturating_sub(bytes.len() as u64);
                    if gust == 0 {
                        await_full(&near, &there);
                        gust = there.gust;
                    }
                    there.sends(bytes.len() as u64);
                });
            });
            let back = Arc::clone(&flow);
            std::thread::spawn(move || {
                pass(server, client, back.delay, |bytes| {
                    back.received
                        .fetch_add(bytes.len() as u64, Ordering::SeqCst);
                    lead_data(bytes, &back);
                });
            });
        }
    });
    near
}

/// Waits until nothing more comes into the kernel here, which has the client's fill, for long enough that the server has
/// answered to all that is under way.
fn await_full(near: &TcpStream, flow: &Flow) {
    let (mut waiting, mut since) = (0, Instant::now());
    while since.elapsed() < 3 * flow.delay && !flow.is_over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(2));
        let now = rustix::io::ioctl_fionread(near).unwrap_or_default();
        if now != waiting {
            (waiting, since) = (now, Instant::now());
        }
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: Duration,
    mut see: impl FnMut(&mut Vec<u8>),
) {
    // On a short line the far end has taken a piece before the next one is read.
    let under_way = if delay.is_zero() { 0 } else { UNDER_WAY_MAX };
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(under_way);
    let far_end = std::thread::spawn(move || {
        for (sent, bytes) in receiver {
            std::thread::sleep(delay.saturating_sub(sent.elapsed()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut bytes = buffer[..count].to_vec();
        see(&mut bytes);
        if sender.send((Instant::now(), bytes)).is_err() {
            break;
        }
    }
    drop(sender);
    far_end.join().expect("the far end");
}

/// `229 Entering extended passive mode (|||4711|).`
fn lead_data(bytes: &mut Vec<u8>, flow: &Arc<Flow>) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let port = text
        .strip_prefix("229 ")
        .and_then(|text| text.split_once("(|||"))
        .and_then(|(_, text)| text.split_once("|)"))
        .and_then(|(port, _)| port.parse::<u16>().ok());
    if let Some(port) = port {
        *bytes = format!(
            "229 Entering Extended Passive Mode (|||{}|)\r\n",
            lead(port, 1, flow)
        )
        .into_bytes();
    }
}
