//! Moments and spans of time.

use jiff::civil::{DateTime, Weekday};

use crate::function::{Outcome, Row, rows};
use crate::meter::Failure;
use crate::text::time::{HOUR, MILLI, MINUTE, SECOND, local};
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "getFullYear" "timestamp.() -> int" One => |_, a| part(a, |it| it.year().into());
    "getFullYear" "timestamp.(string) -> int" One => |_, a| part(a, |it| it.year().into());
    "getMonth" "timestamp.() -> int" One => |_, a| part(a, |it| i64::from(it.month()) - 1);
    "getMonth" "timestamp.(string) -> int" One => |_, a| part(a, |it| i64::from(it.month()) - 1);
    "getDate" "timestamp.() -> int" One => |_, a| part(a, |it| it.day().into());
    "getDate" "timestamp.(string) -> int" One => |_, a| part(a, |it| it.day().into());
    "getDayOfMonth" "timestamp.() -> int" One => |_, a| part(a, |it| i64::from(it.day()) - 1);
    "getDayOfMonth" "timestamp.(string) -> int" One => |_, a| part(a, |it| i64::from(it.day()) - 1);
    "getDayOfWeek" "timestamp.() -> int" One => |_, a| part(a, |it| weekday(it.weekday()));
    "getDayOfWeek" "timestamp.(string) -> int" One => |_, a| part(a, |it| weekday(it.weekday()));
    "getDayOfYear" "timestamp.() -> int" One => |_, a| part(a, |it| i64::from(it.day_of_year()) - 1);
    "getDayOfYear" "timestamp.(string) -> int" One => |_, a| {
        part(a, |it| i64::from(it.day_of_year()) - 1)
    };
    "getHours" "timestamp.() -> int" One => |_, a| part(a, |it| it.hour().into());
    "getHours" "timestamp.(string) -> int" One => |_, a| part(a, |it| it.hour().into());
    "getMinutes" "timestamp.() -> int" One => |_, a| part(a, |it| it.minute().into());
    "getMinutes" "timestamp.(string) -> int" One => |_, a| part(a, |it| it.minute().into());
    "getSeconds" "timestamp.() -> int" One => |_, a| part(a, |it| it.second().into());
    "getSeconds" "timestamp.(string) -> int" One => |_, a| part(a, |it| it.second().into());
    "getMilliseconds" "timestamp.() -> int" One => |_, a| part(a, |it| it.millisecond().into());
    "getMilliseconds" "timestamp.(string) -> int" One => |_, a| {
        part(a, |it| it.millisecond().into())
    };
    "getHours" "duration.() -> int" One => |_, a| span(a, |it| it / HOUR);
    "getMinutes" "duration.() -> int" One => |_, a| span(a, |it| it / MINUTE);
    "getSeconds" "duration.() -> int" One => |_, a| span(a, |it| it / SECOND);
    "getMilliseconds" "duration.() -> int" One => |_, a| span(a, |it| it / MILLI % 1000);
};

fn weekday(day: Weekday) -> i64 {
    i64::from(day.to_sunday_zero_offset())
}

fn part<'a>(args: &[Value<'a>], of: fn(DateTime) -> i64) -> Outcome<'a> {
    let local = match args {
        [Value::Timestamp(time)] => *time,
        [Value::Timestamp(time), Value::Text(name)] => local(*time, name)
            .ok_or_else(|| Failure::new(format!("unknown time zone {}", &**name)))?,
        _ => return Err(Failure::no_overload("getHours", args)),
    };
    Ok(Value::Int(of(local)))
}

fn span<'a>(args: &[Value<'a>], of: fn(i64) -> i64) -> Outcome<'a> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(of(*nanos))),
        _ => Err(Failure::no_overload("getHours", args)),
    }
}
