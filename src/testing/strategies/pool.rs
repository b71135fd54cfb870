//! The small pools of values for generated scenarios, and the ids of generated rows.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::time::Timestamp;

/// Returns a spelling of an address for `from`.
pub(in crate::testing) fn spell(address: &str, spelling: usize) -> String {
    match spelling {
        0 => format!("  {address} "),
        1 => address.to_uppercase(),
        2 if address.starts_with('+') => format!("{} {}-{}", &address[..4], &address[4..7], &address[7..]),
        3 => address.trim_start_matches('+').to_owned(),
        _ => address.to_owned(),
    }
}

pub(in crate::testing) fn uuid(table: u8, n: usize) -> Uuid {
    Uuid::from_u64_pair(u64::from(table) << 16 | 0x4000, 1 << 63 | n as u64)
}

pub(in crate::testing) fn id(table: u8, n: usize) -> Value {
    json!(uuid(table, n))
}

pub(in crate::testing) fn step_id(base: usize, sequence: usize, step: usize) -> Value {
    id(STEP, base + 10 * sequence + step)
}

pub(in crate::testing) fn time(millis: i64) -> Value {
    json!(Timestamp::from_millis(millis).ok())
}

/// Deserializes generated JSON.
#[expect(clippy::expect_used, reason = "a generator that makes something else is a bug of the test")]
pub(in crate::testing) fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("generated JSON is valid")
}

/// Returns an item of a JSON array. An index after the last item starts from the front again.
pub(in crate::testing) fn nth(array: &str, n: usize) -> Value {
    let Ok(Value::Array(mut items)) = serde_json::from_str(array) else { return Value::Null };
    items.swap_remove(n % items.len())
}

pub(in crate::testing) const ORGANIZATION: u8 = 1;
pub(in crate::testing) const CHANNEL: u8 = 2;
pub(in crate::testing) const SEQUENCE: u8 = 3;
pub(in crate::testing) const STEP: u8 = 4;
pub(in crate::testing) const CONTACT: u8 = 5;
pub(in crate::testing) const CONVERSATION: u8 = 6;
pub(in crate::testing) const RUN: u8 = 7;
pub(in crate::testing) const STEP_CONTACT: u8 = 8;
pub(in crate::testing) const TAG: u8 = 9;
pub(in crate::testing) const OBJECT: u8 = 10;
pub(in crate::testing) const RECORD: u8 = 11;
pub(in crate::testing) const CALL_FLOW: u8 = 12;
pub(in crate::testing) const ENROLLMENT: u8 = 13;

/// The first id of the second organization.
pub(in crate::testing) const OTHER_ORGANIZATION: usize = 1000;
/// A channel that does not exist.
pub(in crate::testing) const DELETED_CHANNEL: usize = 88;

/// 2026-02-01T15:00:00Z.
pub(in crate::testing) const NOW: i64 = 1_769_958_000_000;
pub(in crate::testing) const HOUR: i64 = 3_600_000;
pub(in crate::testing) const DAY: i64 = 24 * HOUR;

/// The kind, the address, and whether the channel is always enabled. One channel of each kind is, not the one with the
/// smallest id.
pub(in crate::testing) const CHANNELS: [(&str, &str, bool); 9] = [
    ("whatsapp", "+250788123400", false),
    ("phone", "+12025550100", false),
    ("whatsapp", "+12025550100", false),
    ("phone", "+12025550100", true),
    ("whatsapp", "+12025550100", true),
    ("email", "Hello@EXAMPLE.com", false),
    ("email", "hello@example.com", true),
    ("fax", "+442079460000", false),
    ("fax", "+12025550100", true),
];

pub(in crate::testing) const EXTERNAL_IDS: &[&str] =
    &["ext-1", "EXT-1", "ext-2", "ext-3", "ext-4", "ext-5", "ext-6", "Zoë"];

/// Each stored phone with other spellings.
pub(in crate::testing) const PHONES: [[&str; 5]; 8] = [
    ["+12025550123", "+1 (202) 555-0123", "2025550123", "(202) 555-0123", "+1 202 555 0123 ext. 5"],
    ["+12025550187", "+1 202-555-0187", "202 555 0187", "1-202-555-0187", "tel:+1-202-555-0187"],
    ["+12125550145", "+1.212.555.0145", "2125550145", "(212) 555-0145", "+1 212 555 0145x9"],
    ["+12025550166", "\u{ff0b}1 202 555 0166", " 2025550166 ", "202.555.0166", "+1 (202) 555 0166"],
    ["+250788123457", "+250 788 123 457", "0788123457", "0788 123 457", "+250 0788 123 457"],
    ["+250722000111", "+250 722 000 111", "0722000111", "072 2000 111", "+250-722-000-111"],
    ["+447400123456", "+44 7400 123456", "07400 123456", "07400123456", "+44 (0)7400 123456"],
    ["+33612345678", "+33 6 12 34 56 78", "06 12 34 56 78", "0612345678", "0033612345678"],
];

pub(in crate::testing) const BAD_PHONES: &[&str] =
    &["12", "not a phone", "+1 555", "+999 123 456 789", "2025550123;phone-context=+1"];

/// Three spellings of each email.
pub(in crate::testing) const EMAILS: [[&str; 3]; 7] = [
    ["ann@example.com", "Ann@Example.COM", "  ANN@example.com "],
    ["bob@b\u{fc}cher.example", "BOB@xn--bcher-kva.example", "bob@B\u{dc}CHER.example"],
    ["jos\u{e9}@example.com", "jose\u{301}@example.com", "Jose\u{301}@EXAMPLE.com"],
    ["dee@example.org", "DEE@example.org", "dee@EXAMPLE.ORG"],
    ["dee+x@example.org", "Dee+X@example.org", "dee+x@example.org "],
    ["f.g@example.org", "F.G@example.org", "f.g@Example.Org"],
    ["zo@example.net", "ZO@example.net", " zo@example.net"],
];

pub(in crate::testing) const BAD_EMAILS: &[&str] =
    &["nope", "a@b", "x y@example.com", "\"q\"@example.com", "@example.com"];

/// The key, the type, valid values and invalid values.
pub(in crate::testing) const PROPERTIES: [(&str, &str, &str, &str); 7] = [
    ("title", "text", r#"["blue", " padded ", " "]"#, r#"[5, ["x"]]"#),
    ("size", "number", "[3, -1, 9223372036854775807]", r#"[3.0, "3", 18446744073709551615]"#),
    ("weight", "float", "[1.5, 2, -0.25]", r#"["1.5", true]"#),
    ("vip", "boolean", "[true, false]", r#"["true", 1]"#),
    ("since", "date", r#"["2024-02-29", " 1999-12-31 "]"#, r#"["2023-02-29", "2024-2-9", 20240229]"#),
    ("labels", "list", r#"[[1, " a "], []]"#, r#"[{"0": 1}, "x"]"#),
    ("extra", "map", r#"[{" k ": " v ", "n": null}, {}]"#, r#"[[1], "x"]"#),
];
