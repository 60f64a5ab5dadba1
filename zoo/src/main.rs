//! `cargo xtask zoo`: judges every class on seeds kept for judging and prints what came out, as Markdown.

use std::process::ExitCode;

use zoo::{
    JUDGING,
    class::{CLASSES, ENDLESS, STEADY},
    score::{Outcome, gate, judge_all},
    table,
    watch::Eyes,
};

/// Hours of each class; 22 classes do not leak, so 20 give more than the gate's 300 hours.
const HOURS: u64 = 20;
const QUICK: u64 = 4;

const USAGE: &str = "usage: zoo [--quick] [--tune] [--hours N] | --scale
  --quick    4 hours of each class instead of 20
  --tune     seeds for tuning instead of those for judging
  --hours N  so many hours of each class
  --scale    how long an epoch of 100,000 stacks takes instead";

fn main() -> ExitCode {
    let (mut hours, mut first) = (HOURS, JUDGING);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => hours = QUICK,
            "--scale" => {
                print!("{}", zoo::scale::measure());
                return ExitCode::SUCCESS;
            }
            "--tune" => first = 0,
            "--hours" => match words.next().and_then(|number| number.parse().ok()) {
                Some(number) => hours = number,
                None => return usage(),
            },
            _ => return usage(),
        }
    }
    let seeds = first..first + hours;
    let native = judge_all(&CLASSES, seeds.clone(), Eyes::Native, true);
    let collected = judge_all(&CLASSES, seeds.clone(), Eyes::Collected, false);
    println!("## Rules\n\n{}", table::rules(&native, &collected));
    println!("## Classes\n\n{}", table::classes(&CLASSES, &native, &collected));
    println!("## How long to look, native\n\n{}", table::windows(&native));
    println!("## How long to look, by major GCs\n\n{}", table::windows(&collected));
    println!("## Confidence, on all classes above\n\n{}", table::reliability(&said(&native)));
    let population = population(first, hours);
    println!(
        "## Confidence, where three of ten programs leak and the others fill for any time\n\n{}",
        table::reliability(&said(&population))
    );
    let endless = &population[1];
    let called = endless.iter().filter(|outcome| outcome.said.false_leak).count();
    println!(
        "{called} of these {} that fill for any time were called LEAK, not in the gate.\n",
        endless.len()
    );
    let failed: Vec<String> = [("native", &native), ("by major GCs", &collected)]
        .into_iter()
        .flat_map(|(eyes, outcomes)| gate(outcomes).into_iter().map(move |what| format!("{eyes}: {what}")))
        .collect();
    if failed.is_empty() {
        println!("The gate holds.");
        return ExitCode::SUCCESS;
    }
    println!("The gate does not hold:\n{}", failed.join("\n"));
    ExitCode::FAILURE
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn said(outcomes: &[Vec<Outcome>]) -> Vec<(f64, bool)> {
    outcomes.iter().flatten().flat_map(|outcome| outcome.confident.iter().copied()).collect()
}

fn population(first: u64, hours: u64) -> Vec<Vec<Outcome>> {
    let mut all = judge_all(&[STEADY], first..first + 6 * hours, Eyes::Native, false);
    all.extend(judge_all(&[ENDLESS], first..first + 14 * hours, Eyes::Native, false));
    all
}
