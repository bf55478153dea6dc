//! What an object's serialized JSON is asked without building a tree of it.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::Metadata;

/// The `metadata` of a serialized object.
///
/// # Errors
/// When the bytes are nothing that `serde_json::Value` could hold, or `metadata` is malformed.
pub(crate) fn metadata(bytes: &[u8]) -> serde_json::Result<Metadata> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        metadata: Option<Metadata>,
    }
    serde_json::from_slice::<Sound>(bytes)?;
    Ok(serde_json::from_slice::<Head>(bytes)?.metadata.unwrap_or_default())
}

/// Any JSON that `serde_json::Value` accepts, looked at and not kept. (`serde::de::IgnoredAny`
/// also takes numbers that are too large and strings that are no text.)
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

const FIELD: &[u8] = b"resourceVersion";

/// A copy of a serialized object with `metadata.resourceVersion` set to `revision`: in place, or
/// where it belongs in the order of keys. `None` when the bytes are not as `serde_json` writes
/// them compactly, or have no `metadata`.
pub(crate) fn stamped(bytes: &[u8], revision: u64) -> Option<Vec<u8>> {
    let mut scan = Scan { bytes, at: 0 };
    scan.expect(b'{')?;
    while scan.string()? != b"metadata" {
        scan.expect(b':')?;
        scan.value()?;
        scan.expect(b',')?;
    }
    scan.expect(b':')?;
    scan.expect(b'{')?;
    if scan.next()? == b'}' {
        return Some(splice(
            bytes,
            scan.at,
            scan.at,
            &format!("\"resourceVersion\":\"{revision}\""),
        ));
    }
    loop {
        let start = scan.at;
        let field = scan.string()?;
        if field > FIELD {
            let member = format!("\"resourceVersion\":\"{revision}\",");
            return Some(splice(bytes, start, start, &member));
        }
        scan.expect(b':')?;
        let value = scan.at;
        scan.value()?;
        if field == FIELD {
            return Some(splice(bytes, value, scan.at, &format!("\"{revision}\"")));
        }
        if scan.next()? == b'}' {
            let member = format!(",\"resourceVersion\":\"{revision}\"");
            return Some(splice(bytes, scan.at, scan.at, &member));
        }
        scan.expect(b',')?;
    }
}

/// The pieces of a serialized object around its `apiVersion` and `kind`. `None` when the bytes are
/// not as `serde_json` writes them compactly and in order, or lack one of the two.
pub(crate) fn untyped(bytes: &[u8]) -> Option<[&[u8]; 3]> {
    let mut scan = Scan { bytes, at: 0 };
    scan.expect(b'{')?;
    let mut before = |wanted: &[u8], from: usize| loop {
        let start = scan.at;
        let key = scan.string()?;
        scan.expect(b':')?;
        scan.value()?;
        scan.expect(b',')?;
        if key == wanted {
            return Some((&bytes[from..start], scan.at));
        }
    };
    let (first, at) = before(b"apiVersion", 0)?;
    let (second, at) = before(b"kind", at)?;
    Some([first, second, &bytes[at..]])
}

/// A serialized object without `metadata.managedFields`; whole when the bytes are not as `serde_json`
/// writes them compactly.
pub(crate) fn without_managed_fields(bytes: &[u8]) -> Cow<'_, [u8]> {
    match (Scan { bytes, at: 0 }).managed_fields() {
        Some((start, end)) => splice(bytes, start, end, "").into(),
        None => bytes.into(),
    }
}

fn splice(bytes: &[u8], start: usize, end: usize, middle: &str) -> Vec<u8> {
    [&bytes[..start], middle.as_bytes(), &bytes[end..]].concat()
}

/// What is at a pointer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A string.
    Text(&'a str),
    /// Something else, or nothing.
    Nothing,
    /// Only a tree can tell: there are escapes on the way, or the JSON is not compact.
    Unknown,
}

/// What is at `pointer` (`/spec/nodeName`) of a serialized object.
pub(crate) fn str_at<'a>(bytes: &'a [u8], pointer: &str) -> Found<'a> {
    let mut scan = Scan { bytes, at: 0 };
    scan.find(pointer).unwrap_or(Found::Unknown)
}

/// A place in compact JSON.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn next(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        if self.next()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// A key without escapes, which those of `metadata` never have.
    fn string(&mut self) -> Option<&'a [u8]> {
        let (start, end) = self.quoted()?;
        let string = &self.bytes[start..end];
        (!string.contains(&b'\\')).then_some(string)
    }

    /// A string with whatever is in it: where its content begins and ends.
    fn quoted(&mut self) -> Option<(usize, usize)> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some((start, self.at - 1))
    }

    fn find(&mut self, pointer: &str) -> Option<Found<'a>> {
        for step in pointer.strip_prefix('/')?.split('/') {
            let there = match self.next()? {
                b'{' => self.member(step)?,
                b'[' => self.element(step.parse().ok()?)?,
                _ => false,
            };
            if !there {
                return Some(Found::Nothing);
            }
        }
        if self.next()? != b'"' {
            return Some(Found::Nothing);
        }
        std::str::from_utf8(self.string()?).ok().map(Found::Text)
    }

    /// Goes to the value of the member `name` of this map, if it has one.
    fn member(&mut self, name: &str) -> Option<bool> {
        if name.contains('~') {
            return None;
        }
        self.expect(b'{')?;
        if self.next()? == b'}' {
            return Some(false);
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            if key == name.as_bytes() {
                return Some(true);
            }
            self.value()?;
            if self.next()? == b'}' {
                return Some(false);
            }
            self.expect(b',')?;
        }
    }

    /// From where to where `metadata.managedFields` is, with one of the commas around it.
    fn managed_fields(&mut self) -> Option<(usize, usize)> {
        if !self.member("metadata")? {
            return None;
        }
        self.expect(b'{')?;
        let mut comma = false;
        loop {
            let start = self.at;
            let field = self.string()?;
            self.expect(b':')?;
            self.value()?;
            match (field == b"managedFields", self.next()?) {
                (true, b',') => return Some((start, self.at + 1)),
                (true, _) => return Some((start - usize::from(comma), self.at)),
                (false, _) => self.expect(b',')?,
            }
            comma = true;
        }
    }

    /// Goes to the element `index` of this list, if it has one.
    fn element(&mut self, index: usize) -> Option<bool> {
        self.expect(b'[')?;
        if self.next()? == b']' {
            return Some(false);
        }
        for _ in 0..index {
            self.value()?;
            if self.next()? == b']' {
                return Some(false);
            }
            self.expect(b',')?;
        }
        Some(true)
    }

    /// Skips one value.
    fn value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => {
                    self.quoted()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                // The end of a number or literal that is a member itself.
                b',' | b'}' | b']' if depth == 0 => return Some(()),
                _ => self.at += 1,
            }
            if depth == 0 && matches!(self.next()?, b',' | b'}' | b']') {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_string_is_found_without_a_tree() {
        let value = json!({
            "a": {"b": [{"c": "x"}, {"c": 1}, []], "d": {}, "e": "say \"}\""}, "n": null, "z": "end",
        });
        let bytes = serde_json::to_vec(&value).unwrap();
        for pointer in [
            "/a/b/0/c", "/a/b/1/c", "/a/b/2/0", "/a/b/3", "/a/d/x", "/n", "/n/x", "/z", "/z/y",
            "/q", "/a/b",
        ] {
            let wanted = value.pointer(pointer).and_then(Value::as_str);
            let wanted = wanted.map_or(Found::Nothing, Found::Text);
            assert_eq!(str_at(&bytes, pointer), wanted, "{pointer}");
        }
        assert_eq!(str_at(&bytes, "/a/e"), Found::Unknown);
        assert_eq!(str_at(b"{ \"a\": 1}", "/a"), Found::Unknown);
    }

    #[test]
    fn an_object_is_sent_without_its_type() {
        let check = |value: Value, wanted: Value| {
            let bytes = serde_json::to_vec(&value).unwrap();
            let sent = untyped(&bytes).map(|pieces| String::from_utf8(pieces.concat()).unwrap());
            assert_eq!(sent, (!wanted.is_null()).then(|| wanted.to_string()));
        };
        let metadata = json!({"name": "a"});
        check(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}),
            json!({"metadata": metadata}),
        );
        let inner = json!({"kind": "x", "apiVersion": "\",\"kind\":", "a": [{"kind": 1}]});
        check(
            json!({"aa": inner, "apiVersion": "v1", "data": inner, "kind": "A", "metadata": metadata}),
            json!({"aa": inner, "data": inner, "metadata": metadata}),
        );
        check(json!({"apiVersion": "v1", "metadata": metadata}), Value::Null);
        check(json!({"kind": "x"}), Value::Null);
        assert_eq!(untyped(b"{ \"apiVersion\":1,\"kind\":2,\"x\":3}"), None);
    }

    fn check(value: Value) {
        let bytes = serde_json::to_vec(&value).unwrap();
        let stamped = stamped(&bytes, 4711).unwrap();
        let mut expected = value;
        expected["metadata"]["resourceVersion"] = json!("4711");
        assert_eq!(String::from_utf8(stamped).unwrap(), expected.to_string());
    }

    #[test]
    fn a_stamp_is_the_same_as_setting_the_field() {
        let tricky = json!({"a": "\"}],{\\", "b": [1, {"metadata": {"x": []}}, "]"], "c": -1.5e9});
        check(json!({"metadata": {}}));
        check(json!({"metadata": {"name": "a"}, "spec": {"metadata": {"resourceVersion": "no"}}}));
        check(json!({"metadata": {"resourceVersion": "1"}}));
        check(json!({"metadata": {"resourceVersion": "", "uid": "u"}}));
        check(json!({"apiVersion": "v1", "data": tricky, "metadata": {"annotations": tricky,
            "name": "ä\u{1}", "resourceVersion": null, "uid": "x"}, "z": [[]]}));
        check(json!({"a": true, "b": null, "metadata": {"generation": 3, "zz": false}}));
        check(json!({"metadata": {"uid": "only after"}}));
    }

    #[test]
    fn managed_fields_are_left_out_wherever_they_are() {
        let entries = json!([{"manager": "}],\"", "fieldsV1": {"f:spec": {"k:{\"a\":1}": {}}}}]);
        for others in
            [json!({}), json!({"name": "a"}), json!({"uid": "u"}), json!({"a": [], "z": 1})]
        {
            let value = json!({"a": {"managedFields": 1}, "metadata": others, "spec": {"x": "y"}});
            let mut managed = value.clone();
            managed["metadata"]["managedFields"] = entries.clone();
            let bytes = managed.to_string();
            let rest = without_managed_fields(bytes.as_bytes());
            assert_eq!(String::from_utf8_lossy(&rest), value.to_string());
            assert_eq!(without_managed_fields(&rest), rest);
        }
        for whole in
            ["{}", r#"{"metadata":null}"#, r#"{ "metadata":{"managedFields":[]}}"#, "x", ""]
        {
            assert_eq!(without_managed_fields(whole.as_bytes()), whole.as_bytes());
        }
    }

    #[test]
    fn what_is_not_compact_or_has_no_metadata_is_left_to_the_slow_way() {
        for json in [r#"{ "metadata":{}}"#, r#"{"spec":{}}"#, r#"{"metadata":null}"#, "{}", ""] {
            assert!(stamped(json.as_bytes(), 1).is_none(), "{json}");
        }
        assert!(stamped(br#"{"metadat\u0061":{}}"#, 1).is_none());
    }

    #[test]
    fn whatever_a_tree_cannot_hold_is_refused() {
        let many: [&[u8]; 5] =
            [br#"{"a":1e999}"#, br#"{"a":"\ud800"}"#, b"{\"a\":\"\xff\"}", b"{}x", b"{"];
        for json in many {
            assert!(metadata(json).is_err(), "{}", String::from_utf8_lossy(json));
        }
        assert_eq!(metadata(br#"{"metadata":{"name":"a"},"x":[1,"\n"]}"#).unwrap().name, "a");
        assert_eq!(metadata(br#"{"metadata":null}"#).unwrap(), Metadata::default());
    }
}
