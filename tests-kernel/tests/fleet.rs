//! What leaves the machine while every process is traced: metrics for Prometheus, profiles for a store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tests_kernel::{
    Agent, Program,
    agent::binary,
    checkout,
    compile::{Compiler, compiled},
    http::get,
    load::free_port,
    memory, needs_root,
    private_libs::PrivateLibs,
    skip::skip,
};

fn service(mode: &str) -> Program {
    Program::start("service.c", Compiler::Gcc, &[mode]).unwrap()
}

/// Debian's Prometheus, which `.ci/run` unpacks beside what cargo builds.
fn prometheus() -> Option<PathBuf> {
    let path = tests_kernel::target().join("prometheus/usr/bin/prometheus");
    if !path.exists() {
        skip("prometheus", &format!("there is no Prometheus at {}", path.display()));
        return None;
    }
    Some(path)
}

#[test]
fn prometheus_scrapes_the_metrics_and_names_the_process_that_leaks() {
    needs_root();
    let Some(prometheus) = prometheus() else { return };
    let folder = tempfile::Builder::new().prefix("leaktrace-prometheus-").tempdir().unwrap();
    // As large as a browser's: such a file's names are read only once something in it is suspected.
    let executable = folder.path().join("large");
    fs::copy(compiled("service.c", Compiler::Gcc).unwrap(), &executable).unwrap();
    fs::OpenOptions::new().write(true).open(&executable).unwrap().set_len(100 << 20).unwrap();
    let libs = PrivateLibs::copy(&[]).unwrap();
    let mut program = Program::start_file(&executable, &["leak"], libs, &[]).unwrap();
    let (metrics, server) = (free_port().unwrap(), free_port().unwrap());
    let address = format!("127.0.0.1:{metrics}");
    let flags = ["--exact", "--epoch", "250ms", "--comm", "large", "--metrics", &address];
    let agent = Agent::start(Command::new(binary()).args(flags)).unwrap();
    program.begin().unwrap();
    let config = folder.path().join("prometheus.yml");
    let targets = format!("[{{targets: ['127.0.0.1:{metrics}']}}]");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: leaktrace, static_configs: {targets}}}]\n"
    );
    fs::write(&config, text).unwrap();
    let mut running = Command::new(prometheus)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{server}"))
        .stderr(fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    // leaktrace_process_verdicts{verdict="leak"} > 0
    let query = "/api/v1/query?query=leaktrace_process_verdicts%7Bverdict%3D%22leak%22%7D%3E0";
    let wanted = format!("\"pid\":\"{}\"", program.pid());
    let until = Instant::now() + Duration::from_secs(120);
    let mut answer = String::new();
    while !answer.contains(&wanted) && Instant::now() < until {
        thread::sleep(Duration::from_secs(1));
        answer = get(server, query).unwrap_or_default();
    }
    let own = get(server, "/api/v1/query?query=process_resident_memory_bytes").unwrap();
    let resident = memory::bytes(agent.pid(), "VmRSS").unwrap() as f64;
    let served = get(metrics, "/metrics").unwrap_or_default();
    let spent = served.lines().find_map(|line| line.strip_prefix("leaktrace_overhead_cpu_seconds_total "));
    let place = served.lines().find(|line| line.starts_with("leaktrace_stack_leaking_bytes_per_second{"));
    running.kill().unwrap();
    running.wait().unwrap();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(answer.contains(&wanted), "{answer}\n{log}");
    assert!(place.is_some_and(|place| place.contains("leak_a_request")), "{place:?}");
    assert!(spent.unwrap().parse::<f64>().unwrap() > 0.0, "{spent:?}");
    // "value":[TIME,"BYTES"]
    let told =
        own.split_once("\"value\":[").and_then(|(_, value)| value.split('"').nth(1)?.parse::<f64>().ok());
    assert!(told.is_some_and(|told| (0.5..2.0).contains(&(told / resident))), "{own} of {resident}");
    agent.stop().unwrap();
    program.stop().unwrap();
}

/// A store of profiles that refuses the first request.
struct Store {
    running: Child,
    port: u16,
}

impl Store {
    fn start(folder: &Path) -> Self {
        let mut running = Command::new("python3")
            .arg(checkout().join("testprogs/profile_store.py"))
            .args([folder, Path::new("1")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { running, port: line.trim().parse().unwrap() }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

/// As `go tool pprof` prints it.
fn top(profile: &Path, sample: &str) -> String {
    let shown = Command::new("go")
        .args(["tool", "pprof", "-top", "-cum", &format!("-sample_index={sample}")])
        .arg(profile)
        .env("HOME", profile.parent().unwrap())
        .output()
        .unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

#[test]
fn profiles_are_pushed_to_a_store_and_go_reads_them() {
    needs_root();
    if Command::new("go").arg("version").output().is_err() {
        return skip("tools", "there is no go to read profiles");
    }
    let folder = tempfile::Builder::new().prefix("leaktrace-push-").tempdir().unwrap();
    let store = Store::start(folder.path());
    let mut programs = [service("leak"), service("leak")];
    let mut command = Command::new(binary());
    let name = compiled("service.c", Compiler::Gcc).unwrap();
    let name = name.file_name().unwrap().to_str().unwrap();
    command.args(["--exact", "--push-every", "1s", "--comm", name, "--duration", "5s"]);
    command.env("LEAKTRACE_PUSH", format!("http://some:body@127.0.0.1:{}/below/", store.port));
    let mut agent = Agent::start(&mut command).unwrap();
    programs.iter_mut().for_each(|program| program.begin().unwrap());
    let report = agent.ended().unwrap();
    let stderr = agent.stderr().unwrap();
    assert!(stderr.contains("503") && stderr.contains("too many profiles"), "{stderr}");
    assert!(stderr.contains("profiles are taken again") && !stderr.contains("body@"), "{stderr}");
    for program in &mut programs {
        program.stop().unwrap();
        let of_it = format!(".{}.", program.pid());
        let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut own: Vec<PathBuf> = files.filter(|file| file.to_str().unwrap().contains(&of_it)).collect();
        own.sort_by_key(|file| fs::metadata(file).unwrap().modified().unwrap());
        assert!(own.len() >= 2, "{own:?}");
        let last = own.last().unwrap();
        let shown = top(last, "inuse_space");
        assert!(shown.contains("leak_a_request"), "{shown}");
        // Each tells of its own interval only.
        let blocks = |file: &PathBuf| total(&top(file, "alloc_objects"));
        let allocated: u64 = own.iter().map(blocks).sum();
        let stacks = report.stacks.iter().filter(|stack| stack.pid == program.pid());
        assert_eq!(allocated, stacks.map(|stack| stack.sums.allocs).sum::<u64>());
    }
}

/// Of `Showing nodes accounting for 100, 100% of 100 total`.
fn total(shown: &str) -> u64 {
    let line = shown.lines().find(|line| line.ends_with(" total")).unwrap();
    line.rsplit(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_store_that_does_not_answer_keeps_no_probe_in_place() {
    needs_root();
    if Command::new("bpftool").arg("version").output().is_err() {
        return skip("bpftool", "bpftool is not installed");
    }
    // Connections wait in its queue for ever.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut program = service("leak");
    let agent = Agent::attach(&[program.pid()], &["--push", &url, "--push-every", "1h"]).unwrap();
    program.begin().unwrap();
    thread::sleep(Duration::from_secs(1));
    let placed = || {
        let shown = Command::new("bpftool").args(["prog", "show"]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).contains("call_enter")
    };
    assert!(placed());
    assert!(Command::new("kill").args(["-INT", &agent.pid().to_string()]).status().unwrap().success());
    // It is given ten seconds to answer, and taking probes back takes two.
    let asked = Instant::now();
    while placed() {
        assert!(asked.elapsed() < Duration::from_secs(9), "probes stand while the store is waited for");
        thread::sleep(Duration::from_millis(100));
    }
    let is_there = Path::new(&format!("/proc/{}", agent.pid())).exists();
    assert!(is_there, "it did not wait for the store, so this says nothing");
    agent.stop_with(1).unwrap();
    program.stop().unwrap();
}
