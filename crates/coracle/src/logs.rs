//! `coracle logs`: what the engine wrote, and what it goes on to write.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Print the log at `path`; with `follow`, go on until interrupted.
///
/// # Errors
/// When the log cannot be read.
pub fn show(path: &Path, follow: bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    loop {
        if copy_rest(&mut file)? == Reader::Gone || !follow {
            return Ok(());
        }
        std::thread::sleep(POLL);
        // The engine starts its log anew at every start: begin at the top when it shrank.
        if file.stream_position()? > std::fs::metadata(path)?.len() {
            file = File::open(path)?;
            file.seek(SeekFrom::Start(0))?;
        }
    }
}

#[derive(PartialEq)]
enum Reader {
    There,
    Gone,
}

fn copy_rest(file: &mut File) -> io::Result<Reader> {
    let mut output = io::stdout();
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(Reader::There);
        }
        if output.write_all(&buffer[..n]).and_then(|()| output.flush()).is_err() {
            return Ok(Reader::Gone);
        }
    }
}
