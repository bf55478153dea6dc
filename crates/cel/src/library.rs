//! The functions of CEL and of Kubernetes, a file a subject.

use crate::function::Row;

mod addresses;
mod checks;
mod convert;
mod formats;
mod lists;
mod operators;
mod optionals;
mod patches;
mod printf;
mod quantities;
mod regexes;
mod sets;
mod strings;
mod times;
mod urls;
mod versions;

pub(crate) use patches::ESCAPE_KEY;

/// Every row.
pub(crate) fn all() -> impl Iterator<Item = Row> {
    let tables: [&'static [Row]; 16] = [
        operators::ROWS,
        convert::ROWS,
        strings::ROWS,
        printf::ROWS,
        regexes::ROWS,
        lists::ROWS,
        sets::ROWS,
        optionals::ROWS,
        times::ROWS,
        urls::ROWS,
        addresses::ROWS,
        quantities::ROWS,
        versions::ROWS,
        formats::ROWS,
        checks::ROWS,
        patches::ROWS,
    ];
    let copy =
        |row: &Row| Row { name: row.name, signature: row.signature, cost: row.cost, run: row.run };
    tables.into_iter().flatten().map(copy).chain(operators::comparisons())
}
