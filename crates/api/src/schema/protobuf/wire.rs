//! Protobuf's wire format: numbered fields of four shapes.

use serde_json::Value;

use super::{ProtobufError, malformed};

/// One field as it stands in the bytes.
pub struct Field<'a> {
    pub number: u32,
    pub payload: Payload<'a>,
}

/// The four shapes.
#[derive(Clone, Copy)]
pub enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Payload<'a> {
    pub fn bytes(self, message: &str) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(malformed(message, "wrong wire type")),
        }
    }

    pub fn text(self, message: &str) -> Result<String, ProtobufError> {
        let bytes = self.bytes(message)?.to_vec();
        String::from_utf8(bytes).map_err(|_| malformed(message, "invalid UTF-8"))
    }

    pub fn integer(self, message: &str) -> Result<i64, ProtobufError> {
        match self {
            // Negative numbers are written as their two's complement in 64 bits.
            Self::Varint(number) | Self::Fixed64(number) => Ok(number.cast_signed()),
            Self::Fixed32(number) => Ok(i64::from(number.cast_signed())),
            Self::Bytes(_) => Err(malformed(message, "wrong wire type")),
        }
    }

    pub fn double(self, message: &str) -> Result<f64, ProtobufError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            Self::Fixed32(bits) => Ok(f64::from(f32::from_bits(bits))),
            _ => Err(malformed(message, "wrong wire type")),
        }
    }
}

/// Iterates over the fields of a message; ends after the first error.
pub struct Reader<'a> {
    message: &'a str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(message: &'a str, bytes: &'a [u8]) -> Self {
        Self { message, rest: bytes }
    }

    fn field(&mut self) -> Result<Field<'a>, &'static str> {
        let tag = varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).map_err(|_| "invalid field number")?;
        let payload = match tag & 7 {
            0 => Payload::Varint(varint(&mut self.rest)?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = varint(&mut self.rest)?;
                let length = usize::try_from(length).map_err(|_| "length out of range")?;
                Payload::Bytes(self.take(length)?)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err("illegal wire type"),
        };
        Ok(Field { number, payload })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("unexpected EOF")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("unexpected EOF")?;
        self.rest = rest;
        Ok(*taken)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Field<'a>, ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field.map_err(|reason| malformed(self.message, reason)))
    }
}

/// A packed list of integers.
pub fn packed(message: &str, mut bytes: &[u8]) -> Result<Vec<Value>, ProtobufError> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        let number = varint(&mut bytes).map_err(|reason| malformed(message, reason))?;
        numbers.push(Value::from(number.cast_signed()));
    }
    Ok(numbers)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or("unexpected EOF")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("integer overflow")
}
