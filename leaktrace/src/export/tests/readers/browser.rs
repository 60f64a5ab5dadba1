//! A headless Chromium, driven by the DevTools protocol over a pipe: no port, no driver.
//!
//! <https://chromedevtools.github.io/devtools-protocol/1-3/>

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Folder, says, target};

const PATIENCE: Duration = Duration::from_secs(60);

/// One page. Ended by the drop.
pub(super) struct Browser {
    process: Child,
    to: File,
    from: Receiver<Value>,
    next: u64,
    session: String,
    /// What it said that nobody had asked for.
    events: Vec<Value>,
    folder: Folder,
}

impl Browser {
    pub(super) fn open(name: &str, url: &str) -> Self {
        let folder = Folder::new(name);
        let [to, from] = ["to", "from"].map(|name| folder.0.join(name));
        says(Command::new("mkfifo").args([&to, &from]));
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--allow-file-access-from-files",
            "--window-size=1300,1600",
            "--remote-debugging-pipe",
        ];
        // It reads from 3 and writes to 4.
        let process = Command::new("sh")
            .args(["-c", "exec chromium --user-data-dir=\"$0/profile\" \"$@\" 3<\"$0/to\" 4>\"$0/from\""])
            .arg(&folder.0)
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let from = File::open(from).unwrap();
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for message in BufReader::new(from).split(0) {
                let Ok(message) = message else { return };
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut browser =
            Self { process, to, from: receiver, next: 0, session: String::new(), events: Vec::new(), folder };
        let page = browser.ask("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        browser.session =
            browser.ask("Target.attachToTarget", &attach)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Network"] {
            browser.ask(&format!("{domain}.enable"), &json!({}));
        }
        browser.ask("Page.navigate", &json!({"url": url}));
        browser.wait(|event| event["method"] == "Page.loadEventFired");
        browser
    }

    /// What a command answers.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let session = self.session.clone();
        self.ask_in(&session, method, params)
    }

    fn ask_in(&mut self, session: &str, method: &str, params: &Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": params});
        if !session.is_empty() {
            message["sessionId"] = session.into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.from.recv_timeout(PATIENCE).unwrap();
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn wait(&mut self, is_it: impl Fn(&Value) -> bool) {
        while !self.events.iter().any(&is_it) {
            let event = self.from.recv_timeout(PATIENCE).unwrap();
            self.events.push(event);
        }
    }

    /// The frame within the page: it is sandboxed, so the browser has it in a process of its own, with a session.
    pub(super) fn frame(&mut self) -> String {
        let all = json!({"autoAttach": true, "waitForDebuggerOnStart": false, "flatten": true});
        self.ask("Target.setAutoAttach", &all);
        self.wait(|event| event["method"] == "Target.attachedToTarget" && is_frame(event));
        let attached = self.events.iter().find(|event| is_frame(event)).unwrap();
        attached["params"]["sessionId"].as_str().unwrap().to_owned()
    }

    /// The value of an expression in the frame of this session, or in the page itself.
    pub(super) fn value(&mut self, frame: Option<&str>, expression: &str) -> Value {
        let session = frame.map_or_else(|| self.session.clone(), str::to_owned);
        let params = json!({"expression": expression, "returnByValue": true});
        let answer = self.ask_in(&session, "Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Asks until it is so: pages set themselves up in their own time.
    pub(super) fn until(&mut self, frame: Option<&str>, expression: &str) {
        let begun = Instant::now();
        while self.value(frame, expression) != true {
            assert!(begun.elapsed() < PATIENCE, "never so: {expression}: {:#?}", self.errors());
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn click(&mut self, x: f64, y: f64) {
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1});
            self.ask("Input.dispatchMouseEvent", &event);
        }
    }

    /// Kept as `target/exports/NAME.png`.
    pub(super) fn picture(&mut self, name: &str) {
        let png = self.ask("Page.captureScreenshot", &json!({}));
        let text = self.folder.0.join("picture");
        std::fs::write(&text, png["data"].as_str().unwrap()).unwrap();
        let folder = target().join("exports");
        std::fs::create_dir_all(&folder).unwrap();
        let file = File::create(folder.join(format!("{name}.png"))).unwrap();
        assert!(Command::new("base64").arg("-d").arg(text).stdout(file).status().unwrap().success());
    }

    /// What it asked for beside the page itself.
    pub(super) fn requests(&self) -> Vec<&str> {
        let requests = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        let urls = requests.filter_map(|event| event["params"]["request"]["url"].as_str());
        urls.filter(|url| !url.starts_with("file:") && !url.starts_with("about:")).collect()
    }

    /// Errors that nothing in the page caught.
    pub(super) fn errors(&self) -> Vec<&Value> {
        self.events.iter().filter(|event| event["method"] == "Runtime.exceptionThrown").collect()
    }
}

fn is_frame(event: &Value) -> bool {
    event["params"]["targetInfo"]["type"] == "iframe"
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
