//! A corpus of phone numbers with the results of Google's libphonenumber, to detect changes in a release of the phone
//! crate.
#![expect(clippy::disallowed_methods, reason = "a test reads files")]

use enroll::contact::{Libphonenumber, PhoneError, PhoneNormalizer, PhoneNumber, Region};

/// The accepted number of differences, since metadata changes between releases.
const DRIFT: usize = 8;

#[test]
fn phones_are_parsed_like_google_libphonenumber() {
    let corpus = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/phones.tsv")).unwrap();
    let (mut read, mut valid, mut wrong) = (0, 0, Vec::new());
    for line in corpus.lines().filter(|line| !line.starts_with('#')) {
        let [text, region, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let region = (!region.is_empty()).then(|| Region::new(region).unwrap());
        let answer = Libphonenumber.normalize(text, region.as_ref());
        let answer = answer.as_ref().map_or("", PhoneNumber::as_str);
        read += 1;
        valid += usize::from(!expected.is_empty());
        if answer != expected {
            wrong.push(format!("{line}: {answer}"));
        }
        // A result parses to itself in every region.
        if let Some(phone) = PhoneNumber::from_e164(answer) {
            assert_eq!(PhoneNumber::parse(answer, None).as_ref(), Ok(&phone), "{line}");
            assert_eq!(PhoneNumber::parse(answer, Some(&Region::new("GU").unwrap())), Ok(phone), "{line}");
        }
    }
    assert!(read > 4000 && valid > 2000, "{read} read, {valid} valid");
    assert!(wrong.len() <= DRIFT, "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hostile_text_is_refused_and_never_panics() {
    let digits = "1".repeat(10_000_000);
    assert_eq!(PhoneNumber::parse(&digits, None), Err(PhoneError::TooLong));
    assert_eq!(PhoneNumber::parse(&format!("+{digits}"), None), Err(PhoneError::TooLong));
    for text in [
        "x;phone-context=a;tel:1",
        "+12025550123;PHONE-CONTEXT=+44",
        ";phone-context=",
        "tel:2025550123;phone-context=+1",
    ] {
        assert_eq!(PhoneNumber::parse(text, None), Err(PhoneError::NotANumber), "{text}");
    }
    for text in ["\0", "+1202\0", "\u{feff}", "\u{202e}123", "+", "++", ";", "tel:", ";ext=", "isub=", "𝟏𝟐𝟑"] {
        assert!(PhoneNumber::parse(text, Some(&Region::new("US").unwrap())).is_err(), "{text:?}");
    }
    assert!(PhoneNumber::parse("2025550123", Some(&Region::new("ZZ").unwrap())).is_err());
}

#[test]
fn the_region_of_a_number() {
    for (phone, region) in [("+12025550123", Some("US")), ("+250788123456", Some("RW")), ("+80012345678", None)] {
        let region = region.map(|region| Region::new(region).unwrap());
        assert_eq!(Libphonenumber.region(&PhoneNumber::from_e164(phone).unwrap()), region, "{phone}");
    }
}

#[test]
fn phone_text_is_read_as_meant() {
    let cases = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/phone_text.tsv")).unwrap();
    let (mut read, mut wrong) = (0, Vec::new());
    for line in cases.lines().filter(|line| !line.starts_with('#')) {
        let [region, text, expected, _why] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let answer = match PhoneNumber::parse(text, Some(&Region::new(region).unwrap())) {
            Ok(phone) => phone.to_string(),
            Err(fault) => serde_json::to_value(fault).unwrap().as_str().unwrap().to_owned(),
        };
        read += 1;
        if answer != expected {
            wrong.push(format!("{line}: {answer}"));
        }
    }
    assert!(read > 60, "{read}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
