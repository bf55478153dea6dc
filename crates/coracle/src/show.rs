//! Answers of the engine as text for people.

use coracle_api::print;
use serde_json::Value;

/// `coracle status`: one line a fact, in the words of a sentence where JSON has numbers.
pub fn status(status: &Value) -> String {
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let pods = format!("{} of {} running", number("/pods/running"), number("/pods/total"));
    let facts = [
        ("state", plain(&status["state"])),
        ("up for", print::human(number("/uptimeSeconds"))),
        ("pid", plain(&status["pid"])),
        ("version", plain(&status["version"])),
        ("pods", pods),
        ("stateful sets", plain(&status["statefulSets"])),
        ("services", plain(&status["services"])),
        ("volumes", plain(&status["persistentVolumes"])),
        ("revision", plain(&status["revision"])),
    ];
    let mut text = String::new();
    for (name, value) in facts {
        line(&mut text, name, &value);
    }
    text
}

/// `coracle why`: the chain of reasons, each indented under the one it explains.
pub fn why(answer: &Value) -> String {
    let mut text = String::new();
    for (depth, reason) in answer.as_array().into_iter().flatten().enumerate() {
        let field = |name: &str| reason.get(name).and_then(Value::as_str).unwrap_or_default();
        let indent = "  ".repeat(depth);
        let since = match field("since") {
            "" => String::new(),
            since => format!(" (for {since})"),
        };
        push(&mut text, format_args!("{indent}{}: {}{since}\n", field("object"), field("because")));
    }
    text
}

/// `coracle why --history`: a line a decision, oldest first.
pub fn history(answer: &Value) -> String {
    let lines: Vec<String> = answer.as_array().into_iter().flatten().map(decision).collect();
    if lines.is_empty() { "nothing was decided on it\n".into() } else { lines.concat() }
}

/// When, who, what was done, and why nothing more.
fn decision(entry: &Value) -> String {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let did = entry.get("did").and_then(Value::as_array).into_iter().flatten();
    let mut said: Vec<&str> = did.filter_map(Value::as_str).collect();
    let because = field("because");
    said.push(if because.is_empty() { "nothing to wait for" } else { because });
    format!("{} {}: {}\n", field("time"), field("controller"), said.join("; "))
}

/// `coracle why` about everything: chain after chain.
pub fn why_all(answer: &Value) -> String {
    let chains: Vec<&Value> = answer.as_array().into_iter().flatten().collect();
    match chains.as_slice() {
        [] => "nothing waits\n".into(),
        chains => chains.iter().map(|chain| why(chain)).collect(),
    }
}

/// `coracle why release`: chain after chain, what several of them begin with told once.
pub fn why_release(answer: &Value) -> String {
    let mut text = String::new();
    let mut head = String::new();
    for chain in answer.as_array().into_iter().flatten() {
        let told = why(chain);
        let (first, rest) = told.split_once('\n').unwrap_or((&told, ""));
        if first != head {
            push(&mut text, format_args!("{first}\n"));
            first.clone_into(&mut head);
        }
        text += rest;
    }
    if text.is_empty() { "no release waits\n".into() } else { text }
}

/// `coracle image ls`.
pub fn images(answer: &Value) -> String {
    let mut rows = vec![["IMAGE".to_string(), "ID".to_string(), "SIZE".to_string()]];
    for image in answer.as_array().into_iter().flatten() {
        let field = |name: &str| image.get(name).and_then(Value::as_str).unwrap_or("-").to_string();
        let size = image.get("size").and_then(Value::as_u64).unwrap_or_default();
        let id: String = field("id").trim_start_matches("sha256:").chars().take(12).collect();
        rows.push([field("reference"), id, human_bytes(size)]);
    }
    table(&rows)
}

/// A list of sentences, or one.
pub fn lines(answer: &Value) -> String {
    match answer {
        Value::Array(all) => all.iter().map(|one| plain(one) + "\n").collect(),
        Value::Null => String::new(),
        one => plain(one) + "\n",
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    push(text, format_args!("{:<15}{value}\n", format!("{name}:")));
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    *text += &arguments.to_string();
}

/// Columns under each other, as kubectl's.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0) + 3;
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at)));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Decimal units with one digit, as docker prints sizes.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.1}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn status_is_numbers_for_programs_and_words_for_people() {
        let answer = json!({
            "state": "up", "pid": 7, "version": "0.1.0", "uptimeSeconds": 200,
            "startTime": "2026-01-01T00:00:00Z", "pods": {"total": 2, "running": 1},
            "statefulSets": 1, "services": 3, "persistentVolumes": 2, "revision": 99,
        });
        let text = status(&answer);
        assert!(text.contains("up for:        3m20s\n"), "{text}");
        assert!(text.contains("pods:          1 of 2 running\n"), "{text}");
    }

    #[test]
    fn reasons_are_indented_under_what_they_explain() {
        let answer = json!([
            {"object": "statefulset web", "because": "web-1 is not ready", "since": "12s"},
            {"object": "pod web-1", "because": "image redis:9 cannot be pulled"},
        ]);
        assert_eq!(
            why(&answer),
            "statefulset web: web-1 is not ready (for 12s)\n  pod web-1: image redis:9 cannot be pulled\n"
        );
    }

    #[test]
    fn a_release_is_told_once_above_what_it_waits_for() {
        let link = |object: &str, because: &str| json!({"object": object, "because": because});
        let head = link("release app", "revision 1 is pending-install");
        let answer = json!([
            [head, link("deployment web", "0 of 1"), link("pod web-1", "no image")],
            [head, link("service web", "no address")],
        ]);
        assert_eq!(
            why_release(&answer),
            "release app: revision 1 is pending-install\n  deployment web: 0 of 1\n    pod web-1: \
             no image\n  service web: no address\n"
        );
        assert_eq!(why_release(&json!([])), "no release waits\n");
    }

    #[test]
    fn images_are_a_table_with_short_ids() {
        let answer =
            json!([{"reference": "redis:7", "id": "sha256:0123456789abcdef", "size": 38_400_000}]);
        assert_eq!(
            images(&answer),
            "IMAGE     ID             SIZE\nredis:7   0123456789ab   38.4MB\n"
        );
    }
}
