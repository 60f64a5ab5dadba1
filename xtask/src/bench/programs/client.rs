//! Asks a server the same thing over and over, on some connections at once.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

const CONNECTIONS: usize = 4;
/// A server that has just started does not listen yet.
const STARTING: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) port: u16,
    pub(super) bytes: &'static str,
    /// Sent at once before an answer is waited for.
    pub(super) at_once: usize,
}

impl Question {
    /// How many were answered in this time, and the 99th percentile of how long they took, in seconds.
    pub(super) fn ask(self, time: Duration) -> Result<(f64, Option<f64>)> {
        let until = Instant::now() + time;
        let asking: Vec<_> = (0..CONNECTIONS).map(|_| thread::spawn(move || self.ask_until(until))).collect();
        let mut took = Vec::new();
        for one in asking {
            took.extend(one.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        took.sort_unstable();
        let p99 = took.get(took.len() * 99 / 100).map(Duration::as_secs_f64);
        Ok(((took.len() * self.at_once) as f64, p99))
    }

    fn ask_until(self, until: Instant) -> Result<Vec<Duration>> {
        let mut stream = self.connect()?;
        let question = self.bytes.repeat(self.at_once);
        // All answers are alike: the first says how long they are.
        stream.write_all(self.bytes.as_bytes())?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut buffer = vec![0; 1 << 16];
        thread::sleep(Duration::from_millis(200));
        let length = stream.read(&mut buffer).context("no answer")?;
        if length == 0 {
            bail!("the server closed the connection");
        }
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut answers = vec![0; length * self.at_once];
        let mut took = Vec::new();
        while Instant::now() < until {
            let asked = Instant::now();
            stream.write_all(question.as_bytes())?;
            stream.read_exact(&mut answers)?;
            took.push(asked.elapsed());
        }
        Ok(took)
    }

    fn connect(self) -> Result<TcpStream> {
        let until = Instant::now() + STARTING;
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(50)),
                Err(error) => bail!("nobody listens at port {}: {error}", self.port),
            }
        }
    }
}
