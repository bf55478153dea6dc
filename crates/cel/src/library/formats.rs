//! Named formats of text.

use crate::function::{Context, Outcome, Row, rows};
use crate::meter::Failure;
use crate::text::format::Format;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "format.named" "(string) -> optional(Format)" One => |_, a| {
        let name = a.first().and_then(Value::as_text).unwrap_or_default();
        Ok(Value::option(Format::named(name).map(Value::Format)))
    };
    "format.dns1123Label" "() -> Format" One => |_, _| constant("dns1123Label");
    "format.dns1123Subdomain" "() -> Format" One => |_, _| constant("dns1123Subdomain");
    "format.dns1035Label" "() -> Format" One => |_, _| constant("dns1035Label");
    "format.qualifiedName" "() -> Format" One => |_, _| constant("qualifiedName");
    "format.dns1123LabelPrefix" "() -> Format" One => |_, _| constant("dns1123LabelPrefix");
    "format.dns1123SubdomainPrefix" "() -> Format" One => |_, _| constant("dns1123SubdomainPrefix");
    "format.dns1035LabelPrefix" "() -> Format" One => |_, _| constant("dns1035LabelPrefix");
    "format.labelValue" "() -> Format" One => |_, _| constant("labelValue");
    "format.uri" "() -> Format" One => |_, _| constant("uri");
    "format.uuid" "() -> Format" One => |_, _| constant("uuid");
    "format.byte" "() -> Format" One => |_, _| constant("byte");
    "format.date" "() -> Format" One => |_, _| constant("date");
    "format.datetime" "() -> Format" One => |_, _| constant("datetime");
    "validate" "Format.(string) -> optional(list(string))" Format => validate;
};

fn constant<'a>(name: &str) -> Outcome<'a> {
    let format = Format::named(name).map(Value::Format);
    format.ok_or_else(|| Failure::new("unknown format"))
}

fn validate<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Format(format), Value::Text(text)] = args else {
        return Err(Failure::no_overload("validate", args));
    };
    context.meter.work(text.len())?;
    let wrong = (format.check)(text);
    let list = || Value::list(wrong.iter().map(|why| Value::from(why.as_str())).collect());
    Ok(Value::option((!wrong.is_empty()).then(list)))
}
