//! `kill -9` of a process that writes: a hundred times, at random moments, on one store.
//!
//! The process is this program again. It says on its standard output what was acknowledged to it;
//! whatever it said must be in the file afterwards, and no half of anything.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use coracle_api::{Key, Object};
use coracle_store::{Expect, Snapshot, Store, Transaction, Write};
use serde_json::json;

type Failure = Box<dyn Error + Send + Sync>;

/// Set for the writing process: where the store is.
const STORE: &str = "KILL_TEST_STORE";
const KILLS: u64 = 100;
const WRITERS: u64 = 8;

fn main() -> Result<(), Failure> {
    match std::env::var_os(STORE) {
        Some(path) => write_for_ever(Path::new(&path)),
        None => kill_again_and_again(),
    }
}

fn kill_again_and_again() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("store");
    // The last step of each writer that must be there.
    let mut known = BTreeMap::new();
    let mut moment = 1_u64;
    for kill in 1..=KILLS {
        moment = moment * 48_271 % 0x7fff_ffff;
        let time = Duration::from_micros(moment % 50_000);
        // Half of them while it opens the store, perhaps, half while it writes, for sure.
        write_and_kill(&path, kill % 2 == 0, time, &mut known)?;
        let store = Store::open(&path).map_err(|error| format!("after kill {kill}: {error}"))?;
        for writer in 0..WRITERS {
            let known = known.entry(writer).or_insert(0);
            *known = check(&store.snapshot(), writer, *known)
                .map_err(|error| format!("after kill {kill}, writer {writer}: {error}"))?;
        }
    }
    let steps: u64 = known.values().sum();
    println!("{steps} transactions survived {KILLS} kills");
    Ok(())
}

/// Lets a process run for `time` (from its first acknowledgement when `writing`), kills it, and
/// takes down what was acknowledged to it.
fn write_and_kill(
    path: &Path,
    writing: bool,
    time: Duration,
    known: &mut BTreeMap<u64, u64>,
) -> Result<(), Failure> {
    let mut child =
        Command::new(std::env::current_exe()?).env(STORE, path).stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let first = if writing { Some(lines.recv()?) } else { None };
    std::thread::sleep(time);
    child.kill()?;
    let status = child.wait()?;
    if status.code().is_some() {
        return Err(format!("the writer ended by itself: {status}").into());
    }
    reader.join().map_err(|_| "the reader panicked")??;
    for line in first.into_iter().chain(lines) {
        let (writer, step) = line.split_once(' ').ok_or("a torn line")?;
        known.insert(writer.parse()?, step.parse()?);
    }
    Ok(())
}

/// The step that `writer`'s pair of objects is at: whole, and the one that was acknowledged or the
/// one after, which was under way.
fn check(snapshot: &Snapshot, writer: u64, acknowledged: u64) -> Result<u64, Failure> {
    let step = step_of(snapshot, writer)?;
    if step != acknowledged && step != acknowledged + 1 {
        return Err(format!("found step {step}, acknowledged was {acknowledged}").into());
    }
    let second = snapshot.get(&key(writer, 'b'));
    let expected = (step > 0 && !deletes(step)).then_some(step);
    let found = second.map(|object| object.value()["data"]["step"].as_u64());
    if found != expected.map(Some) {
        return Err(format!("half a transaction: {found:?} beside step {step}").into());
    }
    Ok(step)
}

/// The step of the first object of the writer's pair, 0 before the first.
fn step_of(snapshot: &Snapshot, writer: u64) -> Result<u64, Failure> {
    match snapshot.get(&key(writer, 'a')) {
        None => Ok(0),
        Some(object) => Ok(object.value()["data"]["step"].as_u64().ok_or("no step")?),
    }
}

fn key(writer: u64, part: char) -> Key {
    Key::new("configmaps", "default", format!("writer-{writer}-{part}"))
}

/// Whether this step deletes the second object of the pair.
fn deletes(step: u64) -> bool {
    step % 5 == 4
}

fn write_for_ever(path: &Path) -> Result<(), Failure> {
    let store = Store::open(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    runtime.block_on(async {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer))).collect();
        for writer in writers {
            writer.await??;
        }
        Ok(())
    })
}

async fn write(store: Store, writer: u64) -> Result<(), Failure> {
    let mut step = step_of(&store.snapshot(), writer)?;
    loop {
        step += 1;
        let put = |part| object(writer, part, step).map(|object| Write::put(object, Expect::Any));
        let second = match deletes(step) {
            true => Write::delete(key(writer, 'b'), Expect::Any),
            false => put('b')?,
        };
        store.commit(Transaction::of([put('a')?, second])).await?;
        // One write of one line: the pipe never holds a part of it.
        println!("{writer} {step}");
    }
}

fn object(writer: u64, part: char, step: u64) -> Result<Object, Failure> {
    let key = key(writer, part);
    let padding = "x".repeat((writer * 531 + step * 97) as usize % 6000);
    let value = json!({
        "metadata": {"name": &*key.name, "namespace": &*key.namespace},
        "data": {"step": step, "padding": padding},
    });
    Ok(Object::with_resource(key.resource, value)?)
}
