//! In which order upstream tells of what is odd in a body of JSON: as it stands there.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hasher;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Of how many upstream tells.
const ODDITIES_MAX: usize = 100;

/// `duplicate field "spec.a"`s and `unknown field "spec.b"`s of a body that was read into a type, as
/// upstream's reader comes upon them: each once, and nothing of what is in a field that it skips.
pub(super) fn of_typed(text: &[u8], duplicates: &[String], unknown: &[String]) -> Vec<String> {
    let skipped: Vec<&str> = unknown.iter().map(|said| path_of(said)).collect();
    let is_skipped = |path: &str| skipped.iter().any(|skipped| is_in(path, skipped));
    let mut seen = HashSet::new();
    let once = duplicates.iter().filter(|said| seen.insert(*said));
    let read = once.filter(|said| !is_skipped(path_of(said)));
    let mut said: Vec<&String> = read.take(ODDITIES_MAX).collect();
    let duplicates = said.len();
    said.extend(unknown.iter().take(ODDITIES_MAX));
    if said.len() > 1 {
        let places = places(text, said.iter().map(|said| path_of(said)));
        let place = |at: usize| {
            let seen = places.get(&digest(path_of(said[at]))).copied().unwrap_or_default();
            if at < duplicates { seen.second } else { seen.first }
        };
        let mut order: Vec<usize> = (0..said.len()).collect();
        order.sort_by_key(|at| place(*at));
        said = order.into_iter().map(|at| said[at]).collect();
    }
    said.into_iter().take(ODDITIES_MAX).cloned().collect()
}

/// `spec.a` of `unknown field "spec.a"`.
fn path_of(said: &str) -> &str {
    said.split_once('"').map_or("", |(_, path)| path.trim_end_matches('"'))
}

fn is_in(path: &str, outer: &str) -> bool {
    let inner = path.strip_prefix(outer);
    inner.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// At which key of a text, counted from its start, a path stands first, and again.
#[derive(Clone, Copy, Default)]
struct Places {
    first: usize,
    second: usize,
}

fn digest(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(path.as_bytes());
    hasher.finish()
}

/// Where each of `paths` stands. Paths are compared by their hashes, which grow with them: written
/// out they can be longer than the text by far.
fn places<'a>(text: &[u8], paths: impl Iterator<Item = &'a str>) -> HashMap<u64, Places> {
    let places = paths.map(|path| (digest(path), Places::default())).collect();
    let mut walk = Walk { places, keys: 0 };
    let mut reader = serde_json::Deserializer::from_slice(text);
    // It was read before: an error cannot be, and only the order would suffer.
    let _ = Below { walk: &mut walk, path: DefaultHasher::new(), is_root: true }
        .deserialize(&mut reader);
    walk.places
}

struct Walk {
    places: HashMap<u64, Places>,
    keys: usize,
}

struct Below<'a> {
    walk: &'a mut Walk,
    path: DefaultHasher,
    is_root: bool,
}

impl<'de> DeserializeSeed<'de> for Below<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Below<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let mut path = self.path.clone();
            path.write(format!("[{index}]").as_bytes());
            let below = Below { walk: self.walk, path, is_root: false };
            if items.next_element_seed(below)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            let mut path = self.path.clone();
            if !self.is_root {
                path.write(b".");
            }
            path.write(key.as_bytes());
            self.walk.keys += 1;
            let at = self.walk.keys;
            if let Some(places) = self.walk.places.get_mut(&path.finish()) {
                match places {
                    Places { first: 0, .. } => places.first = at,
                    Places { second: 0, .. } => places.second = at,
                    _ => {}
                }
            }
            members.next_value_seed(Below { walk: self.walk, path, is_root: false })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oddities_are_told_as_they_stand_in_the_text() {
        let text = br#"{"spec": {"zone": 1, "u": {"v": 1, "v": 2}, "u": 3, "a": [{"n": 1, "m": 1,
            "m": 2, "m": 3}], "zone": 2, "b": 0}}"#;
        let said = |kind: &str, paths: &[&str]| -> Vec<String> {
            paths.iter().map(|path| format!("{kind} field \"{path}\"")).collect()
        };
        let duplicates = ["spec.u.v", "spec.u", "spec.a[0].m", "spec.a[0].m", "spec.zone"];
        let odd = of_typed(
            text,
            &said("duplicate", &duplicates),
            &said("unknown", &["spec.a[0].n", "spec.b", "spec.u"]),
        );
        let expected = [
            "unknown field \"spec.u\"",
            "unknown field \"spec.a[0].n\"",
            "duplicate field \"spec.a[0].m\"",
            "duplicate field \"spec.zone\"",
            "unknown field \"spec.b\"",
        ];
        assert_eq!(odd, expected);
    }
}
