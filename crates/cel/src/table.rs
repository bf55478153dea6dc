//! The table of functions, by name.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::function::Overload;
use crate::library;

static TABLE: LazyLock<BTreeMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut table: BTreeMap<&'static str, Vec<Overload>> = BTreeMap::new();
    for row in library::all() {
        table.entry(row.name).or_default().push(Overload::of(&row));
    }
    table
});

/// All functions called `name`.
pub(crate) fn named(name: &str) -> Option<&'static [Overload]> {
    TABLE.get(name).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Type;

    #[test]
    fn signatures_say_who_receives_and_what_is_given_back() {
        let found = named("startsWith").unwrap();
        assert!(found[0].is_member);
        assert_eq!(found[0].parameters, [Type::String, Type::String]);
        assert_eq!(found[0].result, Type::Bool);
    }
}
