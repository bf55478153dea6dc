//! The engine's end of the control socket: reads one question, answers in lines.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::control::{Answer, Ask, STILL_AT_IT, socket_through};

/// A question has at most so many bytes.
const QUESTION_MAX: u64 = 64 * 1024;
/// How long a client may take to ask.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Who answers.
#[async_trait]
pub trait Answering: Send + Sync {
    /// The result, or a sentence that says what to do; `progress` takes sentences on the way.
    async fn answer(
        &self,
        question: Ask,
        progress: mpsc::Sender<String>,
    ) -> Result<serde_json::Value, String>;
}

/// Listen in `data_dir`, in the place of a socket that an engine before left behind. The caller
/// holds the cluster's lock, so no other engine listens there.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let path = data_dir.join("engine.sock");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A socket's path may have 108 bytes at most, a data directory's more.
    let directory = File::open(data_dir)?;
    let listener = UnixListener::bind(socket_through(&directory))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answer until the task is dropped.
pub async fn serve(listener: UnixListener, answering: Arc<dyn Answering>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answering = Arc::clone(&answering);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, answering).await {
                        tracing::debug!(%error, "a command line went away");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, answering: Arc<dyn Answering>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut limited = BufReader::new(read.take(QUESTION_MAX));
    let read = tokio::time::timeout(QUESTION_TIMEOUT, limited.read_line(&mut line)).await;
    if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
        return Ok(()); // somebody only looked whether we are here
    }
    let answer = match serde_json::from_str::<Ask>(&line) {
        Ok(question) => {
            let (sender, mut progress) = mpsc::channel(16);
            let mut work = std::pin::pin!(answering.answer(question, sender));
            let mut working = tokio::time::interval(STILL_AT_IT);
            loop {
                tokio::select! {
                    _ = working.tick() => say(&mut write, &Answer::Working).await?,
                    Some(text) = progress.recv() => say(&mut write, &Answer::Progress(text)).await?,
                    result = &mut work => break result,
                }
            }
        }
        Err(_) => Err("the engine is of another version than this command: run `coracle down` \
                       and `coracle up` to start the new one"
            .to_string()),
    };
    say(&mut write, &answer.map_or_else(Answer::Failed, Answer::Done)).await
}

async fn say(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control;
    use serde_json::json;

    struct Echo;

    #[async_trait]
    impl Answering for Echo {
        async fn answer(
            &self,
            question: Ask,
            progress: mpsc::Sender<String>,
        ) -> Result<serde_json::Value, String> {
            match question {
                Ask::Status => {
                    progress.send("looking".into()).await.unwrap();
                    Ok(json!({"pid": 1}))
                }
                _ => Err("no".into()),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn questions_are_answered_also_in_a_directory_with_a_long_name() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("x".repeat(150));
        std::fs::create_dir(&data_dir).unwrap();
        let listener = listen(&data_dir).unwrap();
        tokio::spawn(serve(listener, Arc::new(Echo)));
        let asking = tokio::task::spawn_blocking(move || {
            let mut said = Vec::new();
            let status = control::ask(&data_dir, &Ask::Status, |text| said.push(text.to_string()));
            let refused = control::ask(&data_dir, &Ask::ImageList, |_| ()).unwrap_err();
            (status.unwrap(), said, refused.to_string())
        });
        let (status, _, refused) = asking.await.unwrap();
        assert_eq!(status, json!({"pid": 1}));
        assert_eq!(refused, "no");
    }
}
