//! Logs: one line of JSON each, on standard output.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// Something that is as it should be.
pub fn info(message: &str, fields: &[(&str, &str)]) {
    line("info", message, fields);
}

/// Something that somebody should look at.
pub fn error(message: &str, fields: &[(&str, &str)]) {
    line("error", message, fields);
}

fn line(level: &str, message: &str, fields: &[(&str, &str)]) {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut map = Map::new();
    map.insert("time".into(), Value::from(since_epoch.as_secs_f64()));
    map.insert("level".into(), level.into());
    map.insert("message".into(), message.into());
    map.extend(fields.iter().map(|(name, value)| ((*name).to_string(), Value::from(*value))));
    // A closed log is no reason to stop serving.
    drop(writeln!(std::io::stdout(), "{}", Value::Object(map)));
}
