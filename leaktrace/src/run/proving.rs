//! `--prove`: the memory of traced processes is searched for what still points to their blocks.
//!
//! A thread of its own searches, one process after the other, while the rings are read here. A process's [`Prover`]
//! goes there with its blocks and comes back with what it found, which is told to the judges at the next epoch's end,
//! after a snapshot: nothing that was freed meanwhile is called lost.
//!
//! Only blocks that the judges look at are searched for; V8's own are roots, like all that was there before tracing. For
//! each block about 150 bytes are held while a scan is under way, and there are no more blocks than `--max-live`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use leaktrace_common::process::ProcessId;
use tokio::time::{Instant, sleep};

use super::{Failure, session::Session};
use crate::{
    judge::Judges,
    kernel::{Registers, clock},
    ledger::State,
    reach::{BlockAt, Prover, ReachError, Scan, Settings},
    report::Proof,
    symbolize::Names,
};

/// Scans come no closer than this, however short epochs are, and no farther than that, however long.
const APART: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// After a scan, the next one waits so many times as long as it took of a CPU: a tenth of one at most.
const REST: u32 = 9;
/// The end waits this long for a scan that will soon be due, and so long for one that is under way.
const SOON: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(10);

/// To the thread and, with what was found, back.
struct Job {
    process: ProcessId,
    prover: Prover,
    at: u64,
    blocks: Vec<BlockAt>,
}

struct Done {
    process: ProcessId,
    prover: Prover,
    result: Result<Scan, ReachError>,
    /// CPU time of the thread, in nanoseconds.
    cpu: u64,
}

/// A process that is searched.
struct One {
    /// None while a scan is under way, before the first one, and after one that failed.
    prover: Option<Prover>,
    under_way: bool,
    next: Instant,
    /// A scan came back that the judges have not heard of.
    news: bool,
    proof: Proof,
}

pub(super) struct Proving {
    settings: Settings,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    processes: BTreeMap<ProcessId, One>,
    next: Instant,
}

impl Proving {
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(registers: Registers, epoch: Duration) -> Result<Self, Failure> {
        let apart = nanoseconds(epoch.clamp(APART[0], APART[1]));
        let settings = Settings { apart, youngest: apart, ..Settings::new(clock::page_size()) };
        let (jobs, taken) = channel::<Job>();
        let (send, done) = channel();
        let search = move || {
            for Job { process, mut prover, at, blocks } in taken {
                let before = clock::of_thread();
                let result = prover.scan(at, &blocks, &mut || registers.list().map_err(Into::into));
                if send.send(Done { process, prover, result, cpu: clock::of_thread() - before }).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("prove".to_owned())
            .spawn(search)
            .map_err(|source| Failure::Io { doing: "starting the thread that searches memory", source })?;
        Ok(Self { settings, jobs, done, processes: BTreeMap::new(), next: Instant::now() })
    }

    fn apart(&self) -> Duration {
        Duration::from_nanos(self.settings.apart)
    }

    /// Tracing has begun. Before blocks are old enough there is nothing to search for.
    pub(super) fn begin(&mut self, begun: Instant) {
        self.next = begun + self.apart();
    }

    /// When something may have to be searched.
    pub(super) const fn due(&self) -> Instant {
        self.next
    }

    /// Sends every process to be searched whose time has come.
    pub(super) fn scan(
        &mut self,
        session: &mut Session,
        judges: &Judges,
        names: &Names,
    ) -> Result<(), Failure> {
        self.collect();
        session.listen()?;
        let mut running: BTreeMap<ProcessId, u32> = session
            .ledger
            .processes()
            .filter(|process| process.state == State::Running && process.pid != 0)
            .map(|process| (process.id, process.pid))
            .collect();
        let now = Instant::now();
        self.next = now + self.apart();
        running.retain(|process, _| {
            self.processes.get(process).is_none_or(|one| !one.under_way && one.next <= now)
        });
        if running.is_empty() {
            return Ok(());
        }
        session.snapshot()?;
        let begun = Instant::now();
        self.next = begun + self.apart();
        let mut blocks = blocks(session, judges, names);
        for (process, pid) in running {
            let one = self.processes.entry(process).or_insert_with(|| One {
                prover: None,
                under_way: false,
                next: begun,
                news: false,
                proof: Proof::new(pid, process.0, self.settings.scans),
            });
            one.next = begun + Duration::from_nanos(self.settings.apart);
            let prover = match one.prover.take() {
                Some(prover) => prover,
                None => match Prover::new(pid, self.settings) {
                    Ok(prover) => prover,
                    Err(error) => {
                        one.proof.not_searched = Some(error.to_string());
                        continue;
                    }
                },
            };
            let blocks = blocks.remove(&process).unwrap_or_default();
            let job = Job { process, prover, at: session.ledger.at(), blocks };
            one.under_way = self.jobs.send(job).is_ok();
            if !one.under_way {
                one.proof.not_searched = Some("the thread that searches has ended".to_owned());
            }
        }
        Ok(())
    }

    /// Tells the judges what is out of reach and still there by the ledger's last snapshot.
    pub(super) fn tell(&mut self, session: &Session, judges: &mut Judges, names: &Names) {
        self.collect();
        if self.processes.is_empty() {
            return;
        }
        let blocks = blocks(session, judges, names);
        for (process, one) in &mut self.processes {
            let Some(prover) = &mut one.prover else { continue };
            let live = blocks.get(process).map_or(&[][..], |blocks| blocks);
            one.proof.refuted += prover.forget_freed(live);
            let found: HashMap<_, _> =
                prover.stacks().into_iter().map(|stack| (stack, prover.unreachable(stack))).collect();
            let proven = found.values().filter(|found| found.scans >= self.settings.scans);
            (one.proof.lost, one.proof.lost_bytes) =
                proven.fold((0, 0), |(blocks, bytes), found| (blocks + found.blocks, bytes + found.bytes));
            judges.prove(*process, found);
            one.news = false;
        }
        // What ended or ran another program keeps what was said of it, and nothing more is found.
        for process in session.ledger.processes().filter(|process| process.state != State::Running) {
            if let Some(one) = self.processes.get_mut(&process.id) {
                one.prover = None;
                one.proof.ended();
            }
        }
    }

    /// Whether a scan came back since the judges were told, and there may be a proof in it.
    pub(super) fn has_news(&mut self) -> bool {
        self.collect();
        self.processes.values().any(|one| one.news && one.proof.scans >= self.settings.scans)
    }

    /// What a last scan is for, where one is due or nearly so: waits until it is back, while the rings are read.
    pub(super) async fn last(
        &mut self,
        session: &mut Session,
        judges: &Judges,
        names: &Names,
    ) -> Result<(), Failure> {
        if !session.is_alive() {
            return Ok(());
        }
        let end = Instant::now() + LAST;
        let soon = Instant::now() + SOON;
        loop {
            self.collect();
            let under_way = self.processes.values().any(|one| one.under_way);
            if self.next <= Instant::now() {
                // Not again after this one.
                self.scan(session, judges, names)?;
            } else if !under_way && self.next > soon {
                return Ok(());
            }
            if Instant::now() >= end || !session.is_alive() {
                return Ok(());
            }
            sleep(session.pace()).await;
            session.listen()?;
        }
    }

    /// What reports show.
    pub(super) fn proofs(&self) -> Vec<Proof> {
        self.processes.values().map(|one| one.proof.clone()).collect()
    }

    fn collect(&mut self) {
        for Done { process, prover, result, cpu } in self.done.try_iter() {
            let Some(one) = self.processes.get_mut(&process) else { continue };
            one.under_way = false;
            match result {
                Ok(scan) => {
                    one.next = one.next.max(Instant::now() + REST * Duration::from_nanos(cpu));
                    one.proof.take(&scan, cpu);
                    one.prover = Some(prover);
                    one.news = true;
                }
                // It ended, or is about to be heard of as another program.
                Err(error) => one.proof.not_searched = Some(error.to_string()),
            }
        }
    }
}

/// What the judges look at, by process, under the stacks that they know it by.
fn blocks(session: &Session, judges: &Judges, names: &Names) -> HashMap<ProcessId, Vec<BlockAt>> {
    let mut all: HashMap<ProcessId, Vec<BlockAt>> = HashMap::new();
    for (site, stack) in judges.native(&session.ledger, names) {
        let blocks = site.blocks.iter().map(|block| BlockAt {
            address: block.address,
            size: block.size,
            stack,
            born: block.born,
        });
        all.entry(site.process.id).or_default().extend(blocks);
    }
    all
}

fn nanoseconds(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}
