//! The fingerprint, by which the engine recognizes a repeated request (spec 6).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

use super::{EnrollmentRequest, Recipient};
use crate::ids::SequenceId;
use crate::text::{non_blank, trimmed};
use crate::value::Value;

/// SHA-256 over the sequence id and the request as read. It is written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Creates a fingerprint from a stored digest.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err("a fingerprint has 64 hexadecimal digits");
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).map_err(|_| "a fingerprint has 64 hexadecimal digits")?;
        }
        Ok(Self(bytes))
    }
}

/// Computes the fingerprint of a request whose body has no faults.
///
/// The hashed bytes are the 16 bytes of the sequence id, then each present value in the order of the field names. A
/// value is a tag byte, the trimmed text or the eight big-endian bytes of a number, and a zero byte. Texts contain no
/// zero byte, so different requests have different bytes.
pub(super) fn compute(sequence_id: SequenceId, request: &EnrollmentRequest<'_>) -> Fingerprint {
    let mut hash = Hash::new();
    hash.pieces([sequence_id.as_uuid().as_bytes()]);
    if let Some(custom_data) = request.custom_data {
        hash.uuid(b'A', custom_data.custom_object_id.as_uuid());
        hash.text(b'B', Some(custom_data.resource.as_str()));
    }
    hash.text(b'C', non_blank(request.from.as_ref()));
    if let Some(at) = request.schedule_at {
        hash.number(b'D', at.millis());
    }
    if let Some(step_id) = request.step_id {
        hash.uuid(b'E', step_id.as_uuid());
    }
    for recipient in &request.to {
        hash.byte(b'F');
        entry(&mut hash, recipient);
    }
    if let Some(voice_options) = request.voice_options {
        hash.uuid(b'G', voice_options.default_call_flow_id.as_uuid());
    }
    hash.finish()
}

fn entry(hash: &mut Hash, recipient: &Recipient<'_>) {
    if let Some(address) = &recipient.address {
        for (tag, (_, part)) in (b'a'..).zip(address.parts()) {
            hash.text(tag, non_blank(part));
        }
    }
    if let Some(date) = recipient.birth_date {
        for (tag, part) in (b'g'..).zip([date.day, date.month, date.year]) {
            if let Some(part) = part {
                hash.number(tag, part);
            }
        }
    }
    if let Some(channel_id) = recipient.default_channel_id {
        hash.uuid(b'j', channel_id.as_uuid());
    }
    for (tag, text) in recipient.tagged_texts() {
        hash.text(tag, non_blank(text));
    }
    hash.text(b'n', recipient.full_name().as_deref());
    // Without a name, the parts are hashed as the joined name (spec 1).
    if non_blank(recipient.name.as_ref()).is_some() {
        hash.text(b'q', non_blank(recipient.first_name.as_ref()));
        hash.text(b'r', non_blank(recipient.last_name.as_ref()));
    }
    // A blank phone differs from an absent one: if a phone is required, only an absent one is a fault of the request.
    hash.text(b'o', recipient.phone.as_ref().map(|phone| trimmed(phone)));
    for (key, value) in &recipient.properties {
        if !value.is_blank() {
            hash.text(b'p', Some(key));
            property(hash, value);
        }
    }
}

fn property(hash: &mut Hash, value: &Value) {
    match value {
        Value::Null => hash.byte(b'0'),
        Value::Bool(false) => hash.byte(b'1'),
        Value::Bool(true) => hash.byte(b'2'),
        Value::Integer(number) => hash.number(b'3', *number),
        Value::Float(number) => hash.number(b'4', i64::from_be_bytes(number.to_be_bytes())),
        Value::Text(text) => hash.text(b'5', Some(trimmed(text))),
        Value::List(items) => {
            hash.byte(b'6');
            items.iter().for_each(|item| property(hash, item));
            hash.byte(b'7');
        }
        Value::Map(members) => {
            hash.byte(b'8');
            for (key, value) in members {
                hash.text(b'p', Some(key));
                property(hash, value);
            }
            hash.byte(b'9');
        }
    }
}

/// Buffers small pieces: a hash is slow if it gets a few bytes at a time.
struct Hash {
    sha: Sha256,
    buffer: [u8; BUFFER],
    /// The number of bytes in the buffer.
    len: usize,
}

impl Hash {
    fn new() -> Self {
        Self { sha: Sha256::new(), buffer: [0; BUFFER], len: 0 }
    }

    fn byte(&mut self, byte: u8) {
        self.pieces([&[byte]]);
    }

    fn text(&mut self, tag: u8, text: Option<&str>) {
        if let Some(text) = text {
            self.pieces([&[tag], text.as_bytes(), &[0]]);
        }
    }

    fn number(&mut self, tag: u8, number: i64) {
        self.pieces([&[tag], &number.to_be_bytes()]);
    }

    fn uuid(&mut self, tag: u8, uuid: uuid::Uuid) {
        self.pieces([&[tag], uuid.as_bytes()]);
    }

    /// Adds pieces to the buffer, or hashes it first. Longer pieces than the buffer are hashed at once.
    #[inline]
    fn pieces<const N: usize>(&mut self, pieces: [&[u8]; N]) {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if length > BUFFER - self.len {
            self.sha.update(&self.buffer[..self.len]);
            self.len = 0;
        }
        let Some(mut room) = self.buffer.get_mut(self.len..self.len + length) else {
            return pieces.iter().for_each(|piece| self.sha.update(piece));
        };
        for piece in pieces {
            let (front, rest) = room.split_at_mut(piece.len());
            front.copy_from_slice(piece);
            room = rest;
        }
        self.len += length;
    }

    fn finish(mut self) -> Fingerprint {
        self.sha.update(&self.buffer[..self.len]);
        Fingerprint(self.sha.finalize().into())
    }
}

const BUFFER: usize = 4096;
