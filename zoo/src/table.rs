//! Outcomes as Markdown.

use std::fmt::Write;

use crate::{
    class::Class,
    rivals::Rival,
    score::{Outcome, SEEN, Said, WINDOWS},
};

fn percent(part: usize, of: usize) -> String {
    if of == 0 { "-".to_owned() } else { format!("{:.1}", part as f64 * 100.0 / of as f64) }
}

/// A line for each rule: ours by each way of watching, then the rivals.
#[must_use]
pub fn rules(native: &[Vec<Outcome>], collected: &[Vec<Outcome>]) -> String {
    let mut text = format!(
        "| rule | recall % | recall % of leaks with {SEEN} survivors | false LEAK per non-leaking hour | \
         of them wrong at the end % | wrong at any time % | SUSPECT at the end % | SUSPECT of all time % |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    let native: Vec<&Outcome> = native.iter().flatten().collect();
    let collected: Vec<&Outcome> = collected.iter().flatten().collect();
    line(&mut text, "**leaktrace, native**", &native, true, |outcome| Some(outcome.said));
    line(&mut text, "**leaktrace, by major GCs**", &collected, true, |outcome| Some(outcome.said));
    for (at, rival) in Rival::ALL.iter().enumerate() {
        line(&mut text, rival.name(), &native, false, |outcome| outcome.rivals.get(at).copied());
    }
    text
}

fn line(
    text: &mut String,
    name: &str,
    all: &[&Outcome],
    ours: bool,
    said: impl Fn(&Outcome) -> Option<Said>,
) {
    let of = |wanted: &dyn Fn(&Outcome) -> bool| {
        let outcomes = all.iter().filter(|outcome| wanted(outcome));
        outcomes.filter_map(|outcome| said(outcome)).collect::<Vec<Said>>()
    };
    let (leaks, seen, none) = (
        of(&|outcome| outcome.leaks),
        of(&|outcome| outcome.leaks && outcome.survivors >= SEEN),
        of(&|outcome| !outcome.leaks),
    );
    if none.is_empty() {
        return;
    }
    let found = |of: &[Said]| percent(of.iter().filter(|said| said.leak).count(), of.len());
    let count = |is: &dyn Fn(&Said) -> bool| none.iter().filter(|said| is(said)).count();
    let (end, ever) = (count(&|said| said.leak), count(&|said| said.false_leak));
    let watched: f64 = none.iter().map(|said| said.watched).sum();
    let suspected: f64 = none.iter().map(|said| said.suspected).sum();
    let (at_end, of_epochs) = if ours {
        (percent(count(&|said| said.suspect), none.len()), percent(suspected as usize, watched as usize))
    } else {
        ("-".to_owned(), "-".to_owned())
    };
    let _ = writeln!(
        text,
        "| {name} | {} | {} | {ever}/{} | {} | {} | {at_end} | {of_epochs} |",
        found(&leaks),
        found(&seen),
        none.len(),
        percent(end, none.len()),
        percent(ever, none.len()),
    );
}

/// A line for each class.
#[must_use]
pub fn classes(classes: &[Class], native: &[Vec<Outcome>], collected: &[Vec<Outcome>]) -> String {
    let mut text = format!(
        "| class | leaks | hours | LEAK at the end % | with {SEEN} survivors % | SUSPECT at the end % | \
         SUSPECT of all time % | false LEAK | by GCs: LEAK % | with {SEEN} survivors % | SUSPECT % | \
         SUSPECT of all time % | false LEAK |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for ((class, native), collected) in classes.iter().zip(native).zip(collected) {
        let columns = |of: &[Outcome]| {
            let count = |is: &dyn Fn(&Outcome) -> bool| of.iter().filter(|outcome| is(outcome)).count();
            let seen = count(&|outcome| outcome.survivors >= SEEN && class.leaks);
            let watched: f64 = of.iter().map(|outcome| outcome.said.watched).sum();
            let suspected: f64 = of.iter().map(|outcome| outcome.said.suspected).sum();
            format!(
                "{} | {} | {} | {} | {}",
                percent(count(&|outcome| outcome.said.leak), of.len()),
                percent(
                    count(&|outcome| outcome.survivors >= SEEN && class.leaks && outcome.said.leak),
                    seen
                ),
                percent(count(&|outcome| outcome.said.suspect), of.len()),
                percent(suspected as usize, watched as usize),
                count(&|outcome| outcome.said.false_leak)
            )
        };
        let leaks = if class.leaks { "yes" } else { "no" };
        let _ = writeln!(
            text,
            "| {} | {leaks} | {} | {} | {} |",
            class.name,
            native.len(),
            columns(native),
            columns(collected)
        );
    }
    text
}

/// What LEAK would be with other lengths of the window that it needs.
#[must_use]
pub fn windows(all: &[Vec<Outcome>]) -> String {
    let mut text = format!(
        "| window in minutes | recall % of leaks with {SEEN} survivors | false LEAK, % of non-leaking hours |\n\
         |---|---|---|\n"
    );
    for window in WINDOWS {
        let called = |leaks: bool| {
            let of = all.iter().flatten();
            let of: Vec<_> = of
                .filter(|outcome| outcome.leaks == leaks && (!leaks || outcome.survivors >= SEEN))
                .collect();
            percent(of.iter().filter(|outcome| outcome.longest >= f64::from(window)).count(), of.len())
        };
        let _ = writeln!(text, "| {window} | {} | {} |", called(true), called(false));
    }
    text
}

/// How often what was said with a confidence was a leak.
#[must_use]
pub fn reliability(said: &[(f64, bool)]) -> String {
    let mut text = String::from("| confidence said | how often | leaks | |\n|---|---|---|---|\n");
    for from in (30..100).step_by(5) {
        let within = |said: &f64| (from..from + 5).contains(&((said * 100.0) as i32));
        let here: Vec<_> = said.iter().filter(|(said, _)| within(said)).collect();
        if here.is_empty() {
            continue;
        }
        let leaks = here.iter().filter(|(_, leaks)| *leaks).count();
        let mean = here.iter().map(|(said, _)| said).sum::<f64>() / here.len() as f64;
        let share = leaks as f64 / here.len() as f64;
        let mut bar = vec![' '; 51];
        bar[(mean * 50.0).round() as usize] = '|';
        bar[(share * 50.0).round() as usize] = '#';
        let bar: String = bar.into_iter().collect();
        let _ = writeln!(
            text,
            "| {:.0} % | {} | {} % | `{bar}` |",
            mean * 100.0,
            here.len(),
            percent(leaks, here.len())
        );
    }
    text.push_str("\n`|` is where it should be, `#` where it is.\n");
    text
}
