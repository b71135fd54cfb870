//! Generated scenarios for property tests of the engine and of hosts. The pools are small, so that keys often collide.

pub(super) mod parts;
pub(super) mod pool;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

use super::{Request, Scenario};
use crate::command::ListRef;
use crate::contact::Email;
use crate::ids::{EnrollmentId, OrganizationId, SequenceId};
use crate::policy::EnrollmentPolicy;
use crate::policy::{AddressSource, Consent, ExistingContact, IdentityConflict, Reprocess, UnknownKeys};
use pool::{
    BAD_EMAILS, BAD_PHONES, CALL_FLOW, CHANNEL, CHANNELS, CONTACT, CONVERSATION, DAY, DELETED_CHANNEL, EMAILS,
    ENROLLMENT, EXTERNAL_IDS, HOUR, NOW, OBJECT, ORGANIZATION, OTHER_ORGANIZATION, PHONES, PROPERTIES, RECORD, RUN,
    SEQUENCE, STEP_CONTACT, TAG, id, nth, read, spell, step_id, time, uuid,
};

/// Returns a strategy for scenarios: 0 to 12 contacts of every state and history, all policy switches, and two requests of
/// 1 to 12 entries, often of one list. Contacts and entries have keys and addresses from the same small pools.
pub fn scenario() -> impl Strategy<Value = Scenario> {
    scenario_under(policy())
}

/// Returns a strategy for [scenarios](scenario) under one policy.
pub fn world_with(policy: EnrollmentPolicy) -> impl Strategy<Value = Scenario> {
    scenario_under(Just(policy).prop_map(|policy| json!(policy)))
}

fn scenario_under(policy: impl Strategy<Value = Value>) -> impl Strategy<Value = Scenario> {
    let organization = (vec(any::<bool>(), CHANNELS.len()), [sequence(), sequence()], vec(contact(), 0..=12), object());
    let later = select(&[0, 1, HOUR, 2 * DAY][..]);
    // The tag of the list can exist before the first of these requests.
    let list = option::weighted(0.5, any::<bool>());
    (policy, organization, vec(contact(), 0..=3), [request(), request()], (later, list)).prop_map(
        |(policy, organization, other_contacts, requests, (later, list))| {
            let (enabled, sequences, contacts, object) = organization;
            let mut rows = Rows::default();
            rows.organization(0, &enabled, &sequences, &object, &contacts);
            // Without contacts, the other organization would only make the message of a failure longer.
            if !other_contacts.is_empty() {
                rows.organization(OTHER_ORGANIZATION, &enabled, &sequences, &object, &other_contacts);
            }
            let times = [NOW, NOW + later];
            let mut requests: Vec<Request> = (requests.iter().zip(times).enumerate())
                .map(|(n, (request, at))| request.build(n, at, &enabled, &sequences, &policy))
                .collect();
            if let Some(tag_exists) = list {
                let list = ListRef { id: requests[0].enrollment_id, at: requests[0].at };
                requests.iter_mut().for_each(|request| request.list = Some(list));
                if tag_exists {
                    rows.tag_of_list(list, &contacts);
                }
            }
            let mut given = rows.0;
            given.insert("organization_id".to_owned(), id(ORGANIZATION, 0));
            given.insert("now".to_owned(), time(NOW));
            given.insert("policy".to_owned(), policy);
            Scenario { given: read(given.into()), requests }
        },
    )
}

// Generated shapes. They refer to each other by index, and become rows afterwards.

#[derive(Clone, Debug)]
struct Step {
    kind: &'static str,
    position: i64,
    /// The index of a channel of this kind. An index after the last one means a deleted channel.
    channel: Option<usize>,
}

#[derive(Clone, Debug)]
struct Sequence {
    steps: Vec<Step>,
    settings: Value,
}

#[derive(Clone, Debug)]
struct GeneratedContact {
    external_id: Option<&'static str>,
    phone: Option<&'static str>,
    email: Option<&'static str>,
    fields: Value,
    preferences: Vec<(usize, bool)>,
    conversations: Vec<(usize, &'static str, Option<i64>)>,
    runs: Vec<GeneratedRun>,
    record: Option<Value>,
    tagged: bool,
}

/// A run with its step contacts.
#[derive(Clone, Debug)]
struct GeneratedRun {
    sequence: usize,
    started: i64,
    status: &'static str,
    step_contacts: Vec<GeneratedStepContact>,
}

#[derive(Clone, Debug)]
struct GeneratedStepContact {
    step: usize,
    status: &'static str,
    channel: Option<usize>,
    call_flow: Option<usize>,
    record: Option<Value>,
}

#[derive(Clone, Debug)]
struct GeneratedRequest {
    sequence: usize,
    step: Option<usize>,
    from: Option<(usize, usize)>,
    schedule: Option<(i64, bool)>,
    custom_data: Option<&'static str>,
    call_flow: Option<usize>,
    to: Vec<Value>,
}

fn policy() -> impl Strategy<Value = Value> {
    (
        any::<bool>(),
        option::weighted(0.3, select(&["US", "RW"][..])),
        select(&AddressSource::ALL[..]),
        prop_oneof![2 => Just(IdentityConflict::PreferKeyOrder), 1 => Just(IdentityConflict::Refuse)],
        select(&ExistingContact::ALL[..]),
        prop_oneof![3 => Just(Consent::Enforce), 1 => Just(Consent::LeaveToSender)],
        select(&Reprocess::ALL[..]),
        // Bodies have unknown keys, which `reject` would refuse.
        select(&[UnknownKeys::Warn, UnknownKeys::Ignore][..]),
    )
        .prop_map(
            |(phone_required, region, address_source, conflict, existing, consent, reprocess, unknown_keys)| {
                json!({
                    "phone_required": phone_required, "default_region": region, "address_source": address_source,
                    "identity_conflict": conflict, "existing_contact": existing, "consent": consent,
                    "reprocess": reprocess, "unknown_keys": unknown_keys,
                })
            },
        )
}

fn sequence() -> impl Strategy<Value = Sequence> {
    let kind = select(&["phone", "phone", "phone", "email", "email", "whatsapp", "fax"][..]);
    let step = (kind, 1..3_i64, option::weighted(0.7, 0..4_usize));
    let step = step.prop_map(|(kind, position, channel)| Step { kind, position, channel });
    let settings = (
        option::weighted(0.3, Just("exclude")),
        option::weighted(0.3, 0..4_u32),
        option::weighted(0.4, (0..3_u32, select(&[HOUR, DAY, 10 * DAY, 9 * HOUR * DAY][..]))),
        option::weighted(0.3, Just(id(CALL_FLOW, 1))),
    );
    (vec(step, 2..=3), settings).prop_map(|(steps, (on_re_add, max_runs, adds, call_flow))| {
        let adds = adds.map(|(count, period)| json!({ "count": count, "seconds": period / 1000 }));
        let settings = json!({
            "on_re_add": on_re_add.unwrap_or("include"), "max_runs": max_runs, "max_adds_per_period": adds,
            "default_call_flow_id": call_flow,
        });
        Sequence { steps, settings }
    })
}

/// Properties of a custom object, required or not, with a valid or an invalid default.
fn object() -> impl Strategy<Value = Value> {
    let property = (prop::bool::weighted(0.9), prop::bool::weighted(0.25), option::weighted(0.75, 0..8_usize));
    vec(property, PROPERTIES.len()).prop_map(|drawn| {
        let properties = PROPERTIES.iter().zip(drawn).filter(|(_, (exists, ..))| *exists);
        let row =
            |((key, kind, valid, invalid), (_, required, default)): (&(_, _, &str, &str), (_, _, Option<usize>))| {
                let default = default.map(|n| if n < 7 { nth(valid, n) } else { nth(invalid, n) });
                json!({ "key": key, "type": kind, "required": required, "default": default })
            };
        properties.map(row).collect()
    })
}

/// Values of some properties: valid, invalid or `null`, and sometimes an unknown key.
fn values(wrong: usize) -> impl Strategy<Value = Value> {
    let values = vec(option::weighted(0.3, 0..30 + wrong), PROPERTIES.len());
    (values, prop::bool::weighted(0.01)).prop_map(move |(drawn, unknown_key)| {
        let given = PROPERTIES.iter().zip(drawn).filter_map(|((key, _, valid, invalid), n)| {
            let value = match n? {
                n if n < 30 => nth(valid, n),
                30 => Value::Null,
                n => nth(invalid, n),
            };
            Some(((*key).to_owned(), value))
        });
        let mut given: Map<String, Value> = given.collect();
        if unknown_key {
            given.insert("legacy".to_owned(), json!(1));
        }
        given.into()
    })
}

/// The fields of a contact or an entry that are not keys.
fn fields() -> impl Strategy<Value = Map<String, Value>> {
    let json = |texts: &'static [&'static str]| select(texts).prop_map(|text| nth(text, 0));
    let channel = select(&[1, 3, 6, 77, OTHER_ORGANIZATION + 3][..]).prop_map(|n| id(CHANNEL, n));
    let address = [r#"[{"city":"Kigali"}]"#, r#"[{"city":"Paris","post_code":"75001","country":"FR"}]"#, "[{}]"];
    let birth_date = [r#"[{"day":29,"month":2}]"#, r#"[{"year":1980}]"#, r#"[{"day":1,"month":5,"year":1990}]"#];
    (
        option::of(json(&[r#"["Ann"]"#, r#"["Bob Ross"]"#, r#"[" "]"#])),
        option::weighted(0.3, json(&[r#"["Ann"]"#, r#"[" "]"#])),
        option::weighted(0.3, json(&[r#"["Ross"]"#])),
        option::weighted(0.3, json(&[r#"["en"]"#, r#"["rw"]"#])),
        option::weighted(0.3, channel),
        option::weighted(0.3, select(address.to_vec()).prop_map(|text| nth(text, 0))),
        option::weighted(0.3, select(birth_date.to_vec()).prop_map(|text| nth(text, 0))),
    )
        .prop_map(|(name, first_name, last_name, language, channel, address, birth_date)| {
            let fields = json!({
                "name": name, "first_name": first_name, "last_name": last_name, "language": language,
                "default_channel_id": channel, "address": address, "birth_date": birth_date,
            });
            let Value::Object(fields) = fields else { return Map::new() };
            fields
        })
}

fn contact() -> impl Strategy<Value = GeneratedContact> {
    let state = select(&["open", "open", "open", "open", "open", "archived", "blocked", "merged"][..]);
    let phone = prop_oneof![
        9 => (0..PHONES.len()).prop_map(|n| PHONES[n][0]),
        1 => select(&["(202) 555-0123", "2025550187", "call me"][..]),
    ];
    let keys = (
        option::of(select(EXTERNAL_IDS)),
        option::weighted(0.7, phone),
        option::weighted(0.6, (0..EMAILS.len(), 0..3_usize).prop_map(|(n, spelling)| EMAILS[n][spelling])),
    );
    let channel = 0..CHANNELS.len();
    let conversation = (channel.clone(), select(&["automated", "open", "closed", "spam"][..]), option::of(past()));
    (
        keys,
        (fields(), state),
        vec((channel, prop::bool::weighted(0.4)), 0..4),
        vec(conversation, 0..5),
        vec(run(), 0..4),
        option::weighted(0.3, values(0)),
        any::<bool>(),
    )
        .prop_map(
            |((external_id, phone, email), (mut fields, state), preferences, conversations, runs, record, tagged)| {
                fields.insert("state".to_owned(), state.into());
                let fields = fields.into();
                GeneratedContact { external_id, phone, email, fields, preferences, conversations, runs, record, tagged }
            },
        )
}

fn run() -> impl Strategy<Value = GeneratedRun> {
    let status = select(&["pending", "active", "inactive", "moved", "finished", "finished"][..]);
    let step_contact = (
        0..3_usize,
        status,
        option::of(0..CHANNELS.len()),
        option::weighted(0.3, 1..3_usize),
        option::weighted(0.2, values(0)),
    );
    let step_contact = step_contact.prop_map(|(step, status, channel, call_flow, record)| GeneratedStepContact {
        step,
        status,
        channel,
        call_flow,
        record,
    });
    (select(&[0, 0, 0, 1][..]), past(), select(&["active", "finished"][..]), vec(step_contact, 0..3)).prop_map(
        |(sequence, started, status, step_contacts)| GeneratedRun { sequence, started, status, step_contacts },
    )
}

/// Instants near the limits of the periods, and one in the future.
fn past() -> impl Strategy<Value = i64> {
    let ago = [40 * DAY, 10 * DAY, 9 * DAY, DAY, DAY - 1, HOUR, HOUR - 1, 1, 0, -HOUR];
    select(ago.to_vec()).prop_map(|ago| NOW - ago)
}

fn request() -> impl Strategy<Value = GeneratedRequest> {
    let from = option::weighted(0.4, (0..4_usize, 0..5_usize));
    let schedule = option::weighted(0.4, (select(&[-DAY, 0, 1, DAY, 60 * DAY][..]), any::<bool>()));
    let custom_data = option::weighted(0.5, select(&["contact", " step_contact "][..]));
    let call_flow = option::weighted(0.3, 1..3_usize);
    let step = option::weighted(0.7, 0..3_usize);
    (select(&[0, 0, 0, 0, 0, 1][..]), step, from, schedule, custom_data, call_flow, vec(entry(), 1..=12)).prop_map(
        |(sequence, step, from, schedule, custom_data, call_flow, to)| GeneratedRequest {
            sequence,
            step,
            from,
            schedule,
            custom_data,
            call_flow,
            to,
        },
    )
}

fn entry() -> impl Strategy<Value = Value> {
    let external_id = prop_oneof![
        9 => select(EXTERNAL_IDS).prop_map(|text| json!(text)),
        1 => select(&["  ext-1 ", "\u{a0}"][..]).prop_map(|text| json!(text)),
    ];
    let phone = prop_oneof![
        15 => (0..PHONES.len(), 0..5_usize).prop_map(|(n, spelling)| json!(PHONES[n][spelling])),
        2 => select(BAD_PHONES).prop_map(|text| json!(text)),
        1 => select(vec![json!(" "), Value::Null]),
    ];
    let email = prop_oneof![
        15 => (0..EMAILS.len(), 0..3_usize).prop_map(|(n, spelling)| json!(EMAILS[n][spelling])),
        2 => select(BAD_EMAILS).prop_map(|text| json!(text)),
        1 => select(vec![json!("\t"), Value::Null]),
    ];
    let keys = (option::weighted(0.4, external_id), option::weighted(0.9, phone), option::weighted(0.7, email));
    (keys, fields(), option::weighted(0.7, values(3)), any::<bool>()).prop_map(
        |((external_id, phone, email), mut entry, properties, nulls)| {
            let given = [("external_id", external_id), ("phone", phone), ("email", email), ("properties", properties)];
            entry.extend(given.into_iter().map(|(name, value)| (name.to_owned(), value.unwrap_or_default())));
            if !nulls {
                entry.retain(|_, value| !value.is_null());
            }
            if let Some(Value::Object(address)) = entry.get_mut("address").filter(|_| nulls)
                && let Some(code) = address.remove("post_code")
            {
                address.insert("postal_code".to_owned(), code);
            }
            entry.into()
        },
    )
}

// Rows (spec 8) and bodies from the generated shapes.

impl GeneratedRequest {
    fn build(&self, n: usize, at: i64, enabled: &[bool], sequences: &[Sequence; 2], policy: &Value) -> Request {
        let steps = &sequences[self.sequence].steps;
        let first = (0..steps.len()).min_by_key(|&n| (steps[n].position, n)).unwrap_or_default();
        let given_step = self.step.map(|step| step % steps.len());
        let step = &steps[given_step.unwrap_or(first)];
        let usable = |n: usize| CHANNELS[n].0 == step.kind && (enabled[n] || CHANNELS[n].2);
        let channels: Vec<usize> = (0..CHANNELS.len()).filter(|&n| usable(n)).collect();
        // If the step's own channel cannot be used, the request needs `from`.
        let own = step.own_channel();
        let from = self.from.or_else(|| own.filter(|own| !channels.contains(own)).map(|_| (0, 0)));
        let from = from.map(|(n, spelling)| spell(CHANNELS[channels[n % channels.len()]].1, spelling));
        let mut to = self.to.clone();
        for entry in &mut to {
            if policy["phone_required"] == true && entry["phone"].is_null() {
                entry["phone"] = json!("");
            }
        }
        let step_id = given_step.map(|step| step_id(0, self.sequence, step));
        let schedule = self.schedule.map(|(after, with_offset)| {
            let text = time(NOW + after + if with_offset { 2 * HOUR } else { 0 });
            let text = text.as_str().unwrap_or_default();
            if with_offset { text.replace('Z', "+02:00").replace('T', " ") } else { text.to_owned() }
        });
        let custom_data =
            self.custom_data.map(|resource| json!({ "custom_object_id": id(OBJECT, 1), "resource": resource }));
        let voice_options = self.call_flow.map(|n| json!({ "default_call_flow_id": id(CALL_FLOW, n) }));
        let mut body = json!({
            "to": to, "from": from, "step_id": step_id, "schedule_at": schedule, "custom_data": custom_data,
            "voice_options": voice_options,
        });
        if policy["unknown_keys"] != "reject" {
            body["unknown"] = json!([1.5]);
        }
        Request {
            sequence_id: SequenceId::from_uuid(uuid(SEQUENCE, self.sequence)),
            enrollment_id: EnrollmentId::from_uuid(uuid(ENROLLMENT, n)),
            at: read(time(at)),
            list: None,
            body,
        }
    }
}

impl Step {
    fn own_channel(&self) -> Option<usize> {
        let channels: Vec<usize> = (0..CHANNELS.len()).filter(|&n| CHANNELS[n].0 == self.kind).collect();
        self.channel.map(|n| channels.get(n).copied().unwrap_or(DELETED_CHANNEL))
    }
}

/// The rows of all organizations, by table.
#[derive(Default)]
struct Rows(Map<String, Value>);

impl Rows {
    fn push(&mut self, table: &str, base: usize, mut row: Value) -> usize {
        if base != 0 {
            row["organization_id"] = id(ORGANIZATION, base);
        }
        let rows = self.0.entry(table).or_insert_with(|| json!([]));
        let Value::Array(rows) = rows else { return 0 };
        rows.push(row);
        rows.len()
    }

    /// Returns an id for the next row of a table.
    fn next(&self, table: &str, code: u8) -> Value {
        id(code, self.0.get(table).and_then(Value::as_array).map_or(1, |rows| rows.len() + 1))
    }

    fn organization(
        &mut self,
        base: usize,
        enabled: &[bool],
        sequences: &[Sequence; 2],
        object: &Value,
        contacts: &[GeneratedContact],
    ) {
        for (n, (kind, address, always)) in CHANNELS.iter().enumerate() {
            let enabled = *always || enabled[n];
            let row = json!({ "id": id(CHANNEL, base + n), "kind": kind, "address": address, "enabled": enabled });
            self.push("channels", base, row);
        }
        for (n, Sequence { steps, settings }) in sequences.iter().enumerate() {
            let step = |(index, step): (usize, &Step)| {
                json!({
                    "id": step_id(base, n, index), "position": step.position, "channel_kind": step.kind,
                    "channel_id": step.own_channel().map(|channel| id(CHANNEL, base + channel)),
                })
            };
            let steps: Vec<Value> = steps.iter().enumerate().map(step).collect();
            let row = json!({
                "id": id(SEQUENCE, base + n), "title": format!("S{n}"), "status": "active",
                "settings": settings, "steps": steps,
            });
            self.push("sequences", base, row);
        }
        for n in 1..3 {
            let row = json!({ "id": id(OBJECT, base + n), "key": format!("o{n}"), "properties": object });
            self.push("custom_objects", base, row);
            self.push("call_flows", base, json!({ "id": id(CALL_FLOW, base + n), "name": "" }));
            self.push("tags", base, json!({ "id": id(TAG, base + n), "name": "VIP", "system_created": false }));
        }
        let mut used = BTreeSet::new();
        for (n, contact) in contacts.iter().enumerate() {
            self.contact(base, base + n, contact, sequences, &mut used);
        }
    }

    fn contact(
        &mut self,
        base: usize,
        n: usize,
        contact: &GeneratedContact,
        sequences: &[Sequence; 2],
        used: &mut BTreeSet<(u8, String)>,
    ) {
        let contact_id = id(CONTACT, n);
        let mut row = contact.fields.clone();
        row["id"] = contact_id.clone();
        // A merged contact keeps its keys. All other contacts have different ones.
        let merged = row["state"] == "merged";
        let mut free = |kind, key: String| merged || used.insert((kind, key));
        row["external_id"] = json!(contact.external_id.filter(|text| free(0, (*text).to_owned())));
        row["phone"] = json!(contact.phone.filter(|text| free(1, (*text).to_owned())));
        row["email"] = json!(contact.email.filter(|text| free(2, Email::stored(text).key().to_owned())));
        self.push("contacts", base, row);

        let mut once = BTreeSet::new();
        for &(channel, opt_in) in &contact.preferences {
            if once.insert(("preference", channel)) {
                let row =
                    json!({ "contact_id": contact_id, "channel_id": id(CHANNEL, base + channel), "opt_in": opt_in });
                self.push("communication_preferences", base, row);
            }
        }
        for &(channel, status, created_at) in &contact.conversations {
            if once.insert(("conversation", channel)) || CHANNELS[channel].0 == "email" {
                let row = json!({
                    "id": self.next("conversations", CONVERSATION), "contact_id": contact_id, "status": status,
                    "channel_id": id(CHANNEL, base + channel), "created_at": created_at.map(time),
                });
                self.push("conversations", base, row);
            }
        }
        if contact.tagged {
            self.push("contact_tags", base, json!({ "contact_id": contact_id, "tag_id": id(TAG, base + 1) }));
        }
        self.record(base, "contact", &contact_id, contact.record.as_ref());
        for run in &contact.runs {
            let run_id = self.next("runs", RUN);
            let sequence_id = id(SEQUENCE, base + run.sequence);
            let started_at = time(run.started);
            let row = json!({
                "id": run_id, "sequence_id": sequence_id, "contact_id": contact_id, "status": run.status,
                "started_at": started_at,
            });
            self.push("runs", base, row);
            for step_contact in &run.step_contacts {
                // At most one step contact is live in a sequence.
                let live = matches!(step_contact.status, "pending" | "active");
                let allowed = !live || once.insert(("live", run.sequence));
                let step = step_contact.step % sequences[run.sequence].steps.len();
                let channel_id = |n: usize| id(CHANNEL, base + n);
                let step_contact_id = self.next("step_contacts", STEP_CONTACT);
                let row = json!({
                    "id": step_contact_id, "run_id": run_id, "sequence_id": sequence_id,
                    "step_id": step_id(base, run.sequence, step), "contact_id": contact_id,
                    "status": if allowed { step_contact.status } else { "finished" }, "scheduled_at": started_at,
                    "channel_id": step_contact.channel.map(channel_id), "times_processed": 1 + step_contact.step,
                    "default_call_flow_id": step_contact.call_flow.map(|n| id(CALL_FLOW, base + n)),
                });
                self.push("step_contacts", base, row);
                self.record(base, "step_contact", &step_contact_id, step_contact.record.as_ref());
            }
        }
    }

    /// Adds the tag of a list under another name. Some contacts have it.
    fn tag_of_list(&mut self, list: ListRef, contacts: &[GeneratedContact]) {
        let organization_id = OrganizationId::from_uuid(uuid(ORGANIZATION, 0));
        let tag_id = list.upload_tag_id(organization_id);
        self.push("tags", 0, json!({ "id": tag_id, "name": "Renamed", "system_created": true }));
        for n in (0..contacts.len()).filter(|n| contacts[*n].tagged) {
            self.push("contact_tags", 0, json!({ "contact_id": id(CONTACT, n), "tag_id": tag_id }));
        }
    }

    /// Adds the same values for both custom objects. A merge into one record must not change the other one.
    fn record(&mut self, base: usize, resource: &str, resource_id: &Value, properties: Option<&Value>) {
        for (object, properties) in [1, 2].into_iter().zip([properties, properties].into_iter().flatten()) {
            let row = json!({
                "id": self.next("custom_records", RECORD), "custom_object_id": id(OBJECT, base + object),
                "resource": resource, "resource_id": resource_id, "properties": properties,
            });
            self.push("custom_records", base, row);
        }
    }
}
