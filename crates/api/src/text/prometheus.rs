//! Prometheus' text format.

use std::fmt::Display;

use jiff::Timestamp;

/// Its media type.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Begins a figure: its name, `counter` or `gauge`, and what it is.
pub fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

/// A value of it, and when that was so. Values of labels need no escapes: they are names.
pub fn sample(
    text: &mut String,
    name: &str,
    labels: &[(&str, &str)],
    value: impl Display,
    at: Option<Timestamp>,
) {
    let labels = labels.iter().map(|(name, value)| format!("{name}=\"{value}\""));
    let labels = labels.collect::<Vec<_>>().join(",");
    let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
    let at = at.map(|at| format!(" {}", at.as_millisecond())).unwrap_or_default();
    text.push_str(&format!("{name}{labels} {value}{at}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut text = String::new();
        head(&mut text, "a_total", "counter", "How many.");
        sample(&mut text, "a_total", &[], 1.5, None);
        let at = Some(Timestamp::from_millisecond(1234).unwrap());
        sample(&mut text, "a_total", &[("pod", "p"), ("container", "")], 2, at);
        assert_eq!(
            text,
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 1.5\n\
             a_total{pod=\"p\",container=\"\"} 2 1234\n"
        );
    }
}
