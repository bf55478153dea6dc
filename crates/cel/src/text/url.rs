//! URLs, as Go's `url.ParseRequestURI` takes them: absolute, or a path from the root.

/// Whether `text` is a URL.
pub(crate) fn is_url(text: &str) -> bool {
    Url::parse(text).is_ok()
}

/// A URL in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty url".to_owned());
        }
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let (scheme, rest) = scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            if scheme.is_empty() {
                return Err("invalid URI for request".to_owned());
            }
            // `mailto:a@b`: what is no path is kept aside.
            let (host, path) = (String::new(), String::new());
            return Ok(Self { scheme, host, path, query: query.to_owned() });
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() => {
                let end = rest.find('/').unwrap_or(rest.len());
                (authority(&rest[..end])?, &rest[end..])
            }
            _ => (String::new(), rest),
        };
        let path = escaped(path)?;
        Ok(Self { scheme, host, path, query: query.to_owned() })
    }

    pub(crate) fn host_and_port(&self) -> (&str, &str) {
        if let Some(rest) = self.host.strip_prefix('[')
            && let Some((host, port)) = rest.split_once(']')
        {
            return (host, port.trim_start_matches(':'));
        }
        self.host.split_once(':').unwrap_or((&self.host, ""))
    }

    /// What the query asks for, in order; what cannot be read is left out.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        let pairs = self.query.split('&').filter(|it| !it.is_empty() && !it.contains(';'));
        pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescaped(key)?, unescaped(value)?))
        })
    }
}

/// The scheme of `text` in lower case, and what follows.
fn scheme(text: &str) -> Result<(String, &str), String> {
    let end = text.find(|it: char| !(it.is_ascii_alphanumeric() || "+-.".contains(it)));
    match end {
        Some(0) if text.starts_with(':') => Err("missing protocol scheme".to_owned()),
        Some(end) if text[end..].starts_with(':') && text.as_bytes()[0].is_ascii_alphabetic() => {
            Ok((text[..end].to_ascii_lowercase(), &text[end + 1..]))
        }
        _ => Ok((String::new(), text)),
    }
}

fn authority(text: &str) -> Result<String, String> {
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let port = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return Err("missing ']' in host".to_owned());
            };
            let address = address.split_once("%25").map_or(address, |(it, _)| it);
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("invalid host: {host:?}"));
            }
            port
        }
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_port {
        return Err(format!("invalid port {port:?} after host"));
    }
    if let Some(bad) = host.chars().find(|it| " <>\"{}|\\^`".contains(*it)) {
        return Err(format!("invalid character {:?} in host name", bad.to_string()));
    }
    Ok(host.to_owned())
}

/// `path` with what must be escaped.
fn escaped(path: &str) -> Result<String, String> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'%' => {
                let hex = bytes.get(at + 1..at + 3);
                if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
                    let end = (at + 3).min(bytes.len());
                    let shown = String::from_utf8_lossy(&bytes[at..end]);
                    return Err(format!("invalid URL escape {shown:?}"));
                }
                out.push('%');
            }
            byte if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]".contains(byte) => {
                out.push(char::from(*byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(out)
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            other => out.push(other),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
