//! A verdict as a person reads it.
//!
//! First what it is and how sure, then where and how fast, then what that rests on, and what would change it.

use super::amount::{bytes, count, counted, duration};
use crate::{
    symbolize::{is_file_of_library, is_of_library},
    verdict::{
        Age, Called, Checked, Evidence, FrameId, Judgement, Lacking, Outcome, Refuted, Test, Verdict,
        Verified,
    },
};

/// One verdict in one paragraph. `name` names a frame; it may hold what a traced program chose, so it has to be
/// printable.
#[must_use]
pub fn words(judgement: &Judgement, name: &dyn Fn(FrameId) -> String) -> String {
    let place = place(judgement, name);
    let evidence = &judgement.evidence;
    let what = judgement.verdict.name();
    let ago = |was: &Called| {
        duration(evidence.onset_ns.saturating_add(evidence.window_ns).saturating_sub(was.at_ns))
    };
    // What it is now says why it is suspected no more.
    let once = judgement
        .since
        .filter(|was| !was.leak)
        .map_or_else(String::new, |was| format!(" Was called SUSPECT {} ago.", ago(&was)));
    match &judgement.verdict {
        Verdict::Leak | Verdict::LeakProven | Verdict::Suspect { .. } => {
            let mut text = format!("{what} {}: {place} leaves {}. ", sure(evidence), rate(evidence));
            text.push_str(&grounds(evidence));
            if let Verdict::Suspect { lacking } = judgement.verdict {
                text.push_str(&format!(" Not called a leak: {}.", lack(lacking)));
            }
            text.push_str(&format!(" Would change this: {}.", change(judgement)));
            if judgement.taken_back > 0 {
                text.push_str(&format!(
                    " Taken back {} before.",
                    counted(judgement.taken_back.into(), "time")
                ));
            }
            text
        }
        Verdict::TakenBack { was, because } => {
            let what = match was {
                Called { proven: true, .. } => "LEAK PROVEN",
                Called { leak: true, .. } => "LEAK",
                Called { .. } => "SUSPECT",
            };
            let because = refuted(*because);
            format!("TAKEN BACK: {place} was called {what} {} ago; taken back because {because}.", ago(was))
        }
        Verdict::Collecting { lacking } => format!("{what}: {place}: {}.", lack(*lacking)),
        Verdict::WarmUp => {
            let (grown, of) = (count(evidence.grown), duration(evidence.window_ns));
            format!("{what}: {place} left {grown} objects in {of} and fewer and fewer of late.{once}")
        }
        Verdict::Bounded => format!("{what}: {place}: what is old dies: {}.{once}", died(evidence)),
        Verdict::Sawtooth => {
            format!("{what}: {place} grows and is thrown away again: {}.{once}", died(evidence))
        }
        Verdict::Step => {
            let share = evidence.spread.largest * 100.0;
            format!("{what}: {place} grew at one time: {share:.0} % of what is left is of one period.{once}")
        }
    }
}

/// The innermost frames that say where: two of a single stack, and of several where they part and where they end.
fn place(judgement: &Judgement, name: &dyn Fn(FrameId) -> String) -> String {
    let Judgement { path, tail, stacks, .. } = judgement;
    let last = |frames: &[FrameId], number: usize| {
        let mut names: Vec<String> = frames.iter().map(|frame| name(*frame)).collect();
        // A standard library allocates for whoever called it.
        let own = names
            .iter()
            .rposition(|name| !is_of_library(name) && !is_file_of_library(name))
            .map_or(names.len(), |own| own + 1);
        names.truncate(own);
        names.split_off(names.len().saturating_sub(number))
    };
    if *stacks <= 1 && !path.is_empty() {
        return last(&[path.as_slice(), tail.as_slice()].concat(), 2).join(" -> ");
    }
    let mut parts = last(path, 1);
    parts.push(counted(u64::from(*stacks), "stack"));
    parts.extend(last(tail, 2));
    parts.join(" -> ")
}

fn sure(evidence: &Evidence) -> String {
    let percent = evidence.confidence.probability * 100.0;
    // Nothing that is estimated is certain.
    if percent > 99.0 { ">99%".to_owned() } else { format!("{percent:.0}%") }
}

fn rate(evidence: &Evidence) -> String {
    let hourly = |rate: f64| bytes((rate * 3600.0) as u64);
    let rate = evidence.rate;
    format!("{}/h [{} to {}]", hourly(rate.bytes_per_s), hourly(rate.low), hourly(rate.high))
}

fn grounds(evidence: &Evidence) -> String {
    let Evidence { survivors, deaths, deaths_at_most, spread, onset_ns, window_ns, .. } = evidence;
    let (all, objects) = (survivors + deaths, if evidence.sampled { "samples" } else { "objects" });
    let age = age(evidence.older_than);
    let mut text = format!(
        "{} of {} {objects} older than {age} are alive (deaths <= {:.1} %), spread over {} of {} periods, {}.",
        count(*survivors),
        count(all),
        deaths_at_most * 100.0,
        spread.filled,
        spread.of,
        match evidence.test(Test::NotSlowing).outcome {
            Outcome::Passes => "not slowing",
            Outcome::Open => "perhaps slowing",
            Outcome::Fails => "slowing",
        }
    );
    if evidence.onset > 0.0 && *onset_ns > 0 {
        text.push_str(&format!(" It began about {} ago.", duration(*window_ns)));
    }
    let unreachable = evidence.unreachable;
    if unreachable.blocks > 0 {
        let blocks = counted(unreachable.blocks, "block");
        let (of, scans) = (bytes(unreachable.bytes), counted(unreachable.scans.into(), "scan"));
        text.push_str(&format!(" {blocks} ({of}) cannot be reached, in {scans} in a row."));
    }
    let watched = evidence.watched;
    if watched.blocks > 0 {
        let (touched, of) = (count(watched.touched), counted(watched.blocks, "survivor"));
        text.push_str(&format!(" {touched} of {of} watched were used."));
    }
    text.push_str(&verified(evidence.verified));
    if evidence.cache_bytes > 0.0 && unreachable.blocks == 0 {
        text.push_str(&format!(" A cache would have to reach {}.", bytes(evidence.cache_bytes as u64)));
    }
    text
}

fn verified(verified: Verified) -> String {
    match verified {
        Verified::Nothing => String::new(),
        Verified::Collector => " Alive is what V8's own marks say.".to_owned(),
        Verified::Impossible { because } => {
            format!(" Not held against the allocator's own state: {}.", because.describe())
        }
        Verified::Allocator(Checked { checked, confirmed, refuted, unknown }) => {
            let (confirmed, of) = (count(confirmed), count(checked));
            let mut text = format!(" {confirmed} of {of} looked up in glibc's own heap are in use");
            if refuted > 0 {
                text.push_str(&format!(", {} are free", count(refuted)));
            }
            if unknown > 0 {
                text.push_str(&format!(", {} are another allocator's", count(unknown)));
            }
            text.push('.');
            text
        }
    }
}

fn change(judgement: &Judgement) -> String {
    let evidence = &judgement.evidence;
    if judgement.verdict == Verdict::LeakProven {
        return "a pointer to these blocks that leaktrace does not see (compressed, in a file, on a device)"
            .to_owned();
    }
    let deaths = evidence.deaths_to_refute.max(1);
    let (frees, age) = match evidence.older_than {
        Age::Ns(_) => (counted(deaths, "free"), age(evidence.older_than)),
        Age::MajorGcs(_) => (counted(deaths, "death"), age(evidence.older_than)),
    };
    format!("{frees} of objects older than {age}")
}

fn lack(lacking: Lacking) -> String {
    match lacking {
        Lacking::Survivors { seen, needed } => {
            format!("{} of {} objects that got old enough were seen", count(seen), count(needed))
        }
        Lacking::Epochs { seen, needed } => format!("{seen} of {needed} busy epochs were seen"),
        Lacking::Time { seen_ns, needed_ns } => {
            format!("it was watched at work for {} of {}", duration(seen_ns), duration(needed_ns))
        }
        Lacking::Passes { seen, needed } => format!("it passed {seen} of {needed} times in a row"),
        Lacking::Rate { surely, floor } => {
            let minute = |rate: f64| bytes((rate * 60.0) as u64);
            format!("it surely grows by {}/min only, and {}/min matter", minute(surely), minute(floor))
        }
        Lacking::Decision { test } => format!("it is not sure whether {}", test.describe()),
        Lacking::Alive { refuted, checked } => free(refuted, checked),
        Lacking::Frees => {
            "whether it is freed is not known for the time between windows (--exact hears of it)".to_owned()
        }
        Lacking::Events { lost, of } => {
            let share = lost as f64 * 100.0 / of.max(1) as f64;
            format!("{} of {} events were lost ({share:.1} %, over 1 %)", count(lost), count(of))
        }
    }
}

fn refuted(because: Refuted) -> String {
    match because {
        Refuted::Gone => "nothing of it is alive".to_owned(),
        Refuted::Reached => "its blocks can be reached after all".to_owned(),
        Refuted::Free { refuted, checked } => free(refuted, checked),
        Refuted::Test { test: Test::OldOnesLive, survivors, deaths } => {
            format!("{} of {} old objects died", count(deaths), count(survivors + deaths))
        }
        Refuted::Test { test: Test::NotSlowing, .. } => "it grows less and less".to_owned(),
        Refuted::Test { test: Test::NotOnlyRecent, .. } => "only recent objects are alive".to_owned(),
        Refuted::Test { test: Test::Spread, .. } => "it grew at one time only".to_owned(),
        Refuted::Test { test: Test::Material, .. } => "it is too little to matter".to_owned(),
    }
}

fn free(refuted: u64, checked: u64) -> String {
    let (free, of) = (count(refuted), count(checked));
    format!("{free} of {of} survivors looked up in the allocator's own heap are free (over 1 %)")
}

fn died(evidence: &Evidence) -> String {
    let Evidence { survivors, deaths, .. } = *evidence;
    let age = age(evidence.older_than);
    format!("{} of {} objects that got older than {age} died", count(deaths), count(survivors + deaths))
}

fn age(age: Age) -> String {
    const MINUTE: u64 = 60_000_000_000;
    match age {
        Age::Ns(ns) if ns >= 2 * MINUTE => duration((ns + MINUTE / 2) / MINUTE * MINUTE),
        Age::Ns(ns) => duration(ns),
        Age::MajorGcs(gcs) => counted(gcs, "major GC"),
    }
}

#[cfg(test)]
mod tests;
