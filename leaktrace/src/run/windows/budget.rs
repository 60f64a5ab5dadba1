//! How much of the traced processes' time tracing may take, as a credit: their work adds to it, each hit takes of it.

use std::time::Duration;

/// What may be spent at once, from the start on: a short look at a busy process need not be one in windows.
const MOST: Duration = Duration::from_millis(500);
/// That is lent: this part of what may be spent later is for that, so that in the end no more was spent than may be.
const PAID_BACK: f64 = 0.2;
/// A window is not begun before it may take this, so that it is worth the placing of its probes.
const WINDOW: Duration = Duration::from_millis(250);
/// But a process that does little gets its window as well, a few times an epoch.
const WINDOWS_AN_EPOCH: u32 = 3;
const LEAST: Duration = Duration::from_millis(20);
/// Where hundreds of files are probed, their probes cost while the others are placed and taken back. For a window so many times
/// that is saved up, so that half of it is of use.
const EDGES: f64 = 2.0;
/// It depends on what the processes do just then, so it is believed less by and by: an idle machine does not wait for hours.
const EDGES_HALVE: Duration = Duration::from_mins(5);
/// Who is late by so much to lift them, as others wait for the same CPU, would overdraw it.
const SHORT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// Of the processes' own time.
    share: f64,
    epoch: Duration,
    credit_ns: f64,
    /// What is left to pay back.
    lent_ns: f64,
    /// What it took to place the probes of the last window, and to take them back.
    placing_ns: f64,
    lifting_ns: f64,
    /// What may be taken in an epoch at the present pace.
    per_epoch_ns: f64,
    /// What is spent in a nanosecond.
    pace: f64,
    own_ns: u64,
    spent_ns: u64,
}

impl Budget {
    pub(super) fn new(share: f64, epoch: Duration) -> Self {
        let credit_ns = MOST.as_nanos() as f64;
        Self {
            share,
            epoch,
            credit_ns,
            lent_ns: credit_ns,
            placing_ns: 0.0,
            lifting_ns: 0.0,
            per_epoch_ns: 0.0,
            pace: 0.0,
            own_ns: 0,
            spent_ns: 0,
        }
    }

    /// In this time the processes used the CPU for this long, of which tracing took a part.
    pub(super) fn pass(&mut self, time: Duration, used_ns: u64, spent_ns: u64) {
        let own_ns = used_ns.saturating_sub(spent_ns);
        self.own_ns += own_ns;
        self.spent_ns += spent_ns;
        let earned = own_ns as f64 * self.share;
        let paid_back = self.lent_ns.min(earned * PAID_BACK);
        self.lent_ns -= paid_back;
        let earned = earned - paid_back;
        let left = 0.5f64.powf(time.as_secs_f64() / EDGES_HALVE.as_secs_f64());
        self.placing_ns *= left;
        self.lifting_ns *= left;
        let most = (MOST.as_nanos() as f64).max(self.edges_ns());
        self.credit_ns = (self.credit_ns + earned - spent_ns as f64).min(most);
        if !time.is_zero() {
            self.per_epoch_ns = earned * self.epoch.as_secs_f64() / time.as_secs_f64();
            self.pace = spent_ns as f64 / time.as_nanos() as f64;
        }
    }

    /// The probes were placed again: so much of what was spent since went before they were of use.
    pub(super) fn placed(&mut self, spent_ns: u64) {
        self.placing_ns = spent_ns as f64;
    }

    /// They are gone: so much was spent since that was begun.
    pub(super) fn lifted(&mut self, spent_ns: u64) {
        self.lifting_ns = spent_ns as f64;
    }

    fn edges_ns(&self) -> f64 {
        EDGES * (self.placing_ns + self.lifting_ns)
    }

    /// Whether what is left is needed for taking the probes back.
    pub(super) fn is_spent(&self) -> bool {
        self.credit_ns <= self.lifting_ns
    }

    /// Whether it will be before long.
    pub(super) fn is_short(&self) -> bool {
        self.credit_ns - self.lifting_ns < self.pace * SHORT.as_nanos() as f64
    }

    /// Whether a window may begin.
    pub(super) fn affords_window(&self) -> bool {
        let few = self.per_epoch_ns / f64::from(WINDOWS_AN_EPOCH);
        let needed = few.clamp(LEAST.as_nanos() as f64, WINDOW.as_nanos() as f64);
        self.credit_ns >= needed.max(self.edges_ns())
    }

    pub(super) const fn share(&self) -> f64 {
        self.share
    }

    /// What tracing took, as a part of what the processes did for themselves.
    pub(super) fn taken(&self) -> f64 {
        if self.own_ns == 0 { 0.0 } else { self.spent_ns as f64 / self.own_ns as f64 }
    }
}

/// What the processes did for themselves, of the CPU time that they used.
///
/// Where most of that goes to tracing, the difference is mostly error. How often they allocate for what they do changes less:
/// there it is told by their hits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    /// While they were traced, since tracing began.
    ns: u64,
    hits: u64,
}

impl Own {
    /// What a program itself takes for a call of malloc or free at the least, in nanoseconds.
    const OF_A_HIT: u64 = 10;
    const LEARNED: u64 = 200_000;

    pub(super) fn of(&mut self, hits: u64, used_ns: u64, spent_ns: u64) -> u64 {
        let difference = used_ns.saturating_sub(spent_ns).max(hits * Self::OF_A_HIT).min(used_ns);
        if hits == 0 {
            return difference;
        }
        // After that the measure stays the same, or what was done would seem to change.
        if self.hits < Self::LEARNED {
            self.ns += difference;
            self.hits += hits;
        }
        if spent_ns < used_ns / 2 {
            return difference;
        }
        let by_hits = u128::from(self.ns) * u128::from(hits) / u128::from(self.hits);
        u64::try_from(by_hits).map_or(used_ns, |own| own.min(used_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn passed(budget: &mut Budget, ms: u64, used: u64, spent: u64) {
        budget.pass(Duration::from_millis(ms), used * MS, spent * MS);
    }

    #[test]
    fn a_process_that_allocates_little_is_never_over_budget() {
        let mut budget = Budget::new(0.05, Duration::from_secs(30));
        for _ in 0..10_000 {
            passed(&mut budget, 50, 50, 2);
        }
        assert!(!budget.is_spent());
        assert!((budget.taken() - 2.0 / 48.0).abs() < 1e-9);
    }

    #[test]
    fn one_that_does_nothing_else_is_traced_for_a_twentieth_of_its_time() {
        let mut budget = Budget::new(0.05, Duration::from_secs(30));
        let (mut watched, mut is_on) = (0, true);
        for _ in 0..100_000 {
            // Half of its time goes to tracing while there is any.
            passed(&mut budget, 50, 50, if is_on { 25 } else { 0 });
            watched += u32::from(is_on);
            is_on = if is_on { !budget.is_spent() } else { budget.affords_window() };
        }
        assert!((budget.taken() - 0.05).abs() < 0.002, "{}", budget.taken());
        assert!(watched > 5000, "{watched}");
    }

    #[test]
    fn what_was_spent_at_the_start_is_paid_back() {
        let mut budget = Budget::new(0.05, Duration::from_secs(30));
        let mut is_on = true;
        let mut taken_at = |budget: &mut Budget, seconds: u32| {
            for _ in 0..seconds * 20 {
                passed(budget, 50, 50, if is_on { 25 } else { 0 });
                is_on = if is_on { !budget.is_spent() } else { budget.affords_window() };
            }
            budget.taken()
        };
        assert!(taken_at(&mut budget, 10) > 0.08);
        assert!(taken_at(&mut budget, 110) < 0.0535);
    }

    #[test]
    fn what_is_left_of_little_is_told_by_hits() {
        let mut own = Own::default();
        assert_eq!(own.of(0, 1000 * MS, 0), 1000 * MS);
        // Most is its own: it is what tracing did not take.
        assert_eq!(own.of(100_000, 1000 * MS, 100 * MS), 900 * MS);
        let mut own = Own::default();
        // Measured too dear, then too cheap: a malloc takes some time itself, and what is found evens out.
        assert_eq!(own.of(100_000, 100 * MS, 105 * MS), MS);
        assert_eq!(own.of(100_000, 100 * MS, 95 * MS), 3 * MS);
        assert_eq!(own.of(100_000, 100 * MS, 80 * MS), 3 * MS);
    }

    #[test]
    fn a_window_waits_for_what_its_probes_will_cost_but_not_for_long() {
        let mut budget = Budget::new(0.05, Duration::from_secs(30));
        budget.placed(600 * MS);
        budget.lifted(600 * MS);
        passed(&mut budget, 50, 0, 0);
        assert!(!budget.affords_window());
        // They do nothing more: it would cost nothing by now.
        for _ in 0..15 * 60 {
            passed(&mut budget, 1000, 0, 0);
        }
        assert!(budget.affords_window());
    }

    #[test]
    fn what_edges_cost_is_saved_up_and_kept_for_the_last() {
        let mut budget = Budget::new(0.05, Duration::from_secs(30));
        // 1000 ms spent for the probes' coming and going in each window.
        let (mut since, mut windows) = (0, 0);
        for at in 0..20_000 {
            passed(&mut budget, 50, 50, 0);
            if budget.affords_window() {
                passed(&mut budget, 50, 500, 500);
                budget.placed(500 * MS);
                while !budget.is_spent() {
                    passed(&mut budget, 50, 50, 50);
                }
                passed(&mut budget, 50, 500, 500);
                budget.lifted(500 * MS);
                // Of the first one nobody knew what it would cost.
                assert!(windows == 0 || budget.credit_ns > -100e6, "{budget:?}");
                (since, windows) = (at, windows + 1);
            }
            assert!(at - since < 1300, "{budget:?}");
        }
        assert!(windows > 20, "{windows}");
        assert!(budget.taken() < 0.052, "{}", budget.taken());
    }

    #[test]
    fn an_idle_process_has_windows_too() {
        let mut budget = Budget::new(0.05, Duration::from_secs(30));
        passed(&mut budget, 50, 1000, 1000);
        assert!(budget.is_spent());
        // A hundredth of a CPU: 15 ms may be taken in an epoch of 30 s.
        let windows = (0..30 * 1000 / 50 * 80).filter(|_| {
            budget.pass(Duration::from_millis(50), MS / 2, 0);
            budget.affords_window()
        });
        assert!(windows.count() > 0);
    }
}
