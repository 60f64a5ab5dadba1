//! Asks a server on this machine.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, TcpStream},
};

use crate::child::PATIENCE;

/// The whole answer, headers and all.
pub fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    io::read_to_string(stream)
}
