//! The parts of the file, checked where they stand: so a mistake has its line.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use regex_lite::Regex;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A text that must be of a certain form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Checked<T>(pub T);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);
        impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
            type Value = Checked<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Checked<T>, E> {
                text.parse().map(Checked).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text(PhantomData))
    }
}

#[derive(Clone, Debug)]
struct Pattern(Regex);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = Regex::new(text);
        pattern.map(Self).map_err(|error| format!("{text:?} is no regular expression: {error}"))
    }
}

/// What repositories are called at a mirror: the first pattern of the file that fits counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Rewrites(Vec<(Regex, String)>);

impl Rewrites {
    pub fn apply(&self, repository: &str) -> String {
        let fits = self.0.iter().find(|(pattern, _)| pattern.is_match(repository));
        match fits {
            Some((pattern, into)) => pattern.replace_all(repository, into).into_owned(),
            None => repository.to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Rewrites {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Rewrites;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("patterns with what they become")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rewrites, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Checked(Pattern(pattern)), into)) = map.next_entry()? {
                    pairs.push((pattern, into));
                }
                Ok(Rewrites(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
