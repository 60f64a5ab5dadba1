//! When judgement is passed: at the end of each epoch, and after whole collections of JavaScript heaps.

use std::{fs, time::Duration};

use tokio::time::{Instant, Interval};

use super::{Failure, every, proving::Proving, session::Session, verifying::Verifying};
use crate::{
    attribute::Place,
    cli::{self, Plan},
    judge::{Judges, Options},
    kernel::{Registers, clock},
    report::{FailOn, Report},
    symbolize::Names,
    verdict::{HeapDiff, HeapMoment, Point, Suppressions},
};

/// The tables are not read more often than for this part of a CPU, however often a program collects.
const SHARE_OF_TIME: u32 = 20;

pub(super) struct Judging {
    pub(super) judges: Judges,
    epoch: Duration,
    epochs: Interval,
    ended: Instant,
    /// When the tables may be read again after a collection.
    not_before: Instant,
    /// What was live at the last two marks, the earlier one first.
    marks: [Option<HeapMoment>; 2],
    /// None unless asked for.
    proving: Option<Proving>,
    verifying: Verifying,
    /// All that is traced is to have its name soon, not only what something is said of.
    names_all: bool,
}

impl Judging {
    /// # Errors
    /// The file of suppressions makes no sense; better said before anything is traced.
    pub(super) fn new(plan: &Plan) -> Result<Self, Failure> {
        let suppressions = match &plan.suppress {
            None => Suppressions::default(),
            Some(path) => {
                let shown = path.display().to_string();
                let text = fs::read_to_string(path)
                    .map_err(|source| Failure::SuppressFile { path: shown.clone(), source })?;
                Suppressions::parse(&shown, &text)?
            }
        };
        // Patterns are held to names.
        let names_all = !plan.targets.are_all() || !suppressions.is_empty();
        let judges = Judges::new(Options {
            epoch: plan.epoch,
            min_rate: plan.min_rate as f64 / 60.0,
            consecutive: (plan.consecutive_gcs, plan.gc_tolerance),
            suppressions,
        });
        let begun = Instant::now();
        let epochs = every(plan.epoch, begun);
        Ok(Self {
            judges,
            epoch: plan.epoch,
            epochs,
            ended: begun,
            not_before: begun,
            marks: [None, None],
            proving: None,
            verifying: Verifying::default(),
            names_all,
        })
    }

    /// Memory is to be searched as well.
    pub(super) fn prove_by(&mut self, registers: Registers) -> Result<(), Failure> {
        self.proving = Some(Proving::start(registers, self.epoch)?);
        Ok(())
    }

    /// The first epoch begins.
    pub(super) fn begin(&mut self, begun: Instant) {
        if let Some(proving) = &mut self.proving {
            proving.begin(begun);
        }
        (self.epochs, self.ended) = (every(self.epoch, begun), begun);
    }

    /// Until the epoch is over.
    pub(super) async fn epoch_over(&mut self) {
        self.epochs.tick().await;
    }

    /// When memory is to be searched; never unless asked for.
    pub(super) fn search_due(&self) -> Option<Instant> {
        self.proving.as_ref().map(Proving::due)
    }

    /// Has memory searched, by a thread of its own.
    pub(super) fn search(&mut self, session: &mut Session, names: &Names) -> Result<(), Failure> {
        self.proving.as_mut().map_or(Ok(()), |proving| proving.scan(session, &self.judges, names))
    }

    /// Waits for a last search where that is not long.
    pub(super) async fn last_search(&mut self, session: &mut Session, names: &Names) -> Result<(), Failure> {
        match &mut self.proving {
            Some(proving) => proving.last(session, &self.judges, names).await,
            None => Ok(()),
        }
    }

    /// Closes the books of processes that have ended and of which nothing is to be said.
    pub(super) fn retire(&mut self, session: &mut Session, names: &mut Names) {
        let gone = session.retire(|process| self.judges.needs(process), names);
        self.judges.retire(&gone);
    }

    /// Ends an epoch of native memory.
    pub(super) fn end_epoch(&mut self, session: &mut Session, names: &mut Names) -> Result<(), Failure> {
        self.ended = Instant::now();
        session.listen()?;
        session.snapshot()?;
        self.retire(session, names);
        self.look_up(session, names);
        if let Some(proving) = &mut self.proving {
            proving.tell(session, &mut self.judges, names);
        }
        self.judges.end_epoch(&session.ledger, names);
        self.name_suspects(session, names);
        // Where epochs are short there may be no time to hear of them between two.
        self.hear(session);
        if self.is_collected(session) {
            self.collected(session, names, clock::of_thread());
        }
        self.judges.rest(&session.ledger);
        self.verifying.verify(session, &mut self.judges);
        Ok(())
    }

    /// Ends epochs of JavaScript heaps that were collected as a whole since.
    pub(super) fn hear_collections(
        &mut self,
        session: &mut Session,
        names: &mut Names,
    ) -> Result<(), Failure> {
        self.hear(session);
        if self.is_collected(session) {
            let begun = clock::of_thread();
            session.snapshot()?;
            self.look_up(session, names);
            self.collected(session, names, begun);
        }
        Ok(())
    }

    /// Whether there is a whole collection to judge by, and time for it.
    fn is_collected(&self, session: &Session) -> bool {
        session.collected && Instant::now() >= self.not_before
    }

    /// Judges by the last snapshot. `begun` is the thread's own clock: on a busy machine most of the time that passes is not
    /// spent on this.
    fn collected(&mut self, session: &mut Session, names: &Names, begun: u64) {
        session.collected = false;
        self.judges.collected(&session.ledger, names);
        let spent = Duration::from_nanos(clock::of_thread().saturating_sub(begun));
        self.not_before = Instant::now() + spent * SHARE_OF_TIME;
    }

    /// Takes note of collections, and of heaps that are gone.
    fn hear(&mut self, session: &mut Session) {
        for collection in session.collections.drain(..) {
            self.judges.hear(&collection);
            session.collected |= collection.is_major();
        }
        // After its last collections.
        for (process, heap) in session.heaps_ended.drain(..) {
            self.judges.ended(process, heap);
        }
    }

    /// The last part of an epoch counts if it is most of one, or if something was proven in it.
    pub(super) fn end(&mut self, session: &mut Session, names: &mut Names) -> Result<(), Failure> {
        // What came late is judged by its name too. Large files are read for the report, when nothing is recorded any more.
        self.look_up(session, names);
        let _ = session.symbols.await_all(names);
        session.listen()?;
        session.collected = true;
        self.not_before = Instant::now();
        self.hear_collections(session, names)?;
        let has_news = self.proving.as_mut().is_some_and(Proving::has_news);
        if has_news || self.ended.elapsed() * 2 > self.epoch {
            self.end_epoch(session, names)?;
        }
        Ok(())
    }

    /// Notes what is live now: later reports say what has changed since.
    pub(super) fn mark(&mut self, session: &mut Session, names: &mut Names) -> Result<(), Failure> {
        session.listen()?;
        session.snapshot()?;
        session.name_javascript(&[], names);
        self.marks = [self.marks[1].take(), Some(Report::moment(&session.ledger, names))];
        Ok(())
    }

    /// The report with everything that was judged.
    pub(super) fn complete(&self, report: Report, session: &Session, names: &Names) -> Report {
        let mut report = report.with_verdicts(&self.judges, names, &session.ledger);
        let (ledger, end) = (&session.ledger, || Report::moment(&session.ledger, names));
        report.diff = Some(match &self.marks {
            [Some(before), Some(mark)] => HeapDiff::between((Point::Mark, before), (Point::Mark, mark)),
            [_, Some(mark)] => HeapDiff::between((Point::Mark, mark), (Point::End, &end())),
            [_, None] => {
                let start = HeapMoment::new(ledger.at().saturating_sub(ledger.traced_ns()));
                HeapDiff::between((Point::Start, &start), (Point::End, &end()))
            }
        });
        report.proofs = self.proving.as_ref().map(Proving::proofs).unwrap_or_default();
        report
    }

    /// Names for what is judged: JavaScript's at once; the others are asked for, and are there at a later epoch. Of a whole
    /// machine those in large files are not: to read a browser's symbols for nothing takes a hundred megabytes.
    fn look_up(&self, session: &mut Session, names: &mut Names) {
        let places = session.ledger.places();
        session.name_javascript(&places, names);
        // Without its thread nothing has a name, and the report says so.
        let _ = if self.names_all {
            session.symbols.ask(&places, names)
        } else {
            let of_engines = session.files_of_engines();
            session.symbols.ask_cheap(&places, &of_engines, names)
        };
        session.symbols.collect(names);
    }

    /// Names for what is called or suspected, wherever it is.
    fn name_suspects(&self, session: &mut Session, names: &Names) {
        if self.names_all {
            return;
        }
        let places: Vec<Place> = self.judges.suspected(&session.ledger).collect();
        let _ = session.symbols.ask(&places, names);
    }
}

/// Whether the run is to fail by what was found.
pub(super) fn verdict(report: &Report, fail_on: Option<cli::FailOn>) -> Result<(), Failure> {
    let (level, what) = match fail_on {
        None => return Ok(()),
        Some(cli::FailOn::Leak) => (FailOn::Leak, "leak"),
        Some(cli::FailOn::Suspect) => (FailOn::Suspect, "suspected leak"),
    };
    if level.is_met(report) { Err(Failure::Found(what)) } else { Ok(()) }
}
