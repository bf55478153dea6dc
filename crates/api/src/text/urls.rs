//! Text in URLs (RFC 3986).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What means the same anywhere, escaped or not.
const ANYWHERE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What stands in a segment of a path as it is, as Go writes it.
const SEGMENT: &AsciiSet = &ANYWHERE
    .remove(b':')
    .remove(b'@')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b'!')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*');

/// `text` as it may stand anywhere in a URL.
#[must_use]
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ANYWHERE).to_string()
}

/// A segment of a path as it is written in a URL: whatever could mean something else is escaped.
#[must_use]
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// `%2F` → `/`; what is no escape stays, and what is no UTF-8 is shown as such.
#[must_use]
pub fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mean_something_else_is_escaped() {
        assert_eq!(escaped("a=b,c/ü"), "a%3Db%2Cc%2F%C3%BC");
        assert_eq!(segment("system:a/b?c#d%"), "system:a%2Fb%3Fc%23d%25");
        assert_eq!(decoded("a%2fb%C3%BC%zz%"), "a/bü%zz%");
    }
}
