//! What came out for one hour, and many hours' sums.

use leaktrace::verdict::Judgement;

use crate::{
    class::Class,
    hour::Hour,
    rivals::Rival,
    watch::{Eyes, watch},
};

/// Survivors from which a leak has to be found.
pub const SEEN: usize = 100;
/// Windows, in minutes, at which the verdict LEAK is tried.
pub const WINDOWS: [u32; 7] = [5, 10, 15, 20, 30, 36, 48];

/// One rule on one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Said {
    /// At the end.
    pub leak: bool,
    pub suspect: bool,
    /// At any time, about a stack that does not leak.
    pub false_leak: bool,
    /// Seconds with a suspect that is none, and all of them.
    pub suspected: f64,
    pub watched: f64,
}

/// One hour, watched one way.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub leaks: bool,
    pub survivors: usize,
    pub said: Said,
    /// Verdicts at the end that are leaks.
    pub verdicts: usize,
    pub taken_back: u32,
    /// The longest window that passed often enough: LEAK would have been called at any shorter one.
    /// Minutes.
    pub longest: f64,
    /// Confidence of each that passed and whether it is a leak, every tenth epoch.
    pub confident: Vec<(f64, bool)>,
    /// In the order of [`Rival::ALL`]; none where they were not asked.
    pub rivals: Vec<Said>,
}

/// Whether a judgement is about a stack that leaks: its frames are those that such a stack begins with, and all at
/// least that the leaking ones have in common. Further up it would be about half of the program.
fn is_right(hour: &Hour, judgement: &Judgement) -> bool {
    let mut leaking = hour.leaking.iter().map(|stack| &hour.stacks[*stack]);
    let Some(first) = leaking.next() else { return false };
    let common = leaking.clone().fold(first.len(), |common, stack| {
        common.min(first.iter().zip(stack).take_while(|(a, b)| a == b).count())
    });
    judgement.path.len() >= common && leaking.chain([first]).any(|stack| stack.starts_with(&judgement.path))
}

#[must_use]
pub fn judge(class: &Class, seed: u64, eyes: Eyes, with_rivals: bool) -> Outcome {
    let hour = class.hour(seed);
    let mut outcome = Outcome {
        leaks: class.leaks,
        survivors: hour.survivors(),
        said: Said::default(),
        verdicts: 0,
        taken_back: 0,
        longest: 0.0,
        confident: Vec::new(),
        rivals: Vec::new(),
    };
    watch(&hour, eyes, seed, |epoch, lasts, judgements| {
        let said = &mut outcome.said;
        said.watched += lasts;
        let right = |judgement: &&Judgement| is_right(&hour, judgement);
        let leaks = || judgements.iter().filter(|judgement| judgement.verdict.is_leak());
        let suspects = || judgements.iter().filter(|judgement| judgement.verdict.is_suspect());
        // Of a program that leaks, only what is said of the leaking stacks is right; of another one nothing is.
        said.leak = leaks().any(|judgement| !class.leaks || is_right(&hour, judgement));
        said.suspect = suspects().next().is_some();
        let wrong = leaks().any(|judgement| !right(&judgement));
        said.false_leak |= wrong;
        said.suspected += if suspects().any(|judgement| !right(&judgement)) { lasts } else { 0.0 };
        outcome.verdicts = leaks().count();
        outcome.taken_back =
            outcome.taken_back.max(judgements.iter().map(|judgement| judgement.taken_back).sum());
        for judgement in leaks().chain(suspects()) {
            let enough = judgement.passes >= 4 && judgement.evidence.grown >= 50;
            let window = if enough { judgement.evidence.window_ns as f64 / 60e9 } else { 0.0 };
            outcome.longest = outcome.longest.max(window);
            if epoch % 10 == 0 {
                let confident = judgement.evidence.confidence.probability;
                outcome.confident.push((confident, is_right(&hour, judgement)));
            }
        }
    });
    if with_rivals {
        outcome.rivals = Rival::ALL.iter().map(|rival| rival_said(*rival, &hour, class.leaks)).collect();
    }
    outcome
}

fn rival_said(rival: Rival, hour: &Hour, leaks: bool) -> Said {
    let says = rival.says(hour);
    let wrong = !leaks && says.contains(&true);
    Said { leak: says.last().copied().unwrap_or_default(), false_leak: wrong, ..Said::default() }
}

/// Judges every class with every seed, on as many threads as there are processors.
#[must_use]
pub fn judge_all(
    classes: &[Class],
    seeds: std::ops::Range<u64>,
    eyes: Eyes,
    rivals: bool,
) -> Vec<Vec<Outcome>> {
    let jobs: Vec<(&Class, u64)> =
        classes.iter().flat_map(|class| seeds.clone().map(move |seed| (class, seed))).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, Outcome)> = std::thread::scope(|scope| {
        let jobs = &jobs;
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mine = jobs.iter().enumerate().skip(worker).step_by(threads);
                    let judge = |(at, (class, seed)): (usize, &(&Class, u64))| {
                        (at, judge(class, *seed, eyes, rivals))
                    };
                    mine.map(judge).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    let each = (seeds.end - seeds.start) as usize;
    let outcomes: Vec<Outcome> = done.into_iter().map(|(_, outcome)| outcome).collect();
    outcomes.chunks(each.max(1)).map(<[Outcome]>::to_vec).collect()
}

/// What of the gate does not hold: no false LEAK, SUSPECT in at most 5 % of what does not leak, both at the end and
/// over all time, and 95 % of the leaks found that have enough survivors.
#[must_use]
pub fn gate(outcomes: &[Vec<Outcome>]) -> Vec<String> {
    let (leaks, none): (Vec<&Outcome>, Vec<&Outcome>) =
        outcomes.iter().flatten().partition(|outcome| outcome.leaks);
    let wrong = outcomes.iter().flatten().filter(|outcome| outcome.said.false_leak).count();
    let suspects = none.iter().filter(|outcome| outcome.said.suspect).count();
    let (suspected, watched) = none.iter().fold((0.0, 0.0), |(suspected, watched), outcome| {
        (suspected + outcome.said.suspected, watched + outcome.said.watched)
    });
    let seen: Vec<_> = leaks.iter().filter(|outcome| outcome.survivors >= SEEN).collect();
    let found = seen.iter().filter(|outcome| outcome.said.leak).count();
    let holds = [
        (wrong == 0, format!("{wrong} false LEAK")),
        (suspects * 20 <= none.len(), format!("{suspects} of {} are SUSPECT at the end", none.len())),
        (
            suspected * 20.0 <= watched,
            format!("SUSPECT for {:.0} of {:.0} minutes", suspected / 60.0, watched / 60.0),
        ),
        (found * 20 >= seen.len() * 19, format!("{found} of {} leaks found", seen.len())),
    ];
    holds.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what).collect()
}
