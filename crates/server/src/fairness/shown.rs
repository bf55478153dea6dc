//! What of the gate is shown: figures for Prometheus, and upstream's tables for whoever looks for
//! the one that is noisy.

use coracle_api::text::prometheus::{head, sample};

use super::gate::{Figures, Gate, Place, Reason, Step};
use super::level::Level;

/// Name, kind, what it is, and what a schema or a level has of it.
type Row<T, V> = (&'static str, &'static str, &'static str, fn(&T) -> V);

/// Where the tables are.
pub(crate) const TABLES: &str = "/debug/api_priority_and_fairness/";

/// The figures under upstream's names.
pub(crate) fn figures(text: &mut String, gate: &Gate) {
    let executing = "Requests that go on; of a watch, until it has begun.";
    let rows: [Row<Figures, u64>; 3] = [
        ("current_executing_requests", "gauge", executing, |it| it.executing),
        ("current_inqueue_requests", "gauge", "Requests that wait.", |it| it.waiting),
        ("dispatched_requests_total", "counter", "Requests that went on.", |it| it.dispatched),
    ];
    for (name, kind, help, value) in rows {
        let name = format!("apiserver_flowcontrol_{name}");
        head(text, &name, kind, help);
        for ((level, schema), figures) in &gate.figures {
            let labels = [("priority_level", &**level), ("flow_schema", &**schema)];
            sample(text, &name, &labels, value(figures), None);
        }
    }
    let name = "apiserver_flowcontrol_rejected_requests_total";
    head(text, name, "counter", "Requests that were refused, and why.");
    for ((level, schema), figures) in &gate.figures {
        for (reason, refused) in &figures.rejected {
            let reason = ("reason", reason.word());
            let labels = [("priority_level", &**level), ("flow_schema", &**schema), reason];
            sample(text, name, &labels, refused, None);
        }
    }
    let upper = "Seats with all that may be borrowed.";
    let limits: [Row<Level, i64>; 4] = [
        ("nominal_limit_seats", "gauge", "Seats by shares.", |it| it.limits.nominal),
        ("lower_limit_seats", "gauge", "Seats that are never lent.", |it| it.limits.lower),
        ("upper_limit_seats", "gauge", upper, |it| it.limits.upper),
        ("current_executing_seats", "gauge", "Seats that are taken.", |it| it.seated),
    ];
    for (name, kind, help, value) in limits {
        let name = format!("apiserver_flowcontrol_{name}");
        head(text, &name, kind, help);
        for (level, it) in gate.levels.iter().filter(|(_, level)| !level.is_gone) {
            sample(text, &name, &[("priority_level", level)], value(it), None);
        }
    }
}

/// The table of this name, if there is one.
pub(crate) fn table(gate: &Gate, name: &str) -> Option<String> {
    let rows = match name {
        "dump_priority_levels" => levels(gate),
        "dump_queues" => queues(gate),
        "dump_requests" => requests(gate),
        _ => return None,
    };
    Some(aligned(&rows))
}

fn levels(gate: &Gate) -> Vec<Vec<String>> {
    let mut rows = vec![words(&[
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ])];
    for (name, level) in &gate.levels {
        let of_level = gate.figures.iter().filter(|((of, _), _)| of == name);
        let sum = of_level.fold(Figures::default(), |mut sum, (_, figures)| {
            sum.executing += figures.executing;
            sum.waiting += figures.waiting;
            sum.dispatched += figures.dispatched;
            figures.rejected.iter().for_each(|(reason, count)| {
                *sum.rejected.entry(*reason).or_default() += count;
            });
            sum
        });
        let late = sum.rejected.get(&Reason::TimeOut).copied().unwrap_or_default();
        let active = level.queues.busy().filter(|(_, waiting, ..)| *waiting > 0).count();
        rows.push(vec![
            name.to_string(),
            active.to_string(),
            level.is_idle().to_string(),
            level.is_gone.to_string(),
            sum.waiting.to_string(),
            sum.executing.to_string(),
            sum.dispatched.to_string(),
            sum.rejected.values().sum::<u64>().to_string(),
            late.to_string(),
            late.to_string(),
        ]);
    }
    rows
}

fn queues(gate: &Gate) -> Vec<Vec<String>> {
    let mut rows = vec![words(&[
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
    ])];
    for (name, level) in &gate.levels {
        rows.extend(level.queues.busy().map(|(index, waiting, running, start)| {
            vec![
                name.to_string(),
                index.to_string(),
                waiting.to_string(),
                running.to_string(),
                running.to_string(),
                format!("{}.{:08}ss", start / 1_000_000_000, start % 1_000_000_000 / 10),
            ]
        }));
    }
    rows
}

fn requests(gate: &Gate) -> Vec<Vec<String>> {
    let header = ["PriorityLevelName", "FlowSchemaName", "QueueIndex", "ArriveSecond", "Step"];
    let mut rows = vec![words(&header)];
    let mut places: Vec<(_, &Place)> = gate.places.iter().collect();
    places.sort_by_key(|(ticket, _)| **ticket);
    rows.extend(places.into_iter().map(|(_, place)| {
        let step = match place.step {
            Step::Waits => "Waiting",
            Step::Seated => "WaitingForTurn",
            Step::Exempt | Step::Computes(_) | Step::Rests | Step::Uncounted => "Executing",
        };
        vec![
            place.level.to_string(),
            place.schema.to_string(),
            place.queue.map_or("-1".into(), |queue| queue.to_string()),
            (place.arrived / 1_000_000_000).to_string(),
            step.to_owned(),
        ]
    }));
    rows
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Rows whose columns end with a comma and begin one below the other, as Go's tabwriter has it.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(String::len).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if at + 1 < row.len() {
                text.push(',');
                let pad = (width + 2).max(8).saturating_sub(cell.len() + 1);
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push('\n');
    }
    text
}
