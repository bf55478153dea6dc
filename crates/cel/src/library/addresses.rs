//! Addresses and ranges of them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::function::{Outcome, Row, rows};
use crate::meter::Failure;
use crate::value::Value;

pub(super) const ROWS: &[Row] = rows! {
    "ip" "(string) -> IP" Receiver => |_, a| ip(text(a)?).map(Value::Ip).map_err(Failure::new);
    "isIP" "(string) -> bool" Receiver => |_, a| Ok(Value::Bool(ip(text(a)?).is_ok()));
    "ip.isCanonical" "(string) -> bool" ReceiverTwice => |_, a| {
        let text = text(a)?;
        Ok(Value::Bool(ip(text).map_err(Failure::new)?.to_string() == text))
    };
    "family" "IP.() -> int" One => |_, a| Ok(Value::Int(if of(a)?.is_ipv4() { 4 } else { 6 }));
    "isUnspecified" "IP.() -> bool" One => |_, a| Ok(Value::Bool(of(a)?.is_unspecified()));
    "isLoopback" "IP.() -> bool" One => |_, a| Ok(Value::Bool(of(a)?.is_loopback()));
    "isLinkLocalMulticast" "IP.() -> bool" One => |_, a| {
        Ok(Value::Bool(is_link_local_multicast(of(a)?)))
    };
    "isLinkLocalUnicast" "IP.() -> bool" One => |_, a| Ok(Value::Bool(is_link_local(of(a)?)));
    "isGlobalUnicast" "IP.() -> bool" One => |_, a| {
        let ip = of(a)?;
        let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        let is_special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
        Ok(Value::Bool(!is_special && !is_broadcast && !is_link_local(ip)))
    };
    "cidr" "(string) -> CIDR" Receiver => |_, a| {
        cidr(text(a)?).map(Value::Cidr).map_err(Failure::new)
    };
    "isCIDR" "(string) -> bool" Receiver => |_, a| Ok(Value::Bool(cidr(text(a)?).is_ok()));
    "containsIP" "CIDR.(IP) -> bool" RangeIp => |_, a| contains(a);
    "containsIP" "CIDR.(string) -> bool" RangeIpText => |_, a| contains(a);
    "containsCIDR" "CIDR.(CIDR) -> bool" RangeRange => |_, a| covers(a);
    "containsCIDR" "CIDR.(string) -> bool" RangeRangeText => |_, a| covers(a);
    "ip" "CIDR.() -> IP" One => |_, a| Ok(Value::Ip(range(a)?.addr()));
    "masked" "CIDR.() -> CIDR" One => |_, a| Ok(Value::Cidr(range(a)?.trunc()));
    "prefixLength" "CIDR.() -> int" One => |_, a| Ok(Value::Int(range(a)?.prefix_len().into()));
};

fn text<'b>(args: &'b [Value]) -> Result<&'b str, Failure> {
    match args {
        [Value::Text(text)] => Ok(text),
        _ => Err(Failure::no_overload("ip", args)),
    }
}

fn of(args: &[Value]) -> Result<IpAddr, Failure> {
    match args {
        [Value::Ip(ip)] => Ok(*ip),
        _ => Err(Failure::no_overload("ip", args)),
    }
}

fn range(args: &[Value]) -> Result<IpNet, Failure> {
    match args {
        [Value::Cidr(range)] => Ok(*range),
        _ => Err(Failure::no_overload("cidr", args)),
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    let parsed = text.parse::<IpAddr>().map_err(|_| {
        format!("IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP")
    })?;
    match parsed {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn cidr(text: &str) -> Result<IpNet, String> {
    let bad = || {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): no '/'"
        )
    };
    let (address, length) = text.split_once('/').ok_or_else(bad)?;
    if length.len() > 1 && length.starts_with('0') {
        return Err(bad());
    }
    let range: IpNet = text.parse().map_err(|_| bad())?;
    match address.parse() {
        Ok(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        _ => Ok(range),
    }
}

fn contains<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Cidr(range), Value::Ip(it)] => Ok(Value::Bool(range.contains(it))),
        [Value::Cidr(range), Value::Text(it)] => {
            Ok(Value::Bool(range.contains(&ip(it).map_err(Failure::new)?)))
        }
        _ => Err(Failure::no_overload("containsIP", args)),
    }
}

fn covers<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let (range, other) = match args {
        [Value::Cidr(range), Value::Cidr(other)] => (range, *other),
        [Value::Cidr(range), Value::Text(it)] => (range, cidr(it).map_err(Failure::new)?),
        _ => return Err(Failure::no_overload("containsCIDR", args)),
    };
    let is_inside = range.prefix_len() <= other.prefix_len() && range.contains(&other.addr());
    Ok(Value::Bool(is_inside))
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}
