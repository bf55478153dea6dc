//! Formats of text that have a name.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use coracle_api::names;

use super::{time, url};

/// A format, and what it finds wrong with a text.
#[derive(Debug)]
pub struct Format {
    name: &'static str,
    /// How long the regular expression is that upstream takes, for its cost.
    pub(crate) pattern_size: u64,
    pub(crate) check: fn(&str) -> Vec<String>,
}

static FORMATS: &[Format] = &[
    Format { name: "dns1123Label", pattern_size: 30, check: names::dns1123_label },
    Format { name: "dns1123Subdomain", pattern_size: 60, check: names::dns1123_subdomain },
    Format { name: "dns1035Label", pattern_size: 30, check: names::dns1035_label },
    Format { name: "qualifiedName", pattern_size: 60, check: names::qualified_name },
    Format {
        name: "dns1123LabelPrefix",
        pattern_size: 30,
        check: |text| names::dns1123_label(&unprefixed(text)),
    },
    Format {
        name: "dns1123SubdomainPrefix",
        pattern_size: 60,
        check: |text| names::dns1123_subdomain(&unprefixed(text)),
    },
    Format {
        name: "dns1035LabelPrefix",
        pattern_size: 30,
        check: |text| names::dns1035_label(&unprefixed(text)),
    },
    Format { name: "labelValue", pattern_size: 40, check: names::label_value },
    Format { name: "uri", pattern_size: 1000, check: uri },
    Format { name: "uuid", pattern_size: 40, check: uuid },
    Format { name: "byte", pattern_size: 100, check: byte },
    Format { name: "date", pattern_size: 10, check: date },
    Format { name: "datetime", pattern_size: 100, check: datetime },
];

impl Format {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }
}

/// A prefix may end in a dash, which a name may not.
fn unprefixed(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(head) if !head.is_empty() => format!("{head}a"),
        _ => text.to_owned(),
    }
}

fn told(is_right: bool, why: &str) -> Vec<String> {
    if is_right { Vec::new() } else { vec![why.to_owned()] }
}

fn uri(text: &str) -> Vec<String> {
    told(url::is_url(text), "invalid URI")
}

fn uuid(text: &str) -> Vec<String> {
    let groups: Vec<&str> = text.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let is_uuid =
        groups.iter().all(is_hex) && matches!(lengths.as_slice(), [8, 4, 4, 4, 12] | [32]);
    told(is_uuid, "does not match the UUID format")
}

fn byte(text: &str) -> Vec<String> {
    told(BASE64_STANDARD.decode(text).is_ok(), "invalid base64")
}

fn date(text: &str) -> Vec<String> {
    told(text.len() == 10 && time::parse_moment(text).is_some(), "invalid date")
}

fn datetime(text: &str) -> Vec<String> {
    told(time::parse_instant(text).is_some(), "invalid datetime")
}
