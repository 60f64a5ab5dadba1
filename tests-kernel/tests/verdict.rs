//! The verdict on real programs: the classes of the simulated zoo (`cargo xtask zoo`) in C and in node, each an hour of
//! the simulation in 30 seconds, and the crawler that this project was begun for.
//!
//! All programs of a heap run at once under one leaktrace, and each test looks at one of them: one at a time they would
//! take eight minutes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    sync::LazyLock,
    thread,
    time::Duration,
};

use tests_kernel::{
    Agent, Program, Report,
    compile::Compiler,
    needs_root,
    node::node,
    report::{Stack, Verdict},
    skip::skip,
    target,
    truth::Truth,
};

/// An hour of the simulation.
const SECONDS: &str = "30";
const HOUR: Duration = Duration::from_secs(30);
/// 30 seconds of it: a leak takes 72 of these, as it does there.
const EPOCH: &str = "250ms";

/// In the middle of its longest batch it may be suspected, as in the simulation, and that is taken back with the batch.
const SAWTOOTH: [&str; 3] = ["SAWTOOTH", "BOUNDED", "TAKEN BACK"];

/// Programs that were watched together.
struct Watched {
    /// By what they were started as.
    pids: Vec<(&'static str, u32)>,
    report: Report,
    /// What they told of themselves, in the same order.
    truths: Vec<Truth>,
}

impl Watched {
    fn new(programs: Vec<(&'static str, Program)>, flags: &[&str]) -> Self {
        Self::during(HOUR, programs, flags)
    }

    fn during(time: Duration, mut programs: Vec<(&'static str, Program)>, flags: &[&str]) -> Self {
        let pids: Vec<(&str, u32)> = programs.iter().map(|(name, program)| (*name, program.pid())).collect();
        let each: Vec<u32> = pids.iter().map(|(_, pid)| *pid).collect();
        let flags = [&["--epoch", EPOCH], flags].concat();
        let agent = Agent::attach(&each, &flags).unwrap();
        for (_, program) in &mut programs {
            program.begin().unwrap();
        }
        thread::sleep(time);
        let report = agent.stop().unwrap();
        let mut truths = Vec::new();
        for (_, mut program) in programs {
            program.stop().unwrap();
            truths.push(program.truth);
        }
        assert_eq!(report.coverage.lost, 0, "{:?}", report.coverage);
        Self { pids, report, truths }
    }

    fn of(&self, name: &str) -> impl Iterator<Item = &Verdict> {
        let pid = self.pids.iter().find(|(known, _)| *known == name).unwrap().1;
        self.report.verdicts.iter().filter(move |verdict| verdict.pid == pid)
    }

    /// For failure messages.
    fn said(&self, name: &str) -> String {
        self.of(name)
            .map(|verdict| {
                let frames = verdict.frames.iter().map(|frame| frame.function.as_deref().unwrap_or("?"));
                format!("{}: {}\n    {}", verdict.heap, verdict.text, frames.collect::<Vec<_>>().join(" < "))
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// One leak, at `site`, of this heap, and nothing else of the program is called one.
    fn leaks(&self, name: &str, heap: &str, site: &str) {
        let leaks: Vec<&Verdict> = self.of(name).filter(|verdict| verdict.is_leak()).collect();
        let [leak] = leaks.as_slice() else {
            panic!("{name}: {} leaks, not one:\n{}", leaks.len(), self.said(name))
        };
        assert!(leak.has(site) && leak.heap == heap, "{name}: not at {site}:\n{}", self.said(name));
    }

    /// How many verdicts call something a leak or suspect it.
    fn told(&self, name: &str) -> usize {
        self.of(name).filter(|one| one.is_leak() || one.verdict == "SUSPECT").count()
    }

    /// No leak anywhere in the program, and what `site` left is called one of these.
    fn is_no_leak(&self, name: &str, site: &str, states: &[&str]) {
        let was_leak = |one: &Verdict| one.is_leak() || one.text.contains("was called LEAK");
        assert!(!self.of(name).any(was_leak), "{name}: a leak:\n{}", self.said(name));
        let at_site: Vec<&str> =
            self.of(name).filter(|one| one.has(site)).map(|one| one.verdict.as_str()).collect();
        let is_named = at_site.iter().any(|state| states.contains(state));
        assert!(
            is_named && !at_site.contains(&"SUSPECT"),
            "{name}: {site} is {at_site:?}, not {states:?}:\n{}",
            self.said(name)
        );
    }
}

mod in_c {
    use super::*;

    static ZOO: LazyLock<Watched> = LazyLock::new(|| {
        needs_root();
        let classes = [
            "steady",
            "noise",
            "many-stacks",
            "lru",
            "fills-and-stops",
            "sawtooth",
            "warm-up",
            "step",
            "sessions",
        ];
        let start = |class| (class, Program::start("zoo.c", Compiler::Gcc, &[class, SECONDS]).unwrap());
        Watched::new(classes.map(start).into(), &[])
    });

    #[test]
    fn a_block_of_each_request_is_a_leak() {
        ZOO.leaks("steady", "native", "keep_request");
    }

    #[test]
    fn one_call_in_fifty_that_is_never_freed_is_a_leak() {
        ZOO.leaks("noise", "native", "parse_header");
    }

    #[test]
    fn a_leak_by_forty_ways_is_one_at_the_frame_that_they_share() {
        ZOO.leaks("many-stacks", "native", "dispatch");
    }

    #[test]
    fn a_cache_whose_oldest_entries_leave_is_bounded() {
        ZOO.is_no_leak("lru", "cache_page", &["BOUNDED"]);
    }

    #[test]
    fn a_cache_that_fills_and_stops_is_no_leak() {
        ZOO.is_no_leak("fills-and-stops", "fill_cache", &["WARM-UP", "STEP", "TAKEN BACK"]);
    }

    #[test]
    fn batches_that_are_thrown_away_are_a_sawtooth() {
        ZOO.is_no_leak("sawtooth", "append_to_batch", &SAWTOOTH);
    }

    #[test]
    fn names_that_are_learned_more_and_more_rarely_are_a_warm_up() {
        ZOO.is_no_leak("warm-up", "learn_name", &["WARM-UP"]);
    }

    #[test]
    fn tables_that_are_built_at_two_times_are_a_step() {
        ZOO.is_no_leak("step", "build_table", &["STEP", "WARM-UP"]);
    }

    #[test]
    fn sessions_that_end_are_bounded() {
        ZOO.is_no_leak("sessions", "open_session", &["BOUNDED"]);
    }
}

/// The node that these run in.
const MAJOR: u32 = 20;

/// Collections are asked for by the programs, often enough for so short a time. Without inlining: optimised code has no
/// position for an allocation that needs a new page, and names another of the functions that were inlined.
const NODE_FLAGS: [&str; 2] = ["--expose-gc", "--no-turbo-inlining"];

mod in_node {
    use super::*;

    /// Not asked for without a node.
    static ZOO: LazyLock<Watched> = LazyLock::new(|| {
        needs_root();
        let node = node(MAJOR).unwrap();
        let classes =
            ["noise", "many-stacks", "lru", "fills-and-stops", "sawtooth", "warm-up", "step", "sessions"];
        let start =
            |class| (class, Program::node_with(&node, &NODE_FLAGS, "zoo.js", &[class, SECONDS]).unwrap());
        Watched::new(classes.map(start).into(), &["--js-interval", "1KiB", "--only", "javascript"])
    });

    fn leaks(class: &str, site: &str) {
        if node(MAJOR).is_some() {
            ZOO.leaks(class, "javascript", site);
        }
    }

    fn is_no_leak(class: &str, site: &str, states: &[&str]) {
        if node(MAJOR).is_some() {
            ZOO.is_no_leak(class, site, states);
        }
    }

    #[test]
    fn one_call_in_ten_that_is_never_forgotten_is_a_leak() {
        leaks("noise", "parseHeader");
    }

    #[test]
    fn a_leak_by_forty_functions_is_one_at_the_frame_that_they_share() {
        leaks("many-stacks", "dispatch");
        if node(MAJOR).is_some() {
            assert_eq!(ZOO.told("many-stacks"), 1, "one verdict:\n{}", ZOO.said("many-stacks"));
        }
    }

    #[test]
    fn a_cache_whose_oldest_entries_leave_is_bounded() {
        is_no_leak("lru", "cachePage", &["BOUNDED"]);
    }

    #[test]
    fn a_cache_that_fills_and_stops_is_no_leak() {
        is_no_leak("fills-and-stops", "fillCache", &["WARM-UP", "STEP", "TAKEN BACK"]);
    }

    #[test]
    fn batches_that_are_thrown_away_are_a_sawtooth() {
        is_no_leak("sawtooth", "appendToBatch", &SAWTOOTH);
    }

    #[test]
    fn names_that_are_learned_more_and_more_rarely_are_a_warm_up() {
        is_no_leak("warm-up", "learnName", &["WARM-UP"]);
    }

    #[test]
    fn tables_that_are_built_at_two_times_are_a_step() {
        is_no_leak("step", "buildTable", &["STEP", "WARM-UP"]);
    }

    #[test]
    fn sessions_that_end_are_bounded() {
        is_no_leak("sessions", "openSession", &["BOUNDED"]);
    }

    /// What is off V8's heap, in two programs. V8 and node allocate much, none of it so large.
    static OFF_HEAP: LazyLock<Watched> = LazyLock::new(|| {
        needs_root();
        let node = node(MAJOR).unwrap();
        let start =
            |class| (class, Program::node_with(&node, &NODE_FLAGS, "zoo.js", &[class, SECONDS]).unwrap());
        let flags = ["--min-size", "19000", "--js-interval", "1KiB"];
        Watched::new(["both", "buffers"].map(start).into(), &flags)
    });

    #[test]
    fn one_report_has_a_leak_of_each_heap_of_one_process() {
        if node(MAJOR).is_none() {
            return;
        }
        for (heap, site) in [("native", "keepUpload"), ("javascript", "keepRequest")] {
            let leaks: Vec<&Verdict> = OFF_HEAP.of("both").filter(|one| one.is_leak()).collect();
            let here = leaks.iter().filter(|one| one.heap == heap && one.has(site)).count();
            assert_eq!((here, leaks.len()), (1, 2), "{heap}:\n{}", OFF_HEAP.said("both"));
        }
    }

    #[test]
    fn buffers_are_a_native_leak_at_the_javascript_that_made_them() {
        if node(MAJOR).is_some() {
            OFF_HEAP.leaks("buffers", "native", "keepUpload");
        }
    }
}

mod a_crawler_whose_callbacks_closure_keeps_the_page {
    use super::*;

    /// Between a request and its answer, so that a slow machine crawls about as far as a fast one.
    const DELAY: Duration = Duration::from_millis(20);
    const LINKS: usize = 100;
    /// Long enough for 50 old samples on a busy machine too.
    const CRAWL: Duration = Duration::from_secs(45);

    /// A site without an end: page N links to N + 1. It serves for as long as the test runs.
    fn site() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A crawler that is gone is not waited for.
                thread::spawn(move || serve(stream).ok());
            }
        });
        port
    }

    fn serve(mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = BufReader::new(stream.try_clone()?).lines();
        let first = request.next().transpose()?.unwrap_or_default();
        let number: u64 =
            first.split([' ', '?']).nth(1).and_then(|path| path.strip_prefix('/')?.parse().ok()).unwrap_or(0);
        while request.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        thread::sleep(DELAY);
        let next = number + 1;
        let links = format!("<p><a href=\"/{next}?from={number}\">next</a></p>").repeat(LINKS);
        let page = format!("<html><head><title>Page {number}</title></head><body>{links}</body></html>");
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
            page.len()
        )
    }

    /// Where the packages are, and the node to run them in; else the test is skipped.
    fn crawler() -> Option<(PathBuf, PathBuf)> {
        let modules = target().join("crawler/node_modules");
        if !modules.join("crawler/package.json").exists() {
            let why = format!("crawler 0.4.3 is not in {}, `.ci/run` fetches it", modules.display());
            skip("crawler", &why);
            return None;
        }
        Some((modules, node(MAJOR)?))
    }

    /// Both programs. Not asked for without a crawler.
    static CRAWLS: LazyLock<Watched> = LazyLock::new(|| {
        needs_root();
        let (modules, node) = crawler().unwrap();
        let version = fs::read_to_string(modules.join("crawler/package.json")).unwrap();
        assert!(version.contains("\"0.4.3\""), "another crawler: {version}");
        let (port, modules) = (site().to_string(), modules.to_str().unwrap().to_owned());
        let start = |kind: &'static str| {
            let arguments = [kind, modules.as_str(), port.as_str()];
            (kind, Program::node_with(&node, &NODE_FLAGS[..1], "crawler/crawl.js", &arguments).unwrap())
        };
        // By the usual interval a slow machine has not the 50 samples of a leak after so few pages.
        let flags = ["--only", "javascript", "--js-interval", "32KiB"];
        let crawls = Watched::during(CRAWL, ["leaking", "corrected"].map(start).into(), &flags);
        for ((kind, _), truth) in crawls.pids.iter().zip(&crawls.truths) {
            assert!(truth.number("pages") > Some(100), "{kind} did not get far: {truth:?}");
        }
        crawls
    });

    #[test]
    fn is_a_leak_in_on_request_with_the_type_that_grows() {
        if crawler().is_none() {
            return;
        }
        let crawls = &*CRAWLS;
        let found = crawls.of("leaking").find(|one| one.is_leak() && one.has("OnRequest"));
        let found = found.unwrap_or_else(|| panic!("{}", crawls.said("leaking")));
        let is_below =
            |stack: &&Stack| stack.pid == found.pid && stack.frames.iter().any(|one| one.is("OnRequest"));
        let stacks = crawls.report.stacks.iter().filter(is_below);
        let mut types: BTreeMap<&str, u64> = BTreeMap::new();
        for kind in stacks.flat_map(|stack| &stack.types) {
            *types.entry(kind.name.as_str()).or_default() += kind.live.bytes;
        }
        let most = types.iter().max_by_key(|(_, bytes)| **bytes).map(|(name, _)| *name).unwrap();
        assert!(!most.contains("unknown") && !most.contains("not seen"), "{types:?}");
    }

    #[test]
    fn is_no_leak_once_corrected() {
        if crawler().is_none() {
            return;
        }
        let crawls = &*CRAWLS;
        let was_leak = |one: &Verdict| one.is_leak() || one.text.contains("was called LEAK");
        assert!(!crawls.of("corrected").any(was_leak), "{}", crawls.said("corrected"));
    }
}
