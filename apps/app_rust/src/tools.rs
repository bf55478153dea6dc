//! What the image has besides the service: it holds this one program and no shell.

use std::io::{self, Write};
use std::time::Duration;

use crate::peers;

/// How long `check` waits until all replicas answer.
const CHECK_PATIENCE: Duration = Duration::from_secs(30);

/// `cat FILE…`: so that `kubectl exec … -- cat visits.txt` works in an image from scratch.
///
/// # Errors
/// A sentence that names the file.
pub fn cat(files: impl Iterator<Item = String>) -> Result<(), String> {
    let mut output = io::stdout().lock();
    for name in files {
        let mut file =
            std::fs::File::open(&name).map_err(|error| format!("cat: {name}: {error}"))?;
        io::copy(&mut file, &mut output).map_err(|error| format!("cat: {name}: {error}"))?;
    }
    output.flush().map_err(|error| format!("cat: {error}"))
}

/// `check HOST PORT REPLICAS`: waits until the service there answers and shows at least so many
/// replicas, none missing.
///
/// # Errors
/// What was seen last.
pub async fn check(host: &str, port: u16, wanted: usize) -> Result<String, String> {
    let begin = tokio::time::Instant::now();
    loop {
        let seen = peers::get(host, port, "/visits/all").await.and_then(|all| {
            let replicas = all["replicas"].as_array().map_or(&[][..], Vec::as_slice);
            let complete = replicas.len() >= wanted
                && replicas.iter().all(|replica| replica["visits"].is_u64());
            if complete { Ok(all.to_string()) } else { Err(format!("incomplete: {all}")) }
        });
        if seen.is_ok() || begin.elapsed() > CHECK_PATIENCE {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
