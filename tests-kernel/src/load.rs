//! Load on an HTTP server on the loopback: a bounded number of kept connections for a bounded time.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How the load went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Served {
    pub requests: u64,
    pub slowest: Duration,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<Served>>>,
}

impl Load {
    /// `clients` connections to the port, each with one request under way at any time.
    #[must_use]
    pub fn start(port: u16, path: &'static str, clients: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || request_until(&stop, port, path, pause))
            })
            .collect();
        Self { stop, clients }
    }

    /// Ends the load. Fails if any request did.
    pub fn end(self) -> Result<Served> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Served::default();
        for client in self.clients {
            let Ok(served) = client.join() else { bail!("a client panicked") };
            let served = served?;
            all.requests += served.requests;
            all.slowest = all.slowest.max(served.slowest);
        }
        Ok(all)
    }
}

/// A port of the loopback that nobody listens at now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn request_until(stop: &AtomicBool, port: u16, path: &str, pause: Duration) -> Result<Served> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).context("no connection")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut served = Served::default();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        write!(writer, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        response(&mut reader).with_context(|| format!("request {} failed", served.requests + 1))?;
        served.requests += 1;
        served.slowest = served.slowest.max(begun.elapsed());
        thread::sleep(pause);
    }
    Ok(served)
}

/// Reads one response with a content length, which has to be a 200.
fn response(reader: &mut BufReader<TcpStream>) -> Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        bail!("answered {line:?}");
    }
    let mut length = 0;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            bail!("the connection ended in the headers");
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().context("no length")?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).context("the body is short")
}
