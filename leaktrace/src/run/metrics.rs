//! `--metrics`: serves the newest metrics over HTTP, from a thread of its own, so that a scrape waits for nothing.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net;

use super::Failure;
use crate::{metrics, process, report::Report};

/// How often the metrics are made anew: Prometheus asks every 15 to 60 seconds.
pub(super) const EVERY: Duration = Duration::from_secs(15);
/// A client that sends no request in this time is left: half-open connections must not pile up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is served; lives as long as the trace.
pub(super) struct Metrics {
    page: Arc<Mutex<Bytes>>,
    pub(super) address: SocketAddr,
}

impl Metrics {
    /// Serves from now on.
    ///
    /// # Errors
    /// The address makes no sense, or is another's.
    pub(super) fn serve(address: &str) -> Result<Self, Failure> {
        let failed = |source| Failure::Metrics { address: address.to_owned(), source };
        let listener = listen(address).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let page = Arc::new(Mutex::new(Bytes::new()));
        let served = Arc::clone(&page);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let serve = move || runtime.block_on(serve(listener, &served));
        thread::Builder::new().name("metrics".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { page, address: bound })
    }

    pub(super) fn update(&self, report: &Report) {
        if let Ok(text) = metrics::text(report, own()) {
            *self.page.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
        }
    }
}

fn own() -> Option<metrics::Own> {
    let (cpu, resident) = process::usage_of(std::process::id())?;
    Some(metrics::Own { cpu, resident })
}

fn listen(address: &str) -> io::Result<TcpListener> {
    // `:9464` is every address of the machine, as Prometheus's own exporters have it.
    let whole = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
    let addresses: Vec<SocketAddr> = whole.to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&addresses[..])?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: TcpListener, page: &Arc<Mutex<Bytes>>) {
    let Ok(listener) = net::TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: they come back as connections end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let page = Arc::clone(page);
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let page = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
                async move { Ok::<_, Infallible>(answer(&request, page)) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            // A client that goes away is its own affair.
            let _ = http.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn answer(request: &Request<Incoming>, page: Bytes) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, metrics::CONTENT_TYPE, page),
        (&Method::GET | &Method::HEAD, _) => (
            StatusCode::NOT_FOUND,
            "text/plain",
            Bytes::from_static(b"leaktrace's metrics are at /metrics\n"),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::from_static(b"only GET\n")),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };

    use super::*;
    use crate::report::tests::judged::judged;

    fn asked(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_newest_metrics_are_served_and_nothing_else() {
        let metrics = Metrics::serve("127.0.0.1:0").unwrap();
        // One that sends nothing holds nobody up.
        let _silent = TcpStream::connect(metrics.address).unwrap();
        metrics.update(&judged(100, false, 0));
        let page = asked(metrics.address, "GET /metrics");
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("application/openmetrics-text"), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
        assert!(asked(metrics.address, "GET /").starts_with("HTTP/1.1 404"));
        assert!(asked(metrics.address, "POST /metrics").starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn an_address_that_is_taken_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = Metrics::serve(&address).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&address), "{error}");
        assert!(Metrics::serve("nonsense").is_err());
    }
}
