//! The reference planner: SPEC sections 4 and 5, and what they need of 1 and 3, a second time, slow and
//! plain.
//!
//! It knows nothing of the engine: JSON in, JSON out, linear scans. Read it beside the SPEC, each rule
//! bears its number. The request is taken as accepted (section 3 found no fault).

mod rows;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use rows::{
    ADDRESS, BIRTH_DATE, KEYS, by_id, has, is_of_type, members, millis, only, outcome, present, rfc3339, text, trimmed,
    trimmed_text, without_empty,
};
pub(crate) use rows::{CONTACT, STEP_CONTACT};

/// What the reference cannot decide for itself: whether an address is valid, and what it is compared by.
pub(crate) struct Addresses<'a> {
    /// Text and region (two letters) in; E.164 or `None` if it is not valid.
    pub(crate) phone: &'a dyn Fn(&str, Option<&str>) -> Option<String>,
    /// E.164 in; its region (two letters) out.
    pub(crate) region: &'a dyn Fn(&str) -> Option<String>,
    /// Text in; the comparison key or `None` if it is not valid.
    pub(crate) email: &'a dyn Fn(&str) -> Option<String>,
    /// A *stored* email in; its comparison key, never judged.
    pub(crate) stored_email: &'a dyn Fn(&str) -> Option<String>,
}

/// Plans one request over one organization; an id that would be minted reads `new:<recipient's index>`.
pub(crate) fn plan(given: &Value, when: &Value, addresses: &Addresses<'_>) -> Value {
    let mut planner = Planner::read(given, when, addresses);
    let to = planner.body["to"].as_array().expect("an accepted request has `to`").clone();
    let outcomes: Vec<Value> = to.iter().enumerate().map(|(index, raw)| planner.take(index, raw)).collect();
    // 4.7: one upload tag, if the raw `to` has more than one entry and some contact bears it.
    let is_tagged = to.len() > 1 && outcomes.iter().any(|outcome| has(outcome, "step_contact"));
    let upload_tag = is_tagged.then(|| format!("Upload {}", rfc3339(planner.at)));
    without_empty(json!({ "upload_tag": upload_tag, "outcomes": outcomes }))
}

struct Planner<'a> {
    addresses: &'a Addresses<'a>,
    /// The organization's rows by table. A contact has three more fields here: `email_key` (what its
    /// email is compared by), `taken_by` (the recipient that took it), `brought` (the keys that this
    /// one brought).
    world: BTreeMap<String, Vec<Value>>,
    // What section 3 settles about the request.
    policy: &'a Value,
    body: &'a Value,
    at: i64,
    sequence: Value,
    step: Value,
    channel_id: Option<Value>,
    region: Option<String>,
}

impl<'a> Planner<'a> {
    fn read(given: &'a Value, when: &'a Value, addresses: &'a Addresses<'a>) -> Self {
        let mut planner = Self {
            addresses,
            world: BTreeMap::new(),
            policy: &given["policy"],
            body: &when["body"],
            at: (millis(&when["at"]).or(millis(&given["now"]))).expect("`at`, or the file's `now`"),
            sequence: Value::Null,
            step: Value::Null,
            channel_id: None,
            region: None,
        };
        // 2: nothing crosses organizations. 8: the file's own is the default of a row.
        let own = &given["organization_id"];
        for (table, rows) in given.as_object().into_iter().flatten() {
            let mut rows = rows.as_array().cloned().unwrap_or_default();
            rows.retain(|row| present(&row["organization_id"]).unwrap_or(own) == own);
            planner.world.insert(table.clone(), rows);
        }
        for contact in planner.rows_mut("contacts") {
            *contact = without_empty(contact.take());
            contact["email_key"] = json!(contact["email"].as_str().and_then(addresses.stored_email));
        }

        let sequence = by_id(planner.rows("sequences"), &when["sequence_id"]);
        planner.sequence = sequence.expect("the sequence exists").clone();
        // D1, 3: the given step, else the one of lowest position, then of smallest id.
        let steps = planner.sequence["steps"].as_array().expect("the sequence has steps");
        let first = steps.iter().min_by_key(|step| (step["position"].as_i64(), text(step, "id")));
        let asked = present(&planner.body["step_id"]);
        let step = asked.map_or(first, |id| by_id(steps, id)).expect("the step exists").clone();
        // 3: the channel used is `from`, else the step's channel, else none.
        let channels = planner.rows("channels");
        let channel = if let Some(from) = trimmed_text(&planner.body["from"]) {
            Some(planner.channel_of(&step, &from).expect("`from` fits a channel"))
        } else {
            let id = present(&step["channel_id"]);
            id.map(|id| by_id(channels, id).expect("the step's channel exists"))
        };
        // 4.1: the policy's region, else of the channel used, else of the first enabled channel of a phone kind.
        let first_phone = (channels.iter())
            .filter(|channel| channel["kind"] != "email" && channel["enabled"] != false)
            .min_by_key(|channel| text(channel, "id"));
        let region_of = |channel: &Value| (addresses.region)(text(channel, "address"));
        let region = trimmed_text(&planner.policy["default_region"])
            .or_else(|| channel.filter(|channel| channel["kind"] != "email").and_then(region_of))
            .or_else(|| first_phone.and_then(region_of));
        let channel_id = channel.map(|channel| channel["id"].clone());
        Self { step, channel_id, region, ..planner }
    }

    /// 3: `from` is a phone or an email; the enabled one of the step's kind, then the smallest id.
    fn channel_of(&self, step: &Value, from: &str) -> Option<&Value> {
        // E.164 is compared as it is, without a judgement.
        let digits = from.strip_prefix('+').unwrap_or("none");
        let is_e164 = digits.bytes().all(|byte| byte.is_ascii_digit());
        let phone = if is_e164 { Some(from.to_owned()) } else { (self.addresses.phone)(from, None) };
        let email_key = |address: &str| (self.addresses.stored_email)(address);
        let is_meant = |channel: &&Value| match text(channel, "kind") {
            "email" => email_key(from).is_some_and(|key| email_key(text(channel, "address")) == Some(key)),
            _ => phone.as_deref() == Some(text(channel, "address")),
        };
        (self.rows("channels").iter().filter(is_meant))
            .filter(|channel| channel["kind"] == step["channel_kind"])
            .filter(|channel| channel["enabled"] != false)
            .min_by_key(|channel| text(channel, "id"))
    }

    fn rows(&self, table: &str) -> &[Value] {
        self.world.get(table).map_or(&[], Vec::as_slice)
    }

    fn rows_mut(&mut self, table: &str) -> &mut Vec<Value> {
        self.world.entry(table.to_owned()).or_default()
    }

    fn policy_is(&self, switch: &str, value: &str) -> bool {
        self.policy[switch] == value
    }

    /// 4.1: an entry of `to` in the shape of a contact, without what is absent or not valid.
    fn normalize(&self, raw: &Value) -> Value {
        let given = |field: &str| trimmed_text(&raw[field]);
        let phone = |text: String| (self.addresses.phone)(&text, self.region.as_deref());
        let email_key = given("email").and_then(|email| (self.addresses.email)(&email));
        // 3: a default channel that is none of the organization is dropped.
        let channel = by_id(self.rows("channels"), &raw["default_channel_id"]);
        without_empty(json!({
            "external_id": given("external_id"), "phone": given("phone").and_then(phone),
            "email": email_key.as_ref().and(given("email")), "email_key": email_key,
            "name": given("name"), "language": given("language"),
            "default_channel_id": channel.map(|channel| &channel["id"]),
            "address": members(&raw["address"], &ADDRESS),
            "birth_date": members(&raw["birth_date"], &BIRTH_DATE),
        }))
    }

    /// Section 4 for one recipient: its outcome, and the world changed if it is enrolled.
    fn take(&mut self, index: usize, raw: &Value) -> Value {
        let entry = self.normalize(raw);
        // 4.3: external id, else phone, else email; the first key that finds a contact wins.
        let holders = KEYS.map(|(_, compared)| self.holder(compared, &entry[compared]));
        let found: Option<usize> = holders.into_iter().flatten().next();
        let stored: Option<Value> = found.map(|position| self.rows("contacts")[position].clone());
        let found_id = stored.as_ref().map(|contact| contact["id"].clone());
        let (mut reasons, mut notes): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let ignored = |reasons: &[String], notes: &[String]| {
            let more = json!({ "reasons": reasons, "notes": notes, "contact": found_id });
            outcome(index, "ignored", &more)
        };

        // 4.2
        let is_email = self.step["channel_kind"] == "email";
        let needed = if is_email { "email" } else { "phone" };
        let contact_will_do = self.policy_is("address_source", "entry_then_contact")
            && stored.as_ref().is_some_and(|contact| has(contact, needed));
        for address in ["phone", "email"] {
            let (is_valid, is_given) = (has(&entry, address), present(&raw[address]).is_some());
            if address == needed && !is_valid && !contact_will_do {
                let fault = if is_given { "invalid" } else { "missing" };
                reasons.push(format!("{fault}_{address}"));
            } else if is_given && !is_valid {
                notes.push(format!("{address}_dropped"));
            }
        }
        let is_eligible = reasons.is_empty();

        // 4.4, 5: who meets a taken contact is asked no further.
        let taken_by = stored.as_ref().map_or(&Value::Null, |contact| &contact["taken_by"]);
        if !taken_by.is_null() && !is_eligible {
            return ignored(&reasons, &notes);
        }
        if !taken_by.is_null() {
            let more = json!({ "duplicate_of": taken_by, "notes": notes, "contact": found_id });
            return outcome(index, "duplicate", &more);
        }
        // 3: this note stands first, and not on duplicates.
        if present(&raw["default_channel_id"]).is_some() && !has(&entry, "default_channel_id") {
            notes.insert(0, "default_channel_unknown".to_owned());
        }
        // 5: the other gates are asked of an existing contact only.
        if stored.is_none() && !is_eligible {
            return ignored(&reasons, &notes);
        }

        // 4.3: keys that name another contact, or differ from the stored one.
        let new = json!({ "id": format!("new:{index}") });
        let before = stored.as_ref().unwrap_or(&new);
        let mut others_keys = Vec::new();
        for ((key, compared), holder) in KEYS.into_iter().zip(holders) {
            if let Some(other) = holder.filter(|_| holder != found) {
                others_keys.push(key);
                if self.rows("contacts")[other]["brought"][key] == true {
                    notes.push(format!("key_taken:{key}"));
                } else if self.policy_is("identity_conflict", "refuse") {
                    reasons.push(format!("identity_conflict:{key}"));
                } else {
                    notes.push(format!("identity_conflict:{key}"));
                }
            } else if has(&entry, key) && has(before, key) && entry[compared] != before[compared] {
                notes.push(format!("key_mismatch:{key}"));
            }
        }
        let contact = self.filled(index, &entry, before, stored.is_none(), &others_keys);
        // 4.3: no way to reach them is no enrollment. Where 4.2 refused, it has told so already.
        if is_eligible && !has(&contact, needed) && others_keys.contains(&needed) {
            reasons.push("address_taken".to_owned());
        } else if is_eligible && !has(&contact, needed) {
            reasons.push(format!("missing_{needed}"));
        }

        // 4.5
        let is_enforced = !self.policy_is("consent", "leave_to_sender");
        if is_enforced && contact["state"] == "blocked" {
            reasons.push("blocked".to_owned());
        }
        if is_enforced && self.is_opted_out(&contact) {
            reasons.push("opted_out".to_owned());
        }

        // 4.6
        let decided = self.decide(&contact["id"]);
        reasons.extend(decided.err().map(str::to_owned));
        let (Ok((disposition, again)), true) = (decided, reasons.is_empty()) else {
            return ignored(&reasons, &notes);
        };

        // 4.7: from here on the recipient is enrolled and leaves its traces.
        match found {
            Some(position) => self.rows_mut("contacts")[position] = contact.clone(),
            None => self.rows_mut("contacts").push(contact.clone()),
        }
        let step_contact = self.write_step_contact(index, &contact, again);
        let (conversation, conversation_created) = self.converse(index, &contact);
        let record = self.write_record(index, raw, &contact, &step_contact);
        notes.extend(record.as_ref().err().map(|note| (*note).to_owned()));
        let record = record.ok().flatten().unwrap_or_default();
        let mut outcome = outcome(
            index,
            disposition,
            &json!({
                "notes": notes,
                "contact": contact["id"], "contact_created": found.is_none(),
                "step_contact": step_contact["id"],
                "conversation": conversation, "conversation_created": conversation_created,
                "record": record["id"],
                "contact_after": only(&contact, &CONTACT),
                "step_contact_after": only(&step_contact, &STEP_CONTACT),
            }),
        );
        if has(&record, "properties") {
            outcome["record_after"] = record["properties"].clone(); // as it is, also `{}`
        }
        outcome
    }

    /// 4.3: the position of the contact that holds a key; no merged one, and of several the smallest id.
    fn holder(&self, compared: &str, value: &Value) -> Option<usize> {
        (self.rows("contacts").iter().enumerate())
            .filter(|(_, contact)| contact["state"] != "merged")
            .filter(|(_, contact)| !value.is_null() && contact[compared] == *value)
            .min_by_key(|(_, contact)| text(contact, "id"))
            .map(|(position, _)| position)
    }

    /// 4.3: the contact as it will stand after this recipient, should it be enrolled.
    fn filled(&self, index: usize, entry: &Value, before: &Value, is_new: bool, others_keys: &[&str]) -> Value {
        let mut after = before.clone();
        for field in CONTACT {
            let may_write = match text(self.policy, "existing_contact") {
                "overwrite" => true,
                "keep" => is_new,
                _ => !has(before, field), // `FillBlank`
            };
            if may_write && has(entry, field) && !others_keys.contains(&field) {
                after[field] = entry[field].clone();
                if field == "email" {
                    after["email_key"] = entry["email_key"].clone();
                }
            }
        }
        // 4.4, should it be enrolled. An email in a new spelling only is no new key.
        after["taken_by"] = json!(index);
        for (key, compared) in KEYS {
            after["brought"][key] = json!(before[compared] != after[compared]);
        }
        after
    }

    /// 4.5: opted out of the channel used.
    fn is_opted_out(&self, contact: &Value) -> bool {
        (self.rows("communication_preferences").iter())
            .filter(|preference| preference["contact_id"] == contact["id"])
            .filter(|preference| Some(&preference["channel_id"]) == self.channel_id.as_ref())
            .any(|preference| preference["opt_in"] == false)
    }

    /// 4.6: what the first row that holds says: the disposition, with the position of the step contact
    /// to reprocess, or the reason to ignore.
    fn decide(&self, contact_id: &Value) -> Result<(&'static str, Option<usize>), &'static str> {
        let settings = &self.sequence["settings"];
        let sequence_id = &self.sequence["id"];
        let is_own = |row: &&Value| row["contact_id"] == *contact_id && row["sequence_id"] == *sequence_id;
        let is_live = |row: &Value| row["status"] == "pending" || row["status"] == "active";
        let in_step = |row: &Value| row["step_id"] == self.step["id"];
        let runs: Vec<&Value> = self.rows("runs").iter().filter(is_own).collect();
        let history: Vec<&Value> = self.rows("step_contacts").iter().filter(is_own).collect();

        // 4.6 a
        let is_elsewhere = |row: &&&Value| is_live(row) && !in_step(row);
        let elsewhere: Vec<&&Value> = history.iter().filter(is_elsewhere).collect();
        if elsewhere.iter().any(|row| row["status"] == "active") {
            return Err("active_in_other_step");
        }
        if !elsewhere.is_empty() {
            return Err("pending_in_other_step");
        }
        // 4.6 b: the live one if there is one, else (`AnyStatus`) the newest.
        if let Some(live) = self.newest(&history, |row| in_step(row) && is_live(row)) {
            return Ok(("reprocessed", Some(live)));
        }
        let in_any_status = self.newest(&history, in_step);
        if in_any_status.is_some() && !self.policy_is("reprocess", "live_only") {
            return Ok(("reprocessed", in_any_status));
        }
        // 4.6 c
        if history.is_empty() {
            return Ok(("added", None));
        }
        // 4.6 d
        if settings["on_re_add"] == "exclude" {
            return Err("re_add_excluded");
        }
        // 4.6 e
        let reaches = |n: usize, cap: &Value| cap.as_u64().is_some_and(|cap| n as u64 >= cap);
        if reaches(runs.len(), &settings["max_runs"]) {
            return Err("max_runs_reached");
        }
        // 4.6 f: request instant - period < `started_at` <= request instant.
        let adds = &settings["max_adds_per_period"];
        let period = adds["seconds"].as_i64().unwrap_or(0).saturating_mul(1000);
        let starts = runs.iter().filter_map(|run| millis(&run["started_at"]));
        let recent = starts.filter(|at| self.at.saturating_sub(period) < *at && *at <= self.at);
        if reaches(recent.count(), &adds["count"]) {
            return Err("max_adds_reached");
        }
        // 4.6 g
        Ok(("re_added", None))
    }

    /// 4.6: of those meant the one of the latest run start, then of the greatest id; its position.
    fn newest(&self, history: &[&Value], is_meant: impl Fn(&Value) -> bool) -> Option<usize> {
        let started = |row: &Value| millis(&by_id(self.rows("runs"), &row["run_id"])?["started_at"]);
        let newest = (history.iter().filter(|row| is_meant(row))).max_by_key(|row| (started(row), text(row, "id")))?;
        self.rows("step_contacts").iter().position(|row| row["id"] == newest["id"])
    }

    /// 4.6, 4.7: a new step contact in a new run, or the one at the position `again` reprocessed.
    fn write_step_contact(&mut self, index: usize, contact: &Value, again: Option<usize>) -> Value {
        let (new_id, sequence_id) = (format!("new:{index}"), self.sequence["id"].clone());
        let mut row = match again {
            Some(position) => self.rows("step_contacts")[position].clone(),
            None => json!({
                "id": new_id, "run_id": new_id, "sequence_id": sequence_id,
                "step_id": self.step["id"], "contact_id": contact["id"],
                "channel_id": self.channel_id,
            }),
        };
        // 4.7: in the future is pending; now, past or absent is active, at the request's instant.
        let later = millis(&self.body["schedule_at"]).filter(|scheduled| *scheduled > self.at);
        row["status"] = json!(later.map_or("active", |_| "pending"));
        row["scheduled_at"] = json!(rfc3339(later.unwrap_or(self.at)));
        // 4.6: channel (by `from`) and call flow (D10) are replaced where given, else kept.
        if present(&self.body["from"]).is_some() {
            row["channel_id"] = json!(self.channel_id);
        }
        if let Some(id) = trimmed_text(&self.body["voice_options"]["default_call_flow_id"]) {
            row["default_call_flow_id"] = json!(id.to_lowercase());
        }
        if let Some(position) = again {
            row["times_processed"] = json!(row["times_processed"].as_u64().unwrap_or(1) + 1);
            for run in self.rows_mut("runs") {
                if run["id"] == row["run_id"] {
                    run["status"] = json!("active");
                }
            }
            self.rows_mut("step_contacts")[position] = row.clone();
        } else {
            row["times_processed"] = json!(1);
            let run = json!({
                "id": new_id, "sequence_id": sequence_id, "contact_id": contact["id"],
                "status": "active", "started_at": rfc3339(self.at),
            });
            self.rows_mut("runs").push(run);
            self.rows_mut("step_contacts").push(row.clone());
        }
        row
    }

    /// 4.7: the conversation on the channel used: the newest that stands, else a new one (`true`).
    fn converse(&mut self, index: usize, contact: &Value) -> (Option<Value>, bool) {
        let Some(channel_id) = self.channel_id.clone() else {
            return (None, false);
        };
        let newest = (self.rows("conversations").iter())
            .filter(|row| row["contact_id"] == contact["id"] && row["channel_id"] == channel_id)
            .max_by_key(|row| (millis(&row["created_at"]), text(row, "id")));
        if let Some(row) = newest {
            return (Some(row["id"].clone()), false);
        }
        let id = json!(format!("new:{index}"));
        let row = json!({
            "id": id, "contact_id": contact["id"], "channel_id": channel_id,
            "status": "automated", "created_at": rfc3339(self.at),
        });
        self.rows_mut("conversations").push(row);
        (Some(id), true)
    }

    /// 4.8: the record (object, resource kind, resource id) created or merged into, if the request has
    /// custom data; the note if it is not written.
    fn write_record(
        &mut self,
        index: usize,
        raw: &Value,
        contact: &Value,
        step_contact: &Value,
    ) -> Result<Option<Value>, &'static str> {
        let Some(asked) = present(&self.body["custom_data"]) else {
            return Ok(None);
        };
        let object = by_id(self.rows("custom_objects"), &asked["custom_object_id"]);
        let object = object.expect("the custom object exists").clone();
        let resource = trimmed_text(&asked["resource"]).expect("custom data has a resource");
        let is_contact = resource == "contact";
        let resource_id = if is_contact { &contact["id"] } else { &step_contact["id"] };
        let standing = (self.rows("custom_records").iter().enumerate())
            .filter(|(_, record)| record["custom_object_id"] == object["id"])
            .filter(|(_, record)| record["resource"] == resource)
            .filter(|(_, record)| record["resource_id"] == *resource_id)
            .min_by_key(|(_, record)| text(record, "id"));
        let position = standing.map(|(position, _)| position);
        let mut record = standing.map_or_else(
            || {
                json!({
                    "id": format!("new:{index}"), "custom_object_id": object["id"],
                    "resource": resource, "resource_id": resource_id,
                })
            },
            |(_, record)| record.clone(),
        );

        let mut values = record["properties"].as_object().cloned().unwrap_or_default();
        values.retain(|_, value| !value.is_null());
        let properties = object["properties"].as_array().cloned().unwrap_or_default();
        for (key, value) in raw["properties"].as_object().into_iter().flatten() {
            let value = trimmed(value);
            if value == "" {
                continue; // a blank value is absent: what stands stays
            }
            let property = properties.iter().find(|property| property["key"] == **key);
            let property = property.ok_or("custom_data_invalid")?;
            if value.is_null() && property["required"] != true {
                values.remove(key);
            } else if is_of_type(&value, text(property, "type")) {
                values.insert(key.clone(), value);
            } else {
                return Err("custom_data_invalid"); // also `null` for a required one
            }
        }
        for property in properties.iter().filter(|property| property["required"] == true) {
            let (key, default) = (text(property, "key"), &property["default"]);
            if values.contains_key(key) {
                continue;
            }
            if !is_of_type(default, text(property, "type")) {
                return Err("custom_data_invalid"); // also a default that does not fit
            }
            values.insert(key.to_owned(), default.clone());
        }

        record["properties"] = json!(values);
        match position {
            Some(position) => self.rows_mut("custom_records")[position] = record.clone(),
            None => self.rows_mut("custom_records").push(record.clone()),
        }
        Ok(Some(record))
    }
}
