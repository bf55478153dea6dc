//! Whether a string is a name: DNS labels and subdomains, label keys and values, key names of
//! ConfigMaps. Each check answers with upstream's sentences (`k8s.io/apimachinery`'s
//! `util/validation`), none when the name is fit.

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// Letters and digits that spell no words, of which names that nobody chose are made.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The letter that stands for a byte in a name that nobody chose.
pub fn letter(byte: u8) -> char {
    char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])
}

/// Five letters that follow from `seed` and are others for another: FNV-1a of 64 bits, in base 27.
pub fn suffix(seed: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in seed.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The lowest bits of this hash vary least.
    hash ^= hash >> 32;
    (0..5_u32).map(|place| letter((hash / 27_u64.pow(place) % 27) as u8)).collect()
}

/// `must be no more than N characters`
pub fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// `must be no more than N bytes`
pub fn too_many_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// `must be between LOW and HIGH, inclusive`
pub fn not_between(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// `WHAT (e.g. 'a', or 'b', regex used for validation is 'FORMAT')`
fn unlike(what: &str, format: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    if examples.is_empty() {
        return format!("{what} (regex used for validation is '{format}')");
    }
    format!("{what} (e.g. {}regex used for validation is '{format}')", examples.join(" or "))
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether `value` is `[EDGE]([INNER]*[EDGE])?`.
fn has_edges(value: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            edge(*first) && edge(*last) && bytes.iter().all(|byte| inner(*byte))
        }
        _ => false,
    }
}

fn is_label(value: &str) -> bool {
    has_edges(value, is_lower_alphanumeric, |byte| is_lower_alphanumeric(byte) || byte == b'-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified(value: &str) -> bool {
    has_edges(
        value,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
    )
}

/// Whether `value` is a label as RFC 1123 defines it: at most 63 of `a-z`, `0-9`, `-`.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 63 {
        errors.push(too_long(63));
    }
    if !is_label(value) {
        // Fit for a subdomain but not for a label: it must be the dots.
        errors.push(if is_subdomain(value) {
            "must not contain dots".to_string()
        } else {
            unlike(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FORMAT,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// Whether `value` is a subdomain as RFC 1123 defines it: labels joined by dots, at most 253.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 253 {
        errors.push(too_long(253));
    }
    if !is_subdomain(value) {
        errors.push(unlike(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            &format!("{LABEL_FORMAT}(\\.{LABEL_FORMAT})*"),
            &["example.com"],
        ));
    }
    errors
}

/// Whether `value` is a label as RFC 1035 defines it: as in RFC 1123, but starting with a letter.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 63 {
        errors.push(too_long(63));
    }
    if !is_label(value) || value.starts_with(|first: char| first.is_ascii_digit()) {
        errors.push(unlike(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// Whether `value` is a subdomain whose first label is `*`.
pub fn wildcard_subdomain(value: &str) -> Vec<String> {
    if value.len() <= 253 && value.strip_prefix("*.").is_some_and(is_subdomain) {
        return Vec::new();
    }
    vec![unlike(
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
        &format!("\\*\\.{LABEL_FORMAT}(\\.{LABEL_FORMAT})*"),
        &["*.example.com"],
    )]
}

/// Whether `value` is a domain with a path behind it: `acme.io/foo`.
pub fn domain_prefixed_path(value: &str) -> Vec<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.~!$&'()*+,;=:/@%".contains(c);
    match value.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            let mut errors = dns1123_subdomain(domain);
            if !path.chars().all(fits) {
                errors.push(unlike("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]));
            }
            errors
        }
        _ => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_string()],
    }
}

/// Whether `value` is an identifier of C.
pub fn c_identifier(value: &str) -> Vec<String> {
    let mut bytes = value.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if starts && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Vec::new();
    }
    vec![unlike(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// Whether `value` is a range of addresses.
pub fn cidr(value: &str) -> Vec<String> {
    if value.parse::<ipnet::IpNet>().is_ok() {
        return Vec::new();
    }
    vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_string()]
}

/// Whether `value` can be one segment of a URL's path, as RBAC's names are. `prefix` says that a
/// suffix will be added.
pub fn path_segment(value: &str, prefix: bool) -> Vec<String> {
    match value {
        "." | ".." if !prefix => return vec![format!("may not be '{value}'")],
        _ => {}
    }
    ["/", "%"]
        .into_iter()
        .filter(|bad| value.contains(bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// Whether `value` is a label key: `NAME` or `DNS-SUBDOMAIN/NAME`. Finalizers, condition types
/// and, in lower case, annotation keys have the same form.
pub fn qualified_name(value: &str) -> Vec<String> {
    const WHAT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    const EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];
    let mut errors = Vec::new();
    let name = match value.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        ["", name] => {
            errors.push("prefix part must be non-empty".to_string());
            *name
        }
        [prefix, name] => {
            errors.extend(dns1123_subdomain(prefix).iter().map(|e| format!("prefix part {e}")));
            *name
        }
        _ => {
            let unlike = unlike(WHAT, QUALIFIED_FORMAT, &EXAMPLES);
            return vec![format!(
                "a valid label key {unlike} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_string());
    } else if name.len() > 63 {
        errors.push(format!("name part {}", too_many_bytes(63)));
    }
    if !is_qualified(name) {
        errors.push(format!("name part {}", unlike(WHAT, QUALIFIED_FORMAT, &EXAMPLES)));
    }
    errors
}

/// Whether `value` can be the value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 63 {
        errors.push(too_many_bytes(63));
    }
    if !value.is_empty() && !is_qualified(value) {
        errors.push(unlike(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            &format!("({QUALIFIED_FORMAT})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// Whether `value` can be a key of a ConfigMap's or Secret's data.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 253 {
        errors.push(too_long(253));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if value.is_empty() || !value.bytes().all(fits) {
        errors.push(unlike(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => errors.push("must not be '.'".into()),
        ".." => errors.push("must not be '..'".into()),
        _ if value.starts_with("..") => errors.push("must not start with '..'".into()),
        _ => {}
    }
    errors
}

/// Whether `value` can be the name of an environment variable.
pub fn env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name must be non-empty".to_string());
    }
    if value.chars().any(|c| !(' '..='~').contains(&c) || c == '=') {
        errors.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_string(),
        );
    }
    errors
}

/// Whether `value` can name a port: at most 15 of `a-z`, `0-9` and single inner hyphens, with a
/// letter among them.
pub fn port_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 15 {
        errors.push(too_long(15));
    }
    if value.is_empty() || !value.bytes().all(|b| is_lower_alphanumeric(b) || b == b'-') {
        errors.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_string(),
        );
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_string());
    }
    if value.contains("--") {
        errors.push("must not contain consecutive hyphens".to_string());
    }
    if value.starts_with('-') || value.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_string());
    }
    errors
}

/// Whether `port` is one.
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![not_between(1, 65535)] }
}

/// Whether `value` is a percentage: `25%`.
pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    vec![unlike(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// Whether `value` is the name of an HTTP header.
pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![unlike(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// Whether `value` is an IP address in the one form that Kubernetes names it by.
pub fn canonical_address(value: &str) -> Vec<String> {
    match value.parse::<std::net::IpAddr>() {
        Ok(address) if address.to_string() == value => Vec::new(),
        Ok(address) => vec![format!("must be in canonical form (\"{address}\")")],
        Err(_) => ip_address(value),
    }
}

/// Whether `value` is an IP address.
pub fn ip_address(value: &str) -> Vec<String> {
    if value.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_what_upstream_says() {
        assert!(dns1123_label("web-0").is_empty());
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            dns1123_label("Web"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
    }

    #[test]
    fn a_service_name_starts_with_a_letter() {
        assert!(dns1035_label("a1").is_empty());
        assert_eq!(dns1035_label("1a").len(), 1);
    }

    #[test]
    fn a_label_key_has_a_name_and_perhaps_a_domain() {
        for good in ["app", "app.kubernetes.io/name", "a/B_c.d"] {
            assert!(qualified_name(good).is_empty(), "{good}");
        }
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert!(qualified_name("a/").iter().any(|e| e == "name part must be non-empty"));
        assert!(qualified_name("a/b/c")[0].starts_with("a valid label key must consist of"));
        assert!(qualified_name("A.com/x")[0].starts_with("prefix part a lowercase RFC 1123"));
        assert!(label_value("").is_empty() && !label_value("-a").is_empty());
    }

    #[test]
    fn a_data_key_stays_in_its_folder() {
        assert!(config_map_key("..data").iter().any(|e| e == "must not start with '..'"));
        assert!(config_map_key(".hidden").is_empty());
        assert_eq!(config_map_key("a/b").len(), 1);
    }

    #[test]
    fn a_percentage_ends_in_a_percent_sign() {
        assert!(percent("25%").is_empty());
        assert_eq!(
            percent("25"),
            [
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
            ]
        );
    }
}
