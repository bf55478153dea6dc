//! URLs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::function::{Context, Outcome, Row, rows};
use crate::meter::Failure;
use crate::text::url::Url;
use crate::value::{Key, Text, Value};

pub(super) const ROWS: &[Row] = rows! {
    "url" "(string) -> URL" Receiver => |c, a| {
        let text = text(c, a)?;
        let failed = |why: String| {
            let why = format!("URL parse error during conversion from string: parse {text:?}: {why}");
            Failure::new(why)
        };
        Url::parse(&text).map(|url| Value::Url(Arc::new(url))).map_err(failed)
    };
    "isURL" "(string) -> bool" One => |c, a| Ok(Value::Bool(Url::parse(&text(c, a)?).is_ok()));
    "getScheme" "URL.() -> string" One => |_, a| get(a, |url| url.scheme.clone());
    "getHost" "URL.() -> string" One => |_, a| get(a, |url| url.host.clone());
    "getHostname" "URL.() -> string" One => |_, a| get(a, |url| url.host_and_port().0.to_owned());
    "getPort" "URL.() -> string" One => |_, a| get(a, |url| url.host_and_port().1.to_owned());
    "getEscapedPath" "URL.() -> string" One => |_, a| get(a, |url| url.path.clone());
    "getQuery" "URL.() -> map(string, list(string))" One => query;
};

fn text(context: &mut Context, args: &[Value]) -> Result<String, Failure> {
    match args {
        [Value::Text(text)] => {
            context.meter.bytes(text.len())?;
            Ok(text.to_string())
        }
        _ => Err(Failure::no_overload("url", args)),
    }
}

fn get<'a>(args: &[Value<'a>], of: fn(&Url) -> String) -> Outcome<'a> {
    match args {
        [Value::Url(url)] => Ok(Value::text(of(url))),
        _ => Err(Failure::no_overload("getHost", args)),
    }
}

fn query<'a>(context: &mut Context, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Url(url)] = args else { return Err(Failure::no_overload("getQuery", args)) };
    context.meter.elements(url.query.len())?;
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (key, value) in url.pairs() {
        all.entry(key).or_default().push(Value::text(value));
    }
    let key = |key: String| Key::Text(Text::Made(key.into()));
    Ok(Value::map(all.into_iter().map(|(k, values)| (key(k), Value::list(values))).collect()))
}
