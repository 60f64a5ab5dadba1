//! How much of the time is given to writing down what was gathered, while it goes on.

use std::time::Instant;

/// One part in this many; what is written at the end takes what it takes.
const PART: u32 = 10;

/// When it may be written again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    not_before: Instant,
}

impl Share {
    pub(super) fn new() -> Self {
        Self { not_before: Instant::now() }
    }

    pub(super) fn is_due(self) -> bool {
        Instant::now() >= self.not_before
    }

    /// It was written; `begun` is when making it began.
    pub(super) fn spent_since(&mut self, begun: Instant) {
        self.not_before = Instant::now() + begun.elapsed() * PART;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_took_a_second_is_not_done_again_within_ten() {
        let mut share = Share::new();
        assert!(share.is_due());
        share.spent_since(Instant::now() - Duration::from_secs(1));
        assert!(!share.is_due());
        assert!(share.not_before > Instant::now() + Duration::from_secs(9));
    }
}
