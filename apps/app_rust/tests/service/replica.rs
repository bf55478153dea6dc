//! One replica as a process, and clients of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_app_rust");

/// A running service with a folder of its own.
pub struct Replica {
    child: Child,
    log: BufReader<ChildStdout>,
    address: String,
    environment: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Replica {
    /// Start it and wait until it listens.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let mut replica = Self::spawn(environment);
        replica.wait_until_it_listens();
        replica
    }

    /// Start it, on a port that is free.
    pub fn spawn(environment: &[(&str, &str)]) -> Self {
        Self::spawn_by(environment, &[PROGRAM])
    }

    /// Start it by another command, whose last argument is the program.
    pub fn spawn_by(environment: &[(&str, &str)], command: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec![("LISTEN".to_string(), "127.0.0.1:0".to_string())];
        all.extend(environment.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(all.clone())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        Self { child, log, address: String::new(), environment: all, folder }
    }

    /// Start it again on the same folder, after it ended.
    pub fn restart(&mut self) {
        self.child.wait().unwrap();
        self.child = Command::new(PROGRAM)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.environment.clone())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        self.log = BufReader::new(self.child.stdout.take().unwrap());
        self.wait_until_it_listens();
    }

    pub fn wait_until_it_listens(&mut self) {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        self.address = said["listen"].as_str().unwrap_or_else(|| panic!("{line}")).to_string();
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Its exit code and what it still wrote, together with the line that `start` read.
    pub fn wait(&mut self) -> (Option<i32>, String) {
        let mut log = match self.address.is_empty() {
            true => String::new(),
            false => "{\"message\":\"listening\"}\n".to_string(),
        };
        self.log.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }

    /// What the file holds.
    pub fn visits(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("visits.txt")
    }

    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str) -> Answer {
        self.client().ask("GET", path).unwrap()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// A connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Ask; `None` when the connection ended without a whole answer.
    pub fn ask(&mut self, method: &str, path: &str) -> Option<Answer> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: replica\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_lowercase();
        let length = head.split_once("content-length: ").filter(|_| method != "HEAD");
        let length = length.map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, body: String::from_utf8(body).ok()? })
    }

    /// The number in the JSON of `/visits`.
    pub fn count(body: &str) -> u64 {
        serde_json::from_str::<serde_json::Value>(body).unwrap()["visits"].as_u64().unwrap()
    }
}
