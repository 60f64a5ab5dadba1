//! Programs that people run, each with work that goes on for as long as it is given: text on its stdin, or questions.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tests_kernel::{load::free_port, private_libs::PrivateLibs};

use super::{Tool, client::Question, cpu::family};
use crate::{
    checkout::Checkout,
    command::{answer, is_installed, plain},
};

pub(super) struct Workload {
    pub(super) name: &'static str,
    /// What is counted.
    pub(super) unit: &'static str,
    command: Vec<OsString>,
    folder: PathBuf,
    work: Work,
}

#[derive(Clone)]
enum Work {
    /// Given again and again; each time is one.
    Text(Vec<u8>),
    Question(Question),
}

/// A program that has started.
pub(super) struct Running {
    child: Child,
    /// Its own, which is not the child's where a tool started it.
    pub(super) pid: u32,
    stdin: Option<ChildStdin>,
    work: Work,
}

const SERVER: &str = "require('http').createServer((q, s) => s.end(JSON.stringify({ \
    path: q.url, agent: q.headers['user-agent'], list: Array.from({ length: 50 }, (_, i) => ({ i })) \
    }))).listen(+process.argv[1])";

/// All there are, whether the machine has them or not.
pub(super) fn all(checkout: &Checkout, folder: &Path) -> Result<Vec<Workload>> {
    let words = |line: &[&str]| line.iter().map(OsString::from).collect::<Vec<_>>();
    let fed = |name, unit, command: &[&str], text: Vec<u8>| Workload {
        name,
        unit,
        command: words(command),
        folder: checkout.root().to_owned(),
        work: Work::Text(text),
    };
    let served = |name, port: u16, bytes, at_once, command: &[&str]| Workload {
        name,
        unit: "request",
        command: words(command),
        folder: folder.to_owned(),
        work: Work::Question(Question { port, bytes, at_once }),
    };
    let (redis, nginx, node) = (free_port()?, free_port()?, free_port()?);
    let redis_port = redis.to_string();
    let redis_line = ["redis-server", "--port", &redis_port, "--save", "", "--appendonly", "no"];
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, nginx_configuration(folder, nginx))?;
    fs::write(folder.join("index.html"), "hello ".repeat(200))?;
    let nginx_line = ["nginx", "-c", &configuration.to_string_lossy()];
    const SET: &str = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n";
    const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: leaktrace-bench\r\n\r\n";
    Ok(vec![
        fed("jq", "100 objects", &["jq", "-c", "[.items[] | {name, size}]"], objects()),
        fed("sqlite3", "transaction of 200 rows", &["sqlite3", ":memory:"], statements()),
        fed(
            "python3",
            "100 objects",
            &[
                "/usr/bin/python3",
                "-c",
                "import sys, json\nfor line in sys.stdin: json.dumps(json.loads(line))",
            ],
            objects(),
        ),
        fed(
            "git",
            "pass over 50 commits",
            &["git", "diff-tree", "--stdin", "-p", "-r", "--root"],
            commits(checkout)?,
        ),
        served("redis", redis, SET, 1, &redis_line),
        served("redis, 16 at once", redis, SET, 16, &redis_line),
        served("nginx", nginx, GET, 1, &nginx_line),
        served("node", node, GET, 1, &["node", "-e", SERVER, &node.to_string()]),
    ])
}

fn objects() -> Vec<u8> {
    let mut text = String::new();
    for at in 0..100 {
        let item =
            |n: u32| format!(r#"{{"name": "item {n} of {at}", "size": {n}, "tags": ["a", "b", "c"]}}"#);
        let items: Vec<String> = (0..10).map(item).collect();
        text.push_str(&format!("{{\"id\": {at}, \"items\": [{}]}}\n", items.join(", ")));
    }
    text.into_bytes()
}

fn statements() -> Vec<u8> {
    let mut text = String::from("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, name TEXT);\nBEGIN;\n");
    for at in 0..200 {
        text.push_str(&format!("INSERT INTO t(name) VALUES ('name of row {at}');\n"));
    }
    text.push_str(
        "COMMIT;\nSELECT count(*), max(length(name)) FROM t WHERE name LIKE '%row 1%';\nDELETE FROM t;\n",
    );
    text.into_bytes()
}

fn commits(checkout: &Checkout) -> Result<Vec<u8>> {
    let mut log = plain("git", checkout);
    let list = answer(log.args(["log", "-50", "--format=%H"])).context("no commits to look at")?;
    Ok(format!("{}\n", list.trim()).into_bytes())
}

/// One process in the foreground.
fn nginx_configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null;\nevents {{}}\n\
         http {{ access_log off; server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000; root {folder}; }} }}\n"
    )
}

impl Workload {
    pub(super) fn lacking(&self) -> Option<String> {
        let program = self.command[0].to_string_lossy();
        (!is_installed(&program)).then(|| program.into_owned())
    }

    /// Starts it under a tool, or by itself.
    pub(super) fn start(&self, tool: Option<&Tool>, leak: &Path, libs: &PrivateLibs) -> Result<Running> {
        let before = tool.map_or(&[][..], |tool| tool.command);
        let words: Vec<OsString> =
            before.iter().map(OsString::from).chain(self.command.iter().cloned()).collect();
        let mut preload = leak.as_os_str().to_owned();
        if let Some(library) = tool.and_then(|tool| tool.preload) {
            preload.push(":");
            preload.push(libs.file(library));
        }
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .envs(tool.map_or(&[][..], |tool| tool.variables).iter().copied())
            .env("LD_PRELOAD", preload)
            .env("LD_LIBRARY_PATH", libs.folder())
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(File::options().write(true).open("/dev/null")?)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", words[0].display()))?;
        let stdin = child.stdin.take();
        let mut running = Running { pid: child.id(), child, stdin, work: self.work.clone() };
        let name = Path::new(&self.command[0]).file_name().context("a program has a name")?;
        running.pid = running.find(&name.to_string_lossy(), !before.is_empty())?;
        Ok(running)
    }
}

impl Running {
    pub(super) fn child(&self) -> u32 {
        self.child.id()
    }

    /// The process that runs the program, once it does.
    fn find(&self, program: &str, is_inside: bool) -> Result<u32> {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            // It has the library only after its exec; valgrind runs the program within itself.
            let is_it = |pid: &u32| {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
                let is_named = comm.trim() == program || is_inside && comm.trim().starts_with("dhat");
                is_named && maps.contains("leak_beside.so")
            };
            if let Some(pid) = family(self.child()).into_iter().find(is_it) {
                return Ok(pid);
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("{program} has not started")
    }

    /// Units done in this time, and a server's 99th percentile.
    pub(super) fn work(&mut self, time: Duration) -> Result<(f64, Option<f64>)> {
        match &self.work {
            Work::Question(question) => question.ask(time),
            Work::Text(text) => {
                let stdin = self.stdin.as_mut().context("it has no stdin")?;
                let (until, mut units) = (Instant::now() + time, 0.0);
                // The pipe is full all the while, so that what was written is what was read.
                while Instant::now() < until {
                    stdin.write_all(text).context("it reads no more")?;
                    units += 1.0;
                }
                Ok((units, None))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for pid in family(self.child()).into_iter().rev() {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}
