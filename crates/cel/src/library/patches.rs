//! What JSON patches need: how keys are written in their paths.

use crate::function::{Row, rows};
use crate::meter::Failure;
use crate::value::Value;

/// What only expressions that make patches may call.
pub(crate) const ESCAPE_KEY: &str = "jsonpatch.escapeKey";

pub(super) const ROWS: &[Row] = rows! {
    "jsonpatch.escapeKey" "(string) -> string" One => |context, a| match a {
        [Value::Text(text)] => {
            context.meter.bytes(text.len().saturating_mul(2))?;
            Ok(Value::from(text.replace('~', "~0").replace('/', "~1")))
        }
        _ => Err(Failure::no_overload("jsonpatch.escapeKey", a)),
    };
};
