//! Links in pages that come through a proxy: an absolute path must lead back through it, as
//! upstream's proxy makes it. Read byte by byte as the page comes; of it no more than one tag is
//! held.

use std::mem;

/// A longer tag goes on as it is.
const TAG_MAX: usize = 64 << 10;

/// Which attributes of which elements are links, as upstream's proxy knows them.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["formaction", "src", "usemap"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements in which nothing is a tag but their end.
const RAW: &[&str] =
    &["iframe", "noembed", "noframes", "noscript", "script", "style", "textarea", "title", "xmp"];

/// Where in a page the reader is.
enum Within {
    Text,
    /// Behind `<`.
    Opened,
    /// Behind `<!`, or `<!-`.
    Declared {
        dashed: bool,
    },
    /// With the dashes that came last.
    Comment {
        dashes: usize,
    },
    /// Something that ends with `>` and has no links.
    Markup,
    /// A tag, all of it held: in which quotes, or whether a value may begin.
    Tag {
        quote: Option<u8>,
        value: bool,
    },
    /// An element whose text is no markup, with how much of its end has been read.
    Raw {
        end: Vec<u8>,
        read: usize,
    },
}

/// Changes the links of one page.
pub(super) struct Links<F> {
    within: Within,
    tag: Vec<u8>,
    moved: F,
}

impl<F: Fn(&str) -> Option<String>> Links<F> {
    /// `moved` says what becomes of a link, if anything.
    pub(super) fn new(moved: F) -> Self {
        Self { within: Within::Text, tag: Vec::new(), moved }
    }

    /// What of the page can go on, now that `bytes` came.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.take(*byte, &mut out);
        }
        out
    }

    /// What is left when the page has ended.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        mem::take(&mut self.tag)
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        if let Within::Tag { .. } = self.within {
            return self.take_in_tag(byte, out);
        }
        self.within = match (mem::replace(&mut self.within, Within::Text), byte) {
            (Within::Opened, b'a'..=b'z' | b'A'..=b'Z') => {
                self.tag = vec![b'<', byte];
                self.within = Within::Tag { quote: None, value: false };
                return;
            }
            (Within::Text, b'<') => {
                self.tag = vec![byte];
                Within::Opened
            }
            (Within::Opened, b'<') => {
                out.push(byte);
                Within::Opened
            }
            (Within::Opened, _) => {
                out.append(&mut self.tag);
                out.push(byte);
                match byte {
                    b'!' => Within::Declared { dashed: false },
                    b'/' | b'?' => Within::Markup,
                    _ => Within::Text,
                }
            }
            (within, _) => {
                out.push(byte);
                after(within, byte)
            }
        };
    }

    fn take_in_tag(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.tag.push(byte);
        let Within::Tag { quote, value } = &mut self.within else { return };
        match (*quote, byte) {
            (Some(open), _) if byte == open => *quote = None,
            (None, b'"' | b'\'') if *value => (*quote, *value) = (Some(byte), false),
            (None, b'>') => {
                let tag = mem::take(&mut self.tag);
                let name = name_of(&tag);
                self.within = match RAW.contains(&name.as_str()) && !tag.ends_with(b"/>") {
                    true => Within::Raw { end: format!("</{name}").into(), read: 0 },
                    false => Within::Text,
                };
                return out.extend(rewritten(&tag, &name, &self.moved));
            }
            (None, b'=') => *value = true,
            (None, byte) if !byte.is_ascii_whitespace() => *value = false,
            _ => {}
        }
        if self.tag.len() > TAG_MAX {
            out.append(&mut self.tag);
            self.within = Within::Markup;
        }
    }
}

/// Where a byte leads that goes on as it is.
fn after(within: Within, byte: u8) -> Within {
    match (within, byte) {
        (Within::Declared { dashed: false }, b'-') => Within::Declared { dashed: true },
        (Within::Declared { dashed: true }, b'-') => Within::Comment { dashes: 0 },
        (Within::Declared { .. } | Within::Markup, b'>') => Within::Text,
        (Within::Declared { .. } | Within::Markup, _) => Within::Markup,
        (Within::Comment { dashes: 2.. }, b'>') => Within::Text,
        (Within::Comment { dashes }, b'-') => Within::Comment { dashes: dashes + 1 },
        (Within::Comment { .. }, _) => Within::Comment { dashes: 0 },
        (Within::Raw { end, read }, _) => match end.get(read) == Some(&byte.to_ascii_lowercase()) {
            true if read + 1 == end.len() => Within::Markup,
            true => Within::Raw { end, read: read + 1 },
            false => Within::Raw { end, read: usize::from(byte == b'<') },
        },
        (within, _) => within,
    }
}

/// `script` of `<SCRIPT src=x>`.
fn name_of(tag: &[u8]) -> String {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
    let name = tag[1..].split(ends).next().unwrap_or_default();
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// A tag with its links changed; all else stays as it was written.
fn rewritten(tag: &[u8], name: &str, moved: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let links = LINKS.iter().find(|(element, _)| *element == name);
    let (Some((_, links)), Ok(text)) = (links, str::from_utf8(tag)) else { return tag.to_vec() };
    let (element, mut rest) = text.split_at(1 + name.len());
    let mut out = String::from(element);
    while let Some(attribute) = next_attribute(rest) {
        out.push_str(attribute.lead);
        let is_link = links.iter().any(|link| attribute.name.eq_ignore_ascii_case(link));
        let changed = is_link.then(|| moved(attribute.value)).flatten();
        out.push_str(changed.as_deref().unwrap_or(attribute.value));
        rest = attribute.rest;
    }
    out.push_str(rest);
    out.into_bytes()
}

struct Attribute<'a> {
    name: &'a str,
    /// All that is before its value, the name too.
    lead: &'a str,
    value: &'a str,
    /// All that is behind its value, from a closing quote on.
    rest: &'a str,
}

/// The first attribute of what is left of a tag.
fn next_attribute(text: &str) -> Option<Attribute<'_>> {
    let between = |it: char| it.is_ascii_whitespace() || matches!(it, '/' | '"' | '\'');
    let from_name = text.trim_start_matches(between);
    let first = from_name.chars().next().filter(|first| *first != '>')?;
    let ends = |it: char| it.is_ascii_whitespace() || matches!(it, '=' | '/' | '>');
    let (_, behind) = cut(&from_name[first.len_utf8()..], ends);
    let name = &from_name[..from_name.len() - behind.len()];
    let blank = |it: char| it.is_ascii_whitespace();
    let (value, rest) = match behind.trim_start_matches(blank).strip_prefix('=') {
        None => ("", behind),
        Some(value) => {
            let value = value.trim_start_matches(blank);
            match value.chars().next().filter(|quote| matches!(quote, '"' | '\'')) {
                Some(quote) => cut(&value[1..], |it| it == quote),
                None => cut(value, |it| it == '>' || blank(it)),
            }
        }
    };
    let lead = &text[..text.len() - value.len() - rest.len()];
    Some(Attribute { name, lead, value, rest })
}

/// What is before the first character that `ends`, and the rest.
fn cut(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(link: &str) -> Option<String> {
        link.starts_with('/').then(|| format!("/here{link}"))
    }

    fn whole(page: &str) -> String {
        let mut links = Links::new(moved);
        let out = [links.push(page.as_bytes()), links.rest()].concat();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn absolute_links_lead_back_and_nothing_else_changes() {
        for (page, expected) in [
            ("<a href=\"/x\">test</a>", "<a href=\"/here/x\">test</a>"),
            ("<A class='>' HREF = '/x?a&amp;b'>", "<A class='>' HREF = '/here/x?a&amp;b'>"),
            ("<img src=/a.png usemap=/m alt=/b/>", "<img src=/here/a.png usemap=/here/m alt=/b/>"),
            ("<link href=\"/a\"/><a href=x>", "<link href=\"/here/a\"/><a href=x>"),
            (
                "<script src=/a>'<a href=/b>'</script><a href=/c>",
                "<script src=/here/a>'<a href=/b>'</script><a href=/here/c>",
            ),
            ("<!-- <a href=/a> --><a href=/b>", "<!-- <a href=/a> --><a href=/here/b>"),
            ("<!doctype html><html manifest=/m>", "<!doctype html><html manifest=/here/m>"),
            ("1 < 2 <<a href=/b>", "1 < 2 <<a href=/here/b>"),
            ("<p href=/a><a data-href=/a = href=/b", "<p href=/a><a data-href=/a = href=/b"),
            ("<a ü='\"' href=/é>", "<a ü='\"' href=/here/é>"),
        ] {
            assert_eq!(whole(page), expected);
        }
    }

    #[test]
    fn a_tag_without_an_end_is_not_held_for_ever() {
        let page = format!("<a href=\"/{}", "x".repeat(2 * TAG_MAX));
        let mut links = Links::new(moved);
        assert!(links.push(page.as_bytes()).len() > TAG_MAX);
        assert_eq!(whole(&page), page);
    }

    #[test]
    fn it_does_not_matter_where_a_page_is_cut() {
        let page =
            "<!doctype x><!-- <a href=/> --><A href='/a' title=\"<>\"><script>'</a'</script><a b";
        for at in 0..page.len() {
            let (first, second) = page.as_bytes().split_at(at);
            let mut links = Links::new(moved);
            let out = [links.push(first), links.push(second), links.rest()].concat();
            assert_eq!(String::from_utf8(out).unwrap(), whole(page), "{at}");
        }
    }
}
