//! `--push`: sends profiles to a store, from a thread of its own, so that tracing waits for nothing.
//!
//! A store that cannot be reached costs nothing but its profiles' times: what was allocated meanwhile is in the next one.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use data_encoding::BASE64;
use ureq::{
    Agent,
    http::header::{AUTHORIZATION, CONTENT_TYPE},
    tls::{RootCerts, TlsConfig},
};

use super::Failure;
use crate::{
    cli::PushTo,
    push::{Moment, PATH, Sent},
    report::Report,
};

/// A store that does not answer in this time is left until the next one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what a store says to a request that it refuses.
const WORDS: usize = 200;

pub(super) struct Push {
    reports: SyncSender<Report>,
    thread: JoinHandle<Store>,
}

impl Push {
    /// # Errors
    /// There can be no further thread.
    pub(super) fn start(to: &PushTo) -> Result<Self, Failure> {
        let mut store = Store::new(to.clone());
        let (reports, heard) = sync_channel(1);
        let failed = |source| Failure::Io { doing: "starting the thread of --push", source };
        let send = move || {
            store.send_all(&heard);
            store
        };
        let thread = thread::Builder::new().name("push".to_owned()).spawn(send).map_err(failed)?;
        Ok(Self { reports, thread })
    }

    /// Sends it if the last one is on its way; else the next has what was allocated meanwhile.
    pub(super) fn send(&self, report: Report) {
        let _ = self.reports.try_send(report);
    }

    /// Sends the last one.
    ///
    /// # Errors
    /// The store did not take it.
    pub(super) fn end(self, report: &Report) -> Result<(), Failure> {
        let Self { reports, thread } = self;
        drop(reports);
        // It ended by itself only if it panicked, of which the panic has told.
        let Ok(mut store) = thread.join() else { return Ok(()) };
        store.send(report).map_err(|why| Failure::Push { url: store.to.url.clone(), why })
    }
}

struct Store {
    to: PushTo,
    agent: Agent,
    hostname: String,
    sent: Sent,
    /// Whether the last request failed: it is said once.
    is_out: bool,
}

impl Store {
    fn new(to: PushTo) -> Self {
        // The machine's own certificates: a store in the house has one of the house.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .user_agent(concat!("leaktrace/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls);
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            to,
            agent: config.build().new_agent(),
            hostname: hostname.trim().to_owned(),
            sent: Sent::default(),
            is_out: false,
        }
    }

    fn send_all(&mut self, reports: &Receiver<Report>) {
        for report in reports {
            let was_out = self.is_out;
            match self.send(&report) {
                Err(why) if !was_out => crate::say!(
                    "warning: --push {}: {why}; it is tried again with the next profile, which has what this one had",
                    self.to.url
                ),
                Ok(()) if was_out => crate::say!("--push {}: profiles are taken again", self.to.url),
                _ => {}
            }
        }
    }

    fn send(&mut self, report: &Report) -> Result<(), String> {
        let done = self.post(report);
        self.is_out = done.is_err();
        if done.is_ok() {
            self.sent.taken(report);
        }
        done
    }

    fn post(&self, report: &Report) -> Result<(), String> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let moment = Moment { at_ns: since_1970.as_nanos() as u64, hostname: &self.hostname };
        let body = self.sent.request(report, moment, uuid).map_err(|error| error.to_string())?;
        let Some(body) = body else { return Ok(()) };
        let mut request =
            self.agent.post(format!("{}{PATH}", self.to.url)).header(CONTENT_TYPE, "application/json");
        if let Some((user, password)) = &self.to.user {
            let both = BASE64.encode(format!("{user}:{password}").as_bytes());
            request = request.header(AUTHORIZATION, format!("Basic {both}"));
        }
        let mut answer = request.send(body).map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            return Ok(());
        }
        let words = answer.body_mut().read_to_string().unwrap_or_default();
        let words: String = words.trim().chars().take(WORDS).collect();
        Err(format!("it answered {}: {words}", answer.status()))
    }
}

/// The kernel makes a new one each time.
fn uuid() -> String {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    uuid.trim().to_owned()
}
