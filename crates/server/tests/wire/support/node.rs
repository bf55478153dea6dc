//! A node whose pods are this machine: commands run here, in a folder, and ports are those of
//! loopback. For trying clients without containers.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::Status;
use coracle_server::Duplex;
use coracle_server::{ExecOptions, LogOptions, NodeStreams, Session, TerminalSize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};

/// Runs commands in `folder`, and keeps what clients said of their terminals.
pub struct LocalNode {
    pub folder: PathBuf,
    pub sizes: Arc<Mutex<Vec<(u16, u16)>>>,
}

impl LocalNode {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, sizes: Arc::default() }
    }

    fn run(&self, mut command: Command, options: &ExecOptions) -> Result<Session, Status> {
        let pipe = |wanted| if wanted { Stdio::piped() } else { Stdio::null() };
        command.stdin(pipe(options.stdin)).stdout(pipe(options.stdout));
        command.stderr(pipe(options.stderr)).current_dir(&self.folder);
        let mut child = command.spawn().map_err(Status::internal)?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (sender, exit) = oneshot::channel();
        tokio::spawn(async move {
            let ended = child.wait().await.map_err(|error| error.to_string());
            // Nobody may be there to be told.
            drop(sender.send(ended.map(|status| status.code().unwrap_or(137))));
        });
        Ok(Session {
            stdin: stdin.map(|pipe| Box::new(pipe) as Box<dyn AsyncWrite + Send + Unpin>),
            stdout: stdout.map(|pipe| Box::new(pipe) as Box<dyn AsyncRead + Send + Unpin>),
            stderr: stderr.map(|pipe| Box::new(pipe) as Box<dyn AsyncRead + Send + Unpin>),
            resize: options.tty.then(|| self.sizes()),
            exit,
        })
    }

    fn sizes(&self) -> mpsc::Sender<TerminalSize> {
        let (sender, mut receiver) = mpsc::channel::<TerminalSize>(1);
        let sizes = Arc::clone(&self.sizes);
        tokio::spawn(async move {
            while let Some(size) = receiver.recv().await {
                if let Ok(mut sizes) = sizes.lock() {
                    sizes.push((size.width, size.height));
                }
            }
        });
        sender
    }
}

/// Behind a terminal, with `script`, when one is wanted.
fn command(options: &ExecOptions) -> Result<Command, Status> {
    let (program, args) =
        options.command.split_first().ok_or_else(|| Status::bad_request("no command"))?;
    if !options.tty {
        let mut command = Command::new(program);
        command.args(args);
        return Ok(command);
    }
    let quoted: Vec<String> =
        options.command.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &quoted.join(" "), "/dev/null"]);
    Ok(command)
}

#[async_trait]
impl NodeStreams for LocalNode {
    async fn logs(
        &self,
        _namespace: &str,
        _pod: &str,
        _options: LogOptions,
    ) -> Result<mpsc::Receiver<Bytes>, Status> {
        let (sender, chunks) = mpsc::channel(1);
        tokio::spawn(async move {
            for line in ["one\n", "two\n"] {
                // Whoever reads may go.
                sender.send(line.into()).await.unwrap_or_default();
            }
        });
        Ok(chunks)
    }

    async fn exec(
        &self,
        _namespace: &str,
        _pod: &str,
        options: ExecOptions,
    ) -> Result<Session, Status> {
        self.run(command(&options)?, &options)
    }

    async fn attach(
        &self,
        _namespace: &str,
        _pod: &str,
        options: ExecOptions,
    ) -> Result<Session, Status> {
        let main = ["sh", "-c", "echo attached; cat; exit 7"].map(str::to_owned).to_vec();
        let options = ExecOptions { command: main, ..options };
        self.run(command(&options)?, &options)
    }

    async fn connect(
        &self,
        _namespace: &str,
        _pod: &str,
        port: u16,
    ) -> Result<Box<dyn Duplex>, Status> {
        let refused = |error| Status::internal(format!("failed to connect to localhost: {error}"));
        let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(refused)?;
        Ok(Box::new(stream))
    }

    async fn door(&self, _: &str, path: &str) -> Result<(&'static str, Bytes), Status> {
        Ok(("text/plain", Bytes::from(path.to_owned())))
    }

    async fn reach(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        _tls: bool,
    ) -> Result<Box<dyn Duplex>, Status> {
        self.connect(namespace, pod, port).await
    }
}
