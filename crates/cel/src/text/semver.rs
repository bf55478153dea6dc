//! Versions by semver.org 2.0.0.

use std::cmp::Ordering;

/// A version; what is built from it is no part of its order.
#[derive(Debug, PartialEq, Eq)]
pub struct Semver {
    pub(crate) numbers: [u64; 3],
    before: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        // A version is greater than what comes before it.
        let is_final = |it: &Self| it.before.is_empty();
        self.numbers
            .cmp(&other.numbers)
            .then(is_final(self).cmp(&is_final(other)))
            .then_with(|| self.before.cmp(&other.before))
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Semver {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let (rest, build) = text.split_once('+').map_or((text, None), |(a, b)| (a, Some(b)));
        let (core, before) = rest.split_once('-').map_or((rest, None), |(a, b)| (a, Some(b)));
        let parts: Vec<&str> = core.splitn(3, '.').collect();
        let [major, minor, patch] = parts.as_slice() else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let numbers = [digits(major, "major")?, digits(minor, "minor")?, digits(patch, "patch")?];
        for part in build.into_iter().flat_map(|build| build.split('.')) {
            word(part, "Build meta data")?;
        }
        let before = before.into_iter().flat_map(|it| it.split('.'));
        let before = before.map(|part| match part.bytes().all(|it| it.is_ascii_digit()) {
            true if !part.is_empty() => digits(part, "PreRelease").map(Part::Number),
            _ => word(part, "Prerelease").map(Part::Word),
        });
        Ok(Self { numbers, before: before.collect::<Result<_, _>>()? })
    }

    /// `v1.02` as `1.2.0`.
    pub(crate) fn normalized(text: &str) -> String {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut parts: Vec<&str> = core.splitn(3, '.').collect();
        let is_short = parts.len() < 3;
        for part in &mut parts {
            let bare = part.trim_start_matches('0');
            *part = match bare.bytes().next() {
                Some(first) if first.is_ascii_digit() => bare,
                _ if part.starts_with('0') => &part[part.len() - bare.len() - 1..],
                _ => part,
            };
        }
        // Only a whole version may say what is before it.
        if is_short && !rest.is_empty() {
            return text.to_owned();
        }
        while parts.len() < 3 {
            parts.push("0");
        }
        format!("{}{rest}", parts.join("."))
    }
}

fn digits(text: &str, what: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|it| it.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {what} number {text:?}"));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{what} number must not contain leading zeroes {text:?}"));
    }
    text.parse().map_err(|_| format!("{what} number {text:?} is out of range"))
}

fn word(text: &str, what: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(format!("{what} is empty"));
    }
    match text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') {
        true => Ok(text.to_owned()),
        false => Err(format!("Invalid character(s) found in {what} {text:?}")),
    }
}
