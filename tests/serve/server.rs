//! A server that runs, and clients: a well-behaved one, and one that sends whatever bytes it likes.

use crate::support::{command, model, text};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::Response;

/// Longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(20);

pub struct Server {
    pub child: Child,
    /// `http://127.0.0.1:43210`
    pub url: String,
    log: Arc<Mutex<String>>,
    pub agent: Agent,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub json: Value,
}

impl Answer {
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json
    }

    /// Refused with this status and one error that holds all of `words`.
    #[track_caller]
    pub fn refused(self, status: u16, words: &[&str]) -> Answer {
        assert_eq!(self.status, status, "{self:?}");
        let keys: Vec<&String> = self.json.as_object().unwrap_or_else(|| panic!("{self:?}")).keys().collect();
        assert_eq!(keys, ["error"], "{self:?}");
        let error = self.json["error"].as_str().unwrap();
        for word in words {
            assert!(error.contains(word), "no \"{word}\" in {error}");
        }
        self
    }
}

pub fn answer(response: Response<ureq::Body>) -> Answer {
    let (head, mut body) = response.into_parts();
    let retry_after = head.headers.get("retry-after").map(|v| v.to_str().unwrap().parse().unwrap());
    let text = body.with_config().limit(1 << 30).read_to_string().unwrap();
    let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status: head.status.as_u16(), retry_after, json }
}

pub fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).timeout_global(Some(LONG)).build().into()
}

/// `ckaad serve` on a free port, of this machine alone where nothing else is said.
pub fn serving(args: &[&str]) -> Command {
    let listen = if args.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
    command(&[&["serve", "--device", "cpu"], listen, args].concat())
}

impl Server {
    /// With the model of all tests.
    pub fn new(args: &[&str]) -> Self {
        Self::start(serving(&[&["--model", text(model())], args].concat()))
    }

    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (all, mut lines) = (log.clone(), BufReader::new(child.stderr.take().unwrap()));
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
                all.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        let Some(url) = line.strip_prefix("listening on ") else {
            reader.join().unwrap();
            panic!("it does not serve: {line}{}", log.lock().unwrap());
        };
        Server { child, url: url.trim().into(), log, agent: agent() }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Until the log holds a text.
    #[track_caller]
    pub fn until_told(&self, what: &str) {
        until(|| self.log().contains(what));
    }

    pub fn host(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub fn get(&self, path: &str) -> Answer {
        answer(self.agent.get(self.at(path)).call().unwrap())
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        answer(self.agent.post(self.at(path)).send(body).unwrap())
    }

    pub fn score(&self, picture: &[u8]) -> Answer {
        self.post("/score", picture)
    }

    /// A connection that has sent these bytes.
    pub fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        // A server that has heard enough may have closed it.
        let _ = stream.write_all(bytes);
        stream
    }

    /// What comes back of these bytes until the server closes the connection.
    pub fn raw(&self, bytes: &[u8]) -> String {
        rest(self.send(bytes))
    }

    /// A number of `/metrics`: the sum of the lines that begin so.
    pub fn metric(&self, begin: &str) -> f64 {
        let all = self.get("/metrics");
        let text = all.json.as_str().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(begin));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Of the process, in bytes.
    #[cfg(target_os = "linux")]
    pub fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<f64>().unwrap() * 1024.0
    }

    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// How it ends.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits, but not for ever.
#[track_caller]
pub fn until(mut true_now: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !true_now() {
        assert!(begun.elapsed() < LONG, "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is still to come of a connection.
pub fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// The head of a request by hand.
pub fn head(method: &str, path: &str, headers: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
}
