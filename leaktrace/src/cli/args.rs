//! The command line as typed.

use std::{ffi::OsString, path::PathBuf};

use bytesize::ByteSize;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use super::{
    census::CensusArgs,
    outputs::{Lines, Outputs, lines},
    push::{PushTo, push_to},
    recorded::{DiffArgs, FlamegraphArgs, ReportArgs},
    selection::SelectionArgs,
};

const EXAMPLES: &str = "\
Examples:
  See it find something (needs no target):
      sudo leaktrace demo
  Who holds the memory of a running process? Stop with Ctrl-C:
      sudo leaktrace --pid 1234
  One minute, a report every ten seconds, and a flame graph of what is live:
      sudo leaktrace --pid 1234 --duration 1m --interval 10s --flamegraph live.svg
  One page to pass on, and a profile of what is called a leak for go tool pprof:
      sudo leaktrace --pid 1234 --html report.html --pprof leaks.pb.gz --metric leaked-bytes
  A line of JSON every ten seconds, for a program of your own:
      sudo leaktrace --pid 1234 --interval 10s --stream jsonl | jq '.totals.live_bytes'
  Only what is older than a minute, the rest is in use:
      sudo leaktrace --pid 1234 --duration 5m --older-than 1m
  Nobody knows which process leaks: all of them, those that begin later too, ranked by what they keep:
      sudo leaktrace --duration 30m
      sudo leaktrace --comm node --comm nginx --exclude postgres
      sudo leaktrace --container 4f2a91c03b7d --interval 1m
  From the first instruction of a program, its children too:
      sudo leaktrace --follow --json report.json -- ./server --port 8080
  A program with allocators of its own (pool_malloc, pool_free):
      sudo leaktrace --pid 1234 --prefix pool_
  For CI: fail if the tests leak (a leak needs 72 epochs, here 72 s) or if they fail themselves:
      sudo leaktrace --follow --epoch 1s --fail-on leak -- npm test
  A program that allocates millions of times a second, at no more than 2 % of its time:
      sudo leaktrace --pid 1234 --budget 2%
  Does anything grow at all? Read from outside, nothing is attached:
      leaktrace census --pid 1234 --every 30s
  Leave a process alone until it grows, then trace it for ten minutes:
      sudo leaktrace --watch --pid 1234 --duration 10m
  Which blocks can nobody free any more? Proof instead of growth:
      sudo leaktrace --pid 1234 --prove --duration 2m
  Record an hour, and look at it elsewhere; then say what another version of the program does differently:
      sudo leaktrace record --pid 1234 --duration 1h -o before.ltrace
      leaktrace report before.ltrace --top 20
      leaktrace diff before.ltrace after.ltrace
  A bundled service, by the lines of its authors:
      sudo leaktrace --pid 1234 --source-maps
  Big blocks and mappings only, to touch a busy process less:
      sudo leaktrace --pid 1234 --min-size 64KiB --mmap

Marks:
  Enter on leaktrace's terminal (not with a program after --), or SIGUSR1: reports then say what changed since,
  or between the last two, by type and stack

Exit codes:
  0  traced and reported; --watch: or nothing grew until Ctrl-C or the process's end
  1  something failed while tracing; what was gathered is printed. Or a recording is damaged: what is whole is printed
  2  wrong usage, or a file that cannot be read or written
  3  no such process, or it ended before it was traced
  4  no permission: a capability is missing
  5  nothing to trace: no allocator found in the process; --watch: or a heap that cannot be read from outside
  6  the kernel lacks something
  7  --fail-on: what it names was found
  8  --fail-on: nothing of that, but the program started after -- failed";

/// Traces live memory of running processes, by the stack that allocated it, from outside.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub(super) subcommand: Option<Sub>,

    #[command(flatten)]
    pub(super) trace: Trace,
}

/// What is traced, how, and what is made of it.
#[derive(Debug, clap::Args)]
pub(super) struct Trace {
    /// Process to trace; may be given several times. Without one, and without a program after --: every process there is,
    /// and every one that begins
    #[arg(short, long = "pid", value_name = "PID")]
    pub(super) pids: Vec<u32>,

    #[command(flatten)]
    pub(super) selection: SelectionArgs,

    /// Look at the heap from outside (glibc's malloc only), and attach probes only once it grows: see --every
    #[arg(long)]
    pub(super) watch: bool,

    /// With --watch: time between two looks (30s unless given); growth is told by 8 looks at the earliest
    #[arg(long, value_name = "TIME", requires = "watch", value_parser = humantime::parse_duration)]
    pub(super) every: Option<std::time::Duration>,

    /// Stop after this time, e.g. 30s, 5m (default: at Ctrl-C or when the process ends)
    #[arg(short, long, value_parser = humantime::parse_duration)]
    pub(super) duration: Option<std::time::Duration>,

    /// Print a report each time this passes as well, and write the files that are asked for as they are by then
    #[arg(short, long, value_parser = humantime::parse_duration)]
    pub(super) interval: Option<std::time::Duration>,

    /// How many stacks a report shows
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub(super) top: usize,

    /// Record only allocations of at least this size, e.g. 1KiB
    #[arg(long, value_name = "SIZE")]
    pub(super) min_size: Option<ByteSize>,

    /// Record only allocations of at most this size
    #[arg(long, value_name = "SIZE")]
    pub(super) max_size: Option<ByteSize>,

    /// Trace only one of the two heaps of a JavaScript program
    #[arg(long, value_enum, value_name = "HEAP")]
    pub(super) only: Option<Heap>,

    /// Take a sample of the JavaScript heap every so many bytes of allocation, on average, however fast they come; unless
    /// given 512KiB, and more where the program allocates so fast that samples would slow it down
    #[arg(long, value_name = "SIZE")]
    pub(super) js_interval: Option<ByteSize>,

    /// Show the author's files, lines and names of JavaScript that was bundled, minified or compiled, where a source map lies
    /// beside the file or in it. Recordings keep them; one made without has none to show
    #[arg(long)]
    pub(super) source_maps: bool,

    /// Take at most this part of the processes' CPU time: where following each allocation takes more, probes stand in windows
    /// only, and heaps are read in between (5% unless given, none for a program after --; native memory)
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "exact")]
    pub(super) budget: Option<f64>,

    /// Follow each allocation and free, whatever that takes
    #[arg(long)]
    pub(super) exact: bool,

    /// Judge native memory at intervals of this: shorter answers sooner and is less sure. JavaScript is judged at
    /// each whole collection
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    pub(super) epoch: std::time::Duration,

    /// Call nothing a leak that leaves less than this in a minute
    #[arg(long, value_name = "SIZE", default_value = "1KiB")]
    pub(super) min_rate: ByteSize,

    /// memwatch's early sign: a heap that grew over this many whole collections in a row
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(super) consecutive_gcs: u32,

    /// A collection that frees at most this part of the heap (0.01: one in a hundred) does not end such a row
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    pub(super) gc_tolerance: f64,

    /// Stacks that are no leaks, one `leak:PATTERN` a line as in LeakSanitizer's files
    #[arg(long, value_name = "FILE")]
    pub(super) suppress: Option<PathBuf>,

    /// Search the processes' memory for what points to their blocks: native memory that nothing reaches in three
    /// searches is LEAK PROVEN. Stops nothing; reads all of the memory four times a search, a tenth of the time at most
    #[arg(long)]
    pub(super) prove: bool,

    /// End with exit code 7 if this was found, with 8 if the program after -- failed
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(super) fail_on: Option<FailOn>,

    /// Report only blocks that live longer than this, e.g. 1m
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(super) older_than: Option<std::time::Duration>,

    /// Probe this file's allocator instead of those found in the process; may be given several times
    #[arg(long = "lib", value_name = "PATH")]
    pub(super) libraries: Vec<PathBuf>,

    /// Also probe functions named PREFIXmalloc, PREFIXfree, ...; may be given several times
    #[arg(long = "prefix", value_name = "PREFIX")]
    pub(super) prefixes: Vec<String>,

    /// Trace mmap, munmap and mremap as well
    #[arg(long)]
    pub(super) mmap: bool,

    /// Trace children too. The probes then stand in every process that maps the same files, which
    /// costs each of their allocator calls a microsecond
    #[arg(long)]
    pub(super) follow: bool,

    #[command(flatten)]
    pub(super) outputs: Outputs,

    /// Print each report as one line of JSON instead, for a program that reads along: at each --interval and at the end.
    /// jsonl=FILE writes the lines there, and prints text
    #[arg(long, value_name = "jsonl[=FILE]", value_parser = lines)]
    pub(super) stream: Option<Lines>,

    /// Record everything that reports tell, at each epoch and interval and at the end: leaktrace report FILE prints it
    /// again, anywhere and without root, also if leaktrace was ended by force
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,

    /// Serve Prometheus's metrics at http://ADDR/metrics while tracing, e.g. 127.0.0.1:9464 or :9464
    #[arg(long, value_name = "ADDR")]
    pub(super) metrics: Option<String>,

    /// Send a heap profile of each process to a profile store at each --push-every and at the end: Pyroscope, Alloy. The
    /// environment variable keeps a password off the command line
    #[arg(long, value_name = "URL", env = "LEAKTRACE_PUSH", hide_env_values = true, value_parser = push_to)]
    pub(super) push: Option<PushTo>,

    /// With --push: time between two profiles
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "15s")]
    pub(super) push_every: std::time::Duration,

    /// Room for this many live blocks at once
    #[arg(long, value_name = "N", default_value_t = 1 << 21)]
    pub(super) max_live: u32,

    /// Room for this many different stacks
    #[arg(long, value_name = "N", default_value_t = 1 << 17)]
    pub(super) max_stacks: u32,

    /// Size histograms, addresses and all counters
    #[arg(short, long, action = ArgAction::Count)]
    pub(super) verbose: u8,

    /// Print no report (with --record, --json or another file)
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// Colour the report
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub(super) color: When,

    /// Place every probe on its function's first instruction, however slow that is (for benchmarks)
    #[arg(long, hide = true)]
    pub(super) probe_at_entry: bool,

    /// Place and take back each probe by itself, as has to be done before Linux 6.11 (for tests)
    #[arg(long, hide = true)]
    pub(super) probe_by_probe: bool,

    /// Keep files of code so long that no traced process maps any more (for tests)
    #[arg(long, hide = true, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5m")]
    pub(super) keep_files: std::time::Duration,

    /// Also write the stream of events and snapshots (for tests)
    #[arg(long, hide = true, value_name = "FILE")]
    pub(super) record_stream: Option<PathBuf>,

    /// Program to run and trace from its first instruction
    #[arg(last = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

/// `5%` or `5`, as 0.05.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    match number {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("a percentage above 0 and up to 100, e.g. 5% or 0.5%".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Sub {
    /// Start a small leaking program, trace it for some seconds and report
    Demo {
        /// How long to trace it
        #[arg(short, long, value_parser = humantime::parse_duration, default_value = "10s")]
        duration: std::time::Duration,
        /// Which program: node where it is installed, else native
        #[arg(long, value_enum, default_value_t = DemoProgram::Auto)]
        program: DemoProgram,
    },
    /// Trace and record: as leaktrace itself with all its options, and a file to record to
    Record {
        #[command(flatten)]
        trace: Box<Trace>,
    },
    /// Report what was recorded, as it was reported then; needs neither root nor the process
    Report(ReportArgs),
    /// Draw a recording as a flame graph, SVG
    Flamegraph(FlamegraphArgs),
    /// Say what changed from one recording to another, by stack, and which verdicts came and went
    Diff(DiffArgs),
    /// Say what a process's heap holds by size, and what grows: nothing is attached, glibc's malloc only
    Census(CensusArgs),
    /// The demo's native program itself: leaks until it is stopped
    #[command(hide = true)]
    DemoProgram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DemoProgram {
    Auto,
    Node,
    Native,
}

/// What `--fail-on` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// LEAK and LEAK PROVEN
    Leak,
    /// The same, and SUSPECT
    Suspect,
}

/// A heap of a JavaScript program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Heap {
    /// malloc and its family
    Native,
    /// V8's own, by samples: costs next to nothing
    Javascript,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}
