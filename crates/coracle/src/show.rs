//! Answers of the engine as text for people.

use serde_json::Value;

/// `coracle status`: one line a fact.
pub fn status(status: &Value) -> String {
    let mut text = String::new();
    for (name, value) in status.as_object().into_iter().flatten() {
        line(&mut text, name, &plain(value));
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
    push(text, format_args!("{:<14}{value}\n", format!("{name}:")));
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

fn table(rows: &[[String; 3]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0) + 3;
    let (first, second) = (width(0), width(1));
    let mut text = String::new();
    for [a, b, c] in rows {
        push(&mut text, format_args!("{a:<first$}{b:<second$}{c}\n"));
    }
    text
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
    fn images_are_a_table_with_short_ids() {
        let answer =
            json!([{"reference": "redis:7", "id": "sha256:0123456789abcdef", "size": 38_400_000}]);
        assert_eq!(
            images(&answer),
            "IMAGE     ID             SIZE\nredis:7   0123456789ab   38.4MB\n"
        );
    }
}
