//! Choices from one number: the same number chooses the same.

use serde_json::{Map, Number, Value, json};

/// Where choices come from (SplitMix64).
pub struct Choices(u64);

impl Choices {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    /// Whether something happens that does so in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// Any JSON, at most `depth` deep.
    pub fn json(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => self.chance(50).into(),
            2 => self.integer().into(),
            3 => Number::from_f64(self.one(&[0.5, -1e300, 1e-300, 1e19, 3.0])).unwrap().into(),
            4 | 5 => self.text().into(),
            6 => (0..self.below(4)).map(|_| self.json(depth - 1)).collect(),
            _ => {
                let members = (0..self.below(4)).map(|_| (self.name(), self.json(depth - 1)));
                members.collect::<Map<_, _>>().into()
            }
        }
    }

    pub fn integer(&mut self) -> i64 {
        let near = i64::try_from(self.below(7)).unwrap() - 2;
        let edges = [i64::MAX, i64::MIN, i64::from(i32::MAX) + 1, 1 << 53, 100, -1];
        if self.chance(80) { near } else { self.one(&edges) }
    }

    pub fn text(&mut self) -> String {
        let texts = [
            "",
            "a",
            "b",
            "ab",
            "A b",
            "é",
            "\u{1F600}",
            "\0",
            "1",
            "-1",
            "1.5",
            "1Gi",
            "5%",
            "true",
            "null",
            "2024-02-29T12:30:15.5Z",
            "2024-02-30",
            "1h30m",
            "10.0.0.1",
            "::1",
            "10.0.0.0/8",
            "https://a.b/c?d=e",
            "YWI=",
            "a/b",
            "a.b",
            "~0~1",
            "-",
            "$patch",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "*",
        ];
        match self.below(20) {
            0 => "x".repeat(self.below(5000)),
            1 => texts[self.below(texts.len())].repeat(3),
            _ => self.one(&texts).to_owned(),
        }
    }

    /// Name of a field.
    pub fn name(&mut self) -> String {
        let names = [
            "a",
            "b",
            "c",
            "d",
            "spec",
            "status",
            "metadata",
            "name",
            "kind",
            "apiVersion",
            "replicas",
            "x-y",
            "labels",
            "items",
            "key",
            "value",
            "",
            "$patch",
            "a/b",
            "__type__",
        ];
        let likely = if self.chance(80) { 5 } else { names.len() };
        names[self.below(likely)].to_owned()
    }

    /// `value` with something in it that is another.
    pub fn mutated(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(members) if !members.is_empty() && self.chance(85) => {
                let mut changed = members.clone();
                let name = members.keys().nth(self.below(members.len())).unwrap();
                match self.below(10) {
                    0 => drop(changed.remove(name)),
                    1 => drop(changed.insert(self.name(), self.json(2))),
                    _ => drop(changed.insert(name.clone(), self.mutated(&members[name]))),
                }
                changed.into()
            }
            Value::Array(items) if !items.is_empty() && self.chance(80) => {
                let (mut changed, at) = (items.clone(), self.below(items.len()));
                match self.below(6) {
                    0 => drop(changed.remove(at)),
                    1 => changed.push(items[at].clone()),
                    2 => changed.swap(at, 0),
                    _ => changed[at] = self.mutated(&items[at]),
                }
                changed.into()
            }
            Value::Number(_) if self.chance(70) => self.integer().into(),
            Value::String(_) if self.chance(70) => self.text().into(),
            _ => self.json(2),
        }
    }

    /// A path into `value` as JSON pointers have it, mostly one that is there.
    pub fn pointer(&mut self, value: &Value) -> String {
        let mut path = String::new();
        let mut at = value;
        while self.chance(75) {
            let (part, next) = match at {
                Value::Object(members) if !members.is_empty() => {
                    let (name, next) = members.iter().nth(self.below(members.len())).unwrap();
                    (name.replace('~', "~0").replace('/', "~1"), next)
                }
                Value::Array(items) if !items.is_empty() => {
                    let at = self.below(items.len());
                    (at.to_string(), &items[at])
                }
                _ => break,
            };
            path = format!("{path}/{part}");
            at = next;
        }
        if self.chance(20) {
            let odd = ["a", "-", "99999999999999999999", "01", "-1", "~2", "", "spec"];
            path = format!("{path}/{}", self.one(&odd));
        }
        path
    }
}

/// An object's metadata, mostly right.
pub fn metadata(choices: &mut Choices, name: &str) -> Value {
    let mut metadata = json!({"name": name});
    if choices.chance(30) {
        metadata["labels"] = json!({"a": choices.text()});
    }
    if choices.chance(20) {
        metadata["annotations"] = json!({"b": choices.text()});
    }
    if choices.chance(5) {
        metadata["finalizers"] = json!([choices.text()]);
    }
    if choices.chance(3) {
        metadata = choices.mutated(&metadata);
    }
    metadata
}
