//! The service as a process, and a client that speaks HTTP/1.0: an answer ends with its connection.

use serde_json::Value;
use siskin::{Model, Translator};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A file of a model that ships.
pub fn model(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(format!("models/{name}/{name}.siskin")).display().to_string()
}

/// A translator of such a file, as the library makes it.
pub fn translator(name: &str) -> Translator {
    Translator::new(Arc::new(Model::open(model(name)).unwrap())).unwrap()
}

/// A running service, which ends with the test.
pub struct Service {
    process: Child,
    pub address: String,
}

impl Service {
    /// English to German and back, on a port of its own.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
        command.args(["serve", "--address", "127.0.0.1:0", "-m", &model("en-de"), "-m", &model("de-en")]);
        let mut process = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("siskin: listening on http://").expect(&line).to_owned();
        Self { process, address }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends a request; the answer is still to be read.
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> TcpStream {
        let mut stream = self.connect();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }

    /// Status and body of the answer to a request.
    pub fn request(&self, method: &str, path: &str, content_type: &str, body: &str) -> (u16, String) {
        read(self.send(method, path, content_type, body))
    }

    /// Status and body of the answer to JSON.
    pub fn post(&self, body: &Value) -> (u16, Value) {
        let (status, answer) = self.request("POST", "/translate", "application/json", &body.to_string());
        (status, serde_json::from_str(&answer).expect(&answer))
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path, "", "")
    }

    /// A number of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect(&text).parse().unwrap()
    }

    /// Waits until the service computes nothing, and says how long that took.
    pub fn until_idle(&self) -> Duration {
        let began = Instant::now();
        while self.metric("siskin_running") + self.metric("siskin_waiting") > 0.0 {
            assert!(began.elapsed() < Duration::from_secs(50), "still computing");
            std::thread::sleep(Duration::from_millis(20));
        }
        began.elapsed()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Status and body of an answer.
pub fn read(mut stream: TcpStream) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    (head.split(' ').nth(1).expect(head).parse().unwrap(), body.to_owned())
}
