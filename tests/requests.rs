//! Tests of requests that vectors cannot express: the order of faults, hostile bytes, requests built in code, and the order
//! of the checks.

use enroll::contact::PhoneNumber;
use enroll::fault::FaultCode;
use enroll::model::{Channel, ChannelKind, Sequence, SequenceStatus, Step};
use enroll::request::{CustomData, WireBirthDate};
use enroll::snapshot::{Version, Versioned};
use enroll::value::Value;
use enroll::*;
use std::sync::Arc;
use uuid::Uuid;

const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::from_u128(1));
const SEQUENCE: SequenceId = SequenceId::from_uuid(Uuid::from_u128(2));

fn repository() -> InMemoryRepository {
    let mut reference = ReferenceData::new(ORGANIZATION);
    let channel = Channel::new(ChannelId::from_uuid(Uuid::from_u128(3)), ChannelKind::Phone, "+12025550100");
    let mut step = Step::new(StepId::from_uuid(Uuid::from_u128(4)), 0, ChannelKind::Phone);
    step.channel_id = Some(channel.id);
    let sequence = Sequence::new(SEQUENCE, "Welcome", vec![step]);
    reference.channels.insert(channel.id, Versioned::new(Version::FIRST, channel));
    reference.sequences.insert(SEQUENCE, Versioned::new(Version::FIRST, sequence));
    let repository = InMemoryRepository::new();
    repository.insert(Snapshot::new(reference));
    repository
}

fn enroll(
    repository: &mut InMemoryRepository,
    key: &str,
    request: &EnrollmentRequest<'_>,
) -> Result<EnrollmentReport, EnrollError> {
    let at = Timestamp::from_millis(1_769_958_000_000).unwrap();
    let key = EnrollmentKey::Idempotency(key);
    let enrollment = Enrollment { organization_id: ORGANIZATION, sequence_id: SEQUENCE, key, at, list: None, request };
    enroll_contacts(repository, &Engine::new(&EnrollmentPolicy::default()), &enrollment).map(|enrolled| enrolled.report)
}

/// The faults of a refused body, as `code path`.
fn faults(body: &[u8]) -> Vec<String> {
    refused(&EnrollmentRequest::from_json(body))
}

fn refused(request: &EnrollmentRequest<'_>) -> Vec<String> {
    let mut repository = repository();
    match enroll(&mut repository, "k", request) {
        Err(EnrollError::Rejected(rejection)) => {
            assert!(repository.snapshot(ORGANIZATION).unwrap().contacts.is_empty());
            rejection.errors().iter().map(|fault| format!("{} {}", fault.code, fault.path)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn faults_of_the_body_come_in_its_order_before_faults_of_references() {
    let body = br#"{
        "step_id": "00000000-0000-7000-8000-0000000000ff",
        "schedule_at": "soon",
        "to": [{"name": 7, "phone": 5}, {"email": "a@example.com"}, 3, {"phone": "", "birth_date": {"day": 1.5, "month": 13}}],
        "from": "+12025559999",
        "custom_data": {"resource": "house"}
    }"#;
    let expected = [
        "invalid_date_time /schedule_at",
        "invalid_type /to/0/name",
        "invalid_type /to/0/phone",
        "required /to/1/phone",
        "invalid_type /to/2",
        "invalid_date /to/3/birth_date",
        "invalid_type /to/3/birth_date/day",
        "required /custom_data/custom_object_id",
        "invalid_resource /custom_data/resource",
        "step_not_found /step_id",
        "channel_not_found /from",
    ];
    assert_eq!(faults(body), expected);
}

#[test]
fn an_unknown_from_is_reported_with_the_number_that_was_read() {
    for (from, reported) in [
        ("+1 202 555 9999", "`+1 202 555 9999`, read as `+12025559999`, does not exist"),
        ("+12025559999", "`+12025559999` does not exist"),
        ("202 555 9999", "`202 555 9999`, read as `+12025559999`, does not exist"),
        ("front desk", "`front desk` does not exist"),
    ] {
        let body = format!(r#"{{"from": "{from}", "to": [{{"phone": "+12025550123"}}]}}"#);
        let refused = enroll(&mut repository(), "k", &EnrollmentRequest::from_json(body.as_bytes()));
        let Err(EnrollError::Rejected(rejection)) = refused else { panic!("{refused:?}") };
        let [fault] = rejection.errors() else { panic!("{rejection:?}") };
        assert_eq!((fault.code, &*fault.path), (FaultCode::ChannelNotFound, "/from"));
        assert!(fault.description.contains(reported), "{fault:?}");
    }
}

#[test]
fn hostile_bodies_are_refused_and_never_panic() {
    let deep = "[".repeat(100_000);
    let bodies: [&[u8]; 10] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\"\"",
        b"{}x",
        b"\xff\xfe",
        br#"{"x":1e400,"to":[{"phone":"+12025550123"}]}"#,
        b"{\"to\":[{\"phone\":\"+1202\x00\"}]}",
        deep.as_bytes(),
    ];
    for body in bodies {
        assert_eq!(faults(body), ["invalid_type "], "{}", String::from_utf8_lossy(&body[..body.len().min(60)]));
    }
    assert_eq!(faults(b"{}"), ["required /to"]);
    assert_eq!(faults(br#"{"to":""}"#), ["required /to"]);
    assert_eq!(faults(br#"{"to":[]}"#), ["too_few /to"]);
    // If a key occurs twice, only the last value has faults.
    assert_eq!(faults(br#"{"to":5,"to":[]}"#), ["too_few /to"]);
    assert_eq!(faults(br#"{"to":[{"phone":5}],"to":[]}"#), ["too_few /to"]);
    // U+0000 is reported at every place, with an escaped path.
    let nul = br#"{"to":[{"phone":"+1\u0000","x":{"a/b":["\u0000"]}}],"\u0000":1}"#;
    assert_eq!(
        faults(nul),
        ["invalid_character /to/0/phone", "invalid_character /to/0/x/a~1b/0", "invalid_character /\0"]
    );
    // Half a surrogate pair is too. Other escapes and a literal U+FFFD are not.
    let half =
        br#"{"from":5,"x":"\\\u0041\ufffd\ud83d\ude00 \\ud800","to":[{"phone":"+1\uDC00\ud800"}],"a/\udfff":"\u0000"}"#;
    assert_eq!(
        faults(half),
        [
            "invalid_type /from",
            "invalid_character /to/0/phone",
            "invalid_character /a~1\u{fffd}",
            "invalid_character /a~1\u{fffd}"
        ]
    );
    // Every prefix of it is refused, and none panics.
    for end in 0..half.len() {
        assert_eq!(faults(&half[..end]), ["invalid_type "], "{end}");
    }
    let too_many = format!(r#"{{"x":"\ud800","to":[{}]}}"#, vec![r#"{"phone":"\ud800"}"#; 4001].join(","));
    assert_eq!(faults(too_many.as_bytes()), ["invalid_character /x", "too_many /to"]);
}

#[test]
fn huge_values_ignore_a_recipient_or_are_faults() {
    let digits = "1".repeat(10_000_000);
    let body = format!(r#"{{"to":[{{"phone":"{digits}"}}]}}"#);
    let report = enroll(&mut repository(), "k", &EnrollmentRequest::from_json(body.as_bytes())).unwrap();
    assert_eq!(report.outcomes[0].reasons[0].code(), "invalid_phone");

    let body = format!(r#"{{"to":[{}{{"phone":1}}]}}"#, r#"{"phone":1},"#.repeat(4000));
    assert_eq!(faults(body.as_bytes()), ["too_many /to"]);
    let body = format!(r#"{{"to":[{}{{}}]}}"#, "{},".repeat(3999));
    assert_eq!(faults(body.as_bytes()).len(), 4000);
    let repeated = format!(r#"{{{}"to":[{}{{}}]}}"#, r#""from":1,"#.repeat(200_000), "{},".repeat(3999));
    assert_eq!(faults(repeated.as_bytes()).len(), 4001);
}

#[test]
fn a_request_built_in_code_is_checked_like_a_json_request() {
    let mut entry = Recipient::new("+1202\u{0}5550123");
    entry.name = Some("n".repeat(256).into());
    entry.birth_date = Some(WireBirthDate::new(Some(31), Some(2), None));
    entry.properties.insert("k\0", Value::List(vec![Value::Text("\0".into())]));
    let mut request = EnrollmentRequest::new([entry]);
    request.from = Some("\0".into());
    let object = CustomObjectId::from_uuid(Uuid::from_u128(9));
    request.custom_data = Some(CustomData { custom_object_id: object, resource: model::Resource::Contact });
    let reported = refused(&request);
    for fault in [
        "invalid_character /to/0/phone",
        "invalid_character /to/0/properties/k\0",
        "invalid_character /to/0/properties/k\0/0",
        "invalid_character /from",
        "too_long /to/0/name",
        "invalid_date /to/0/birth_date",
        "custom_object_not_found /custom_data/custom_object_id",
    ] {
        assert!(reported.iter().any(|reported| reported == fault), "{fault} is not in {reported:?}");
    }
    assert_eq!(refused(&EnrollmentRequest::new([])), ["too_few /to"]);
    assert_eq!(refused(&EnrollmentRequest::new(vec![Recipient::new("+12025550123"); 4001])), ["too_many /to"]);
}

/// An accepted request can always be stored and read again, also if it is built in code.
#[test]
fn a_value_is_nested_no_deeper_than_json_allows() {
    let nested = |levels: usize| (0..levels).fold(Value::Null, |value, _| Value::List(vec![value]));
    let request = |levels| {
        let mut entry = Recipient::new("+12025550123");
        entry.properties.insert("k", nested(levels));
        EnrollmentRequest::new([entry])
    };
    assert_eq!(refused(&request(121)), ["invalid_type /to/0/properties/k"]);
    assert!(enroll(&mut repository(), "deep", &request(120)).is_ok());
    // The levels of a stored command above a property: the command, its recipients, one recipient, its properties.
    let stored = serde_json::to_string(&vec![vec![vec![vec![nested(120)]]]]).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&stored).is_ok());
}

#[test]
fn a_json_request_and_a_built_request_have_the_same_fingerprint() {
    let read = EnrollmentRequest::from_json(br#"{"to":[{"phone":" +12025550123 ","name":null,"email":" "}],"x":1}"#);
    let built = EnrollmentRequest::new([Recipient::new("+12025550123")]);
    assert_eq!(read.fingerprint(SEQUENCE), built.fingerprint(SEQUENCE));
    assert_eq!(read.clone().into_owned().fingerprint(SEQUENCE), built.fingerprint(SEQUENCE));
    let mut other = built.clone();
    other.to[0].external_id = Some("1".into());
    assert_ne!(other.fingerprint(SEQUENCE), built.fingerprint(SEQUENCE));
    // A serialized request reads as the same request.
    let written = serde_json::to_vec(&read).unwrap();
    assert_eq!(EnrollmentRequest::from_json(&written).fingerprint(SEQUENCE), built.fingerprint(SEQUENCE));
}

#[test]
fn a_repeated_request_is_answered_before_any_check() {
    let mut repository = repository();
    let request = EnrollmentRequest::from_json(br#"{"to":[{"phone":"+12025550123"}]}"#);
    let first = enroll(&mut repository, "k", &request).unwrap();
    repository
        .edit(ORGANIZATION, |snapshot| {
            let sequence = snapshot.reference.sequences.get_mut(&SEQUENCE).unwrap();
            Arc::make_mut(&mut sequence.value).status = SequenceStatus::Archived;
        })
        .unwrap();
    assert_eq!(enroll(&mut repository, "k", &request).unwrap(), first);
    let Err(EnrollError::Rejected(rejection)) = enroll(&mut repository, "l", &request) else { panic!() };
    assert_eq!(rejection.errors()[0].code, FaultCode::SequenceNotActive);
    let other = EnrollmentRequest::from_json(br#"{"to":[{"phone":"+12025550124"}]}"#);
    let Err(EnrollError::Rejected(rejection)) = enroll(&mut repository, "k", &other) else { panic!() };
    assert_eq!((rejection.status(), rejection.errors()[0].code), (409, FaultCode::IdempotencyConflict));
}

#[test]
fn a_command_is_owned_and_deserializes_unchanged() {
    let mut repository = repository();
    let body =
        br#"{"to":[{"phone":"(202) 555-0123","email":"Ann@Example.com","birth_date":{"day":3}},{"phone":"12"}]}"#;
    let request = EnrollmentRequest::from_json(body);
    let key = EnrollmentKey::Idempotency("k");
    let at = Timestamp::from_millis(0).unwrap();
    let enrollment =
        Enrollment { organization_id: ORGANIZATION, sequence_id: SEQUENCE, key, at, list: None, request: &request };
    let reference = Repository::reference_data(&mut repository, &enrollment.reference_query()).unwrap();
    let policy = EnrollmentPolicy::default();
    let command = EnrollmentCommand::check(&enrollment, &reference, &Engine::new(&policy)).unwrap();
    let stored = serde_json::to_string(&command).unwrap();
    assert!(stored.contains(r#""v":1"#));
    assert_eq!(serde_json::from_str::<EnrollmentCommand>(&stored).unwrap(), command);
    assert_eq!(command.snapshot_query().keys.phones(), [PhoneNumber::parse("+12025550123", None).unwrap().as_str()]);
}
