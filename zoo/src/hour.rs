//! One simulated hour of one program, and the pieces that classes are built from.

use fastrand::Rng;
use leaktrace::verdict::FrameId;

/// Seconds.
pub const HOUR: f64 = 3600.0;
/// Of the steps in which load is given.
pub const STEP: f64 = 10.0;
/// Dies never.
pub const NEVER: f64 = f64::INFINITY;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    pub stack: usize,
    /// Seconds from the start of tracing.
    pub born: f64,
    pub dies: f64,
    pub bytes: u64,
}

/// What a program did.
#[derive(Clone, Debug)]
pub struct Hour {
    /// By birth.
    pub objects: Vec<Object>,
    /// Frames of each stack, outermost first.
    pub stacks: Vec<Vec<FrameId>>,
    /// Stacks that leak.
    pub leaking: Vec<usize>,
    /// How busy it is, by step; about 1.
    pub load: Vec<f64>,
    /// When the program exits, in seconds; with the hour or later for one that goes on.
    pub exits: f64,
}

/// Builds an hour.
#[derive(Debug)]
pub struct Build {
    pub rng: Rng,
    hour: Hour,
}

/// The stack of what every program does beside: requests that end after seconds.
const BACKGROUND: usize = 0;

impl Build {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let steps = (HOUR / STEP) as usize;
        let hour = Hour {
            objects: Vec::new(),
            stacks: Vec::new(),
            leaking: Vec::new(),
            load: vec![1.0; steps],
            exits: NEVER,
        };
        let mut build = Self { rng: Rng::with_seed(seed), hour };
        build.stack(&[7, 8]);
        build
    }

    /// Evenly between two numbers.
    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.rng.f64()
    }

    /// Each order of magnitude alike.
    pub fn magnitude(&mut self, from: f64, to: f64) -> f64 {
        self.between(from.ln(), to.ln()).exp()
    }

    /// Exponential, of this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.rng.f64()).ln() * mean
    }

    /// A stack below `main`, its frames after that outermost first.
    pub fn stack(&mut self, frames: &[u64]) -> usize {
        let frames = [1, 2].iter().chain(frames).copied().map(FrameId).collect();
        self.hour.stacks.push(frames);
        self.hour.stacks.len() - 1
    }

    pub fn leaks(&mut self, stack: usize) {
        self.hour.leaking.push(stack);
    }

    pub fn load(&mut self, of: impl Fn(f64) -> f64) {
        for (at, load) in self.hour.load.iter_mut().enumerate() {
            *load = of(at as f64 * STEP).max(0.0);
        }
    }

    /// The program ends then; what it holds is not freed.
    pub fn exits(&mut self, at: f64) {
        self.hour.exits = at;
        self.load(|step| if step < at { 1.0 } else { 0.0 });
    }

    /// Load that swells and ebbs once or twice an hour.
    pub fn diurnal(&mut self) {
        let (period, phase, depth) =
            (self.between(1200.0, 4000.0), self.between(0.0, 6.3), self.between(0.6, 0.95));
        self.load(|at| 1.0 + depth * (at / period * std::f64::consts::TAU + phase).sin());
    }

    /// Moments between two, so many a second at a load of 1.
    pub fn arrivals(&mut self, rate: f64, from: f64, to: f64) -> Vec<f64> {
        let most = self.hour.load.iter().copied().fold(0.0, f64::max);
        let mut moments = Vec::new();
        let mut at = from;
        loop {
            at += self.exponential(1.0 / (rate * most));
            if at >= to.min(HOUR) {
                return moments;
            }
            if self.rng.f64() * most < self.hour.load[(at / STEP) as usize] {
                moments.push(at);
            }
        }
    }

    pub fn object(&mut self, stack: usize, born: f64, dies: f64, bytes: f64) {
        if born < HOUR.min(self.hour.exits) {
            self.hour.objects.push(Object { stack, born, dies, bytes: bytes as u64 });
        }
    }

    #[must_use]
    pub fn done(mut self) -> Hour {
        for at in self.arrivals(0.5, 0.0, HOUR) {
            let dies = at + self.exponential(4.0);
            let bytes = self.magnitude(32.0, 8192.0);
            self.object(BACKGROUND, at, dies, bytes);
        }
        let exits = self.hour.exits;
        for object in self.hour.objects.iter_mut().filter(|object| object.dies > exits) {
            object.dies = NEVER;
        }
        self.hour.objects.sort_by(|a, b| a.born.total_cmp(&b.born));
        self.hour
    }
}

impl Hour {
    /// What was done between two moments, in units of a second at a load of 1.
    #[must_use]
    pub fn activity(&self, from: f64, to: f64) -> f64 {
        let (first, last) = ((from / STEP) as usize, ((to / STEP).ceil() as usize).min(self.load.len()));
        (first..last)
            .map(|step| {
                let (begin, end) = (step as f64 * STEP, (step + 1) as f64 * STEP);
                self.load[step] * (end.min(to) - begin.max(from)).max(0.0)
            })
            .sum()
    }

    /// Objects of leaking stacks that are never freed and at least an eighth of the hour old at its end.
    #[must_use]
    pub fn survivors(&self) -> usize {
        let old = HOUR * 7.0 / 8.0;
        let leaked = |object: &&Object| self.leaking.contains(&object.stack) && object.dies > HOUR;
        self.objects.iter().filter(leaked).filter(|object| object.born <= old).count()
    }
}
