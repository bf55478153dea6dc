//! DER, in which certificates are written (ITU-T X.690): as much of it as they need.

/// `SEQUENCE`
pub const SEQUENCE: u8 = 0x30;
/// `SET`
pub const SET: u8 = 0x31;
/// `BOOLEAN`
pub const BOOLEAN: u8 = 0x01;
/// `INTEGER`
pub const INTEGER: u8 = 0x02;
/// `BIT STRING`
pub const BIT_STRING: u8 = 0x03;
/// `OCTET STRING`
pub const OCTET_STRING: u8 = 0x04;
/// `OBJECT IDENTIFIER`
pub const OBJECT_ID: u8 = 0x06;
/// `UTCTime`: a year of two digits.
pub const UTC_TIME: u8 = 0x17;
/// `GeneralizedTime`: a year of four digits.
pub const GENERALIZED_TIME: u8 = 0x18;

/// One element: tag, length, value.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// What it is.
    pub tag: u8,
    /// What is in it.
    pub value: &'a [u8],
    /// All of it, tag and length included.
    pub whole: &'a [u8],
    /// What follows it.
    pub rest: &'a [u8],
}

/// The first element of `der`; `None` when it is cut off.
#[must_use]
pub fn read(der: &[u8]) -> Option<Element<'_>> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len)?;
    let whole = der.get(..der.len().saturating_sub(rest.len()))?;
    Some(Element { tag: *tag, value, whole, rest })
}

/// As [`read`], of an element with this tag.
#[must_use]
pub fn read_as(tag: u8, der: &[u8]) -> Option<Element<'_>> {
    read(der).filter(|element| element.tag == tag)
}

/// The elements of a sequence or set.
#[derive(Clone, Debug)]
pub struct Elements<'a>(
    /// What is in it.
    pub &'a [u8],
);

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let element = read(self.0)?;
        self.0 = element.rest;
        Some(element)
    }
}

/// The octets of a `BIT STRING` of whole octets.
#[must_use]
pub fn octets(bits: &Element<'_>) -> Option<Vec<u8>> {
    match bits.value.split_first() {
        Some((0, octets)) if bits.tag == BIT_STRING => Some(octets.to_vec()),
        _ => None,
    }
}

/// An element that has `parts` in it, one after the other.
#[must_use]
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = value.len().to_be_bytes();
    let significant = length.iter().skip_while(|byte| **byte == 0).copied();
    let mut der = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let long: Vec<u8> = significant.collect();
            // At most the eight bytes of a length in memory.
            der.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            der.extend(long);
        }
    }
    der.extend(value);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 70_000] {
            let value = vec![7; length];
            let der = element(OCTET_STRING, &[&value, &[]]);
            let read = read_as(OCTET_STRING, &der).unwrap();
            assert_eq!((read.value, read.whole, read.rest.len()), (&*value, &*der, 0));
        }
        assert!(read_as(SET, &element(SEQUENCE, &[])).is_none());
    }

    #[test]
    fn what_is_cut_off_is_none() {
        let der = element(SEQUENCE, &[&element(INTEGER, &[&[1]]), &element(BOOLEAN, &[&[0xff]])]);
        (0..der.len()).for_each(|end| assert!(read(&der[..end]).is_none(), "{end}"));
        assert_eq!(Elements(read(&der).unwrap().value).count(), 2);
        assert!(read(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]).is_none());
        assert!(read(&[SEQUENCE, 0x80]).is_none() && read(&[SEQUENCE, 0x89, 0]).is_none());
    }
}
