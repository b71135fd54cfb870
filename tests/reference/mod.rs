//! The reference planner: a second, slow and simple implementation of spec sections 4 and 5, and of the parts of 1 and 3
//! that they need.
//!
//! It uses no code of the engine: JSON in, JSON out, linear scans. Each rule has the number of its section in the spec. The
//! planner assumes an accepted request, without faults of section 3.

mod rows;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use rows::{
    ADDRESS, BIRTH_DATE, KEYS, by_id, has, is_of_type, members, millis, only, outcome, present, rfc3339, text, texts,
    trimmed, trimmed_text, without_empty,
};
pub(crate) use rows::{CONTACT, STEP_CONTACT};

/// Functions that validate addresses and return their comparison keys.
pub(crate) struct Addresses<'a> {
    /// Takes a text and a region, and returns E.164, or `None` if the text is not valid.
    pub(crate) phone: &'a dyn Fn(&str, Option<&str>) -> Option<String>,
    /// Takes E.164, and returns its region.
    pub(crate) region: &'a dyn Fn(&str) -> Option<String>,
    /// Takes a text, and returns the comparison key, or `None` if the text is not valid.
    pub(crate) email: &'a dyn Fn(&str) -> Option<String>,
    /// Takes a *stored* email, and returns its comparison key without validation.
    pub(crate) stored_email: &'a dyn Fn(&str) -> Option<String>,
}

/// Plans one request for one organization. A new id is `new:<index of the recipient>`.
pub(crate) fn plan(given: &Value, when: &Value, addresses: &Addresses<'_>) -> Value {
    let mut planner = Planner::read(given, when, addresses);
    let to = planner.body["to"].as_array().expect("an accepted request has `to`").clone();
    let outcomes: Vec<Value> = to.iter().enumerate().map(|(index, raw)| planner.enroll(index, raw)).collect();
    // 4.7: one upload tag, if the raw `to` has more than one entry or the request is a part of a list, and a contact gets it.
    // The requests of a list share it: it is the stored one, or a new one with the instant of the list.
    let list = present(&when["list"]);
    let stored = list.and_then(|list| by_id(planner.rows("tags"), &list["tag_id"]));
    let at = list.map_or(Some(planner.at), |list| millis(&list["at"])).expect("a list has an instant");
    let name = stored.map_or_else(|| format!("Upload {}", rfc3339(at)), |tag| text(tag, "name").to_owned());
    let is_tagged = (to.len() > 1 || list.is_some()) && outcomes.iter().any(|outcome| has(outcome, "step_contact"));
    let upload_tag = is_tagged.then_some(name);
    without_empty(json!({ "upload_tag": upload_tag, "accepted_keys": planner.accepted_keys(), "outcomes": outcomes }))
}

struct Planner<'a> {
    addresses: &'a Addresses<'a>,
    /// The organization's rows by table. A contact has three more fields: `email_key` (its comparison key),
    /// `reserved_by` (the index of a recipient), and `added_keys` (the keys that this recipient added).
    tables: BTreeMap<String, Vec<Value>>,
    // The results of section 3.
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
            tables: BTreeMap::new(),
            policy: &given["policy"],
            body: &when["body"],
            at: (millis(&when["at"]).or(millis(&given["now"]))).expect("`at`, or the file's `now`"),
            sequence: Value::Null,
            step: Value::Null,
            channel_id: None,
            region: None,
        };
        // 2: nothing crosses organizations. 8: the file's organization is the default of a row.
        let own = &given["organization_id"];
        for (table, rows) in given.as_object().into_iter().flatten() {
            let mut rows = rows.as_array().cloned().unwrap_or_default();
            rows.retain(|row| present(&row["organization_id"]).unwrap_or(own) == own);
            planner.tables.insert(table.clone(), rows);
        }
        for contact in planner.rows_mut("contacts") {
            *contact = without_empty(contact.take());
            contact["email_key"] = json!(contact["email"].as_str().and_then(addresses.stored_email));
        }

        let sequence = by_id(planner.rows("sequences"), &when["sequence_id"]);
        planner.sequence = sequence.expect("the sequence exists").clone();
        // D1, 3: the given step, else the step with the lowest position, then with the smallest id.
        let steps = planner.sequence["steps"].as_array().expect("the sequence has steps");
        let first = steps.iter().min_by_key(|step| (step["position"].as_i64(), text(step, "id")));
        let given = present(&planner.body["step_id"]);
        let step = given.map_or(first, |id| by_id(steps, id)).expect("the step exists").clone();
        // 3: the channel used is the channel of `from`, else the step's channel, else none.
        let channels = planner.rows("channels");
        let channel = if let Some(from) = trimmed_text(&planner.body["from"]) {
            Some(planner.channel_of(&step, &from).expect("`from` fits a channel"))
        } else {
            let id = present(&step["channel_id"]);
            id.map(|id| by_id(channels, id).expect("the step's channel exists"))
        };
        // 4.1: the policy's region, else that of the channel used, else that of the first enabled channel of a phone kind.
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

    /// 3: returns the enabled channel of the step's kind with the address `from`, and with the smallest id.
    fn channel_of(&self, step: &Value, from: &str) -> Option<&Value> {
        // E.164 is compared without validation.
        let digits = from.strip_prefix('+').unwrap_or("none");
        let is_e164 = digits.bytes().all(|byte| byte.is_ascii_digit());
        let phone = if is_e164 { Some(from.to_owned()) } else { (self.addresses.phone)(from, None) };
        let email_key = |address: &str| (self.addresses.stored_email)(address);
        let matches_from = |channel: &&Value| match text(channel, "kind") {
            "email" => email_key(from).is_some_and(|key| email_key(text(channel, "address")) == Some(key)),
            _ if from.starts_with('+') => phone.as_deref() == Some(text(channel, "address")),
            // Without `+`: as dialled in the region of the channel.
            _ => {
                let region = (self.addresses.region)(text(channel, "address"));
                (self.addresses.phone)(from, region.as_deref()).as_deref() == Some(text(channel, "address"))
            }
        };
        (self.rows("channels").iter().filter(matches_from))
            .filter(|channel| channel["kind"] == step["channel_kind"])
            .filter(|channel| channel["enabled"] != false)
            .min_by_key(|channel| text(channel, "id"))
    }

    fn rows(&self, table: &str) -> &[Value] {
        self.tables.get(table).map_or(&[], Vec::as_slice)
    }

    fn rows_mut(&mut self, table: &str) -> &mut Vec<Value> {
        self.tables.entry(table.to_owned()).or_default()
    }

    fn policy_is(&self, switch: &str, value: &str) -> bool {
        self.policy[switch] == value
    }

    /// 4.1: returns an entry of `to` as a contact, without absent and invalid values.
    fn normalize(&self, raw: &Value) -> Value {
        let given = |field: &str| trimmed_text(&raw[field]);
        let phone = |text: String| (self.addresses.phone)(&text, self.region.as_deref());
        let email_key = given("email").and_then(|email| (self.addresses.email)(&email));
        // 3: a default channel that is unknown in the organization is dropped.
        let channel = by_id(self.rows("channels"), &raw["default_channel_id"]);
        let mut entry = json!({
            "external_id": given("external_id"), "phone": given("phone").and_then(phone),
            "email": email_key.as_ref().and(given("email")), "email_key": email_key,
            "default_channel_id": channel.map(|channel| &channel["id"]),
            "address": members(&raw["address"], &ADDRESS),
            "birth_date": members(&raw["birth_date"], &BIRTH_DATE),
        });
        for (field, text) in texts(raw) {
            entry[field] = json!(text);
        }
        without_empty(entry)
    }

    /// Section 4: returns the outcome of one recipient, and changes the rows if it is enrolled.
    fn enroll(&mut self, index: usize, raw: &Value) -> Value {
        let entry = self.normalize(raw);
        // 4.3: external id, else phone, else email. The first key that finds a contact decides.
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
        let needed_address = if is_email { "email" } else { "phone" };
        let contact_has_address = self.policy_is("address_source", "entry_then_contact")
            && stored.as_ref().is_some_and(|contact| has(contact, needed_address));
        for address in ["phone", "email"] {
            let (is_valid, is_given) = (has(&entry, address), present(&raw[address]).is_some());
            if address == needed_address && !is_valid && !contact_has_address {
                let fault = if is_given { "invalid" } else { "missing" };
                reasons.push(format!("{fault}_{address}"));
            } else if is_given && !is_valid {
                notes.push(format!("{address}_dropped"));
            }
        }
        let is_eligible = reasons.is_empty();

        // 4.4, 5: a recipient that matches a reserved contact is not checked further.
        let reserved_by = stored.as_ref().map_or(&Value::Null, |contact| &contact["reserved_by"]);
        if !reserved_by.is_null() && !is_eligible {
            return ignored(&reasons, &notes);
        }
        if !reserved_by.is_null() {
            let more = json!({ "duplicate_of": reserved_by, "notes": notes, "contact": found_id });
            return outcome(index, "duplicate", &more);
        }
        // 3: this note comes first. Duplicates do not have it.
        if present(&raw["default_channel_id"]).is_some() && !has(&entry, "default_channel_id") {
            notes.insert(0, "default_channel_unknown".to_owned());
        }
        // 5: the other gates are checked only for an existing contact.
        if stored.is_none() && !is_eligible {
            return ignored(&reasons, &notes);
        }

        // 4.3: keys that name another contact, or differ from the stored one.
        let new = json!({ "id": format!("new:{index}") });
        let before = stored.as_ref().unwrap_or(&new);
        let mut keys_of_others = Vec::new();
        for ((key, compared), holder) in KEYS.into_iter().zip(holders) {
            if let Some(other) = holder.filter(|_| holder != found) {
                keys_of_others.push(key);
                if self.rows("contacts")[other]["added_keys"][key] == true {
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
        let contact = self.filled(index, &entry, before, stored.is_none(), &keys_of_others);
        // 4.3: a contact without the needed_address address is not enrolled. 4.2 can already have a reason for it.
        if is_eligible && !has(&contact, needed_address) && keys_of_others.contains(&needed_address) {
            reasons.push("address_taken".to_owned());
        } else if is_eligible && !has(&contact, needed_address) {
            reasons.push(format!("missing_{needed_address}"));
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
        let (Ok((disposition, reprocessed)), true) = (decided, reasons.is_empty()) else {
            return ignored(&reasons, &notes);
        };

        // 4.7: the recipient is enrolled, so its rows are written.
        match found {
            Some(position) => self.rows_mut("contacts")[position] = contact.clone(),
            None => self.rows_mut("contacts").push(contact.clone()),
        }
        let step_contact = self.write_step_contact(index, &contact, reprocessed);
        let (conversation, conversation_created) = self.conversation_on_channel(index, &contact);
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
            outcome["record_after"] = record["properties"].clone(); // also `{}`
        }
        outcome
    }

    /// 4.3: returns the position of the contact with a key. Merged contacts do not count. The smallest id decides.
    fn holder(&self, compared: &str, value: &Value) -> Option<usize> {
        (self.rows("contacts").iter().enumerate())
            .filter(|(_, contact)| contact["state"] != "merged")
            .filter(|(_, contact)| !value.is_null() && contact[compared] == *value)
            .min_by_key(|(_, contact)| text(contact, "id"))
            .map(|(position, _)| position)
    }

    /// 4.3: returns the contact as it is after the enrollment of this recipient.
    fn filled(&self, index: usize, entry: &Value, before: &Value, is_new: bool, keys_of_others: &[&str]) -> Value {
        let mut after = before.clone();
        for field in CONTACT {
            let may_write = match text(self.policy, "existing_contact") {
                "overwrite" => true,
                "keep" => is_new,
                _ => !has(before, field), // `FillBlank`
            };
            if may_write && has(entry, field) && !keys_of_others.contains(&field) {
                after[field] = entry[field].clone();
                if field == "email" {
                    after["email_key"] = entry["email_key"].clone();
                }
            }
        }
        // 4.4: an enrolled recipient reserves its contact. A new spelling of an email is not a new key.
        after["reserved_by"] = json!(index);
        for (key, compared) in KEYS {
            after["added_keys"][key] = json!(before[compared] != after[compared]);
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

    /// 4.6: the first row that holds decides. Returns the disposition with the position of the step contact to reprocess,
    /// or the reason to ignore the recipient.
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
        // 4.6 b: the live step contact, else (`AnyStatus`) the newest one.
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

    /// 4.6: returns the position of the step contact with the latest run start, then with the greatest id.
    fn newest(&self, history: &[&Value], matches_from: impl Fn(&Value) -> bool) -> Option<usize> {
        let started = |row: &Value| millis(&by_id(self.rows("runs"), &row["run_id"])?["started_at"]);
        let newest =
            (history.iter().filter(|row| matches_from(row))).max_by_key(|row| (started(row), text(row, "id")))?;
        self.rows("step_contacts").iter().position(|row| row["id"] == newest["id"])
    }

    /// 4.6, 4.7: writes a new step contact in a new run, or reprocesses the step contact at the position.
    fn write_step_contact(&mut self, index: usize, contact: &Value, reprocessed: Option<usize>) -> Value {
        let (new_id, sequence_id) = (format!("new:{index}"), self.sequence["id"].clone());
        let mut row = match reprocessed {
            Some(position) => self.rows("step_contacts")[position].clone(),
            None => json!({
                "id": new_id, "run_id": new_id, "sequence_id": sequence_id,
                "step_id": self.step["id"], "contact_id": contact["id"],
                "channel_id": self.channel_id,
            }),
        };
        // 4.7: a schedule in the future is pending. Now, past or absent is active, at the request's instant.
        let later = millis(&self.body["schedule_at"]).filter(|scheduled| *scheduled > self.at);
        row["status"] = json!(later.map_or("active", |_| "pending"));
        row["scheduled_at"] = json!(rfc3339(later.unwrap_or(self.at)));
        // 4.6: channel (by `from`) and call flow (D10) are replaced if given, else kept.
        if present(&self.body["from"]).is_some() {
            row["channel_id"] = json!(self.channel_id);
        }
        if let Some(id) = trimmed_text(&self.body["voice_options"]["default_call_flow_id"]) {
            row["default_call_flow_id"] = json!(id.to_lowercase());
        }
        if let Some(position) = reprocessed {
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

    /// 4.7: returns the newest conversation on the channel used, or creates one (`true`).
    fn conversation_on_channel(&mut self, index: usize, contact: &Value) -> (Option<Value>, bool) {
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

    /// 5: returns the keys of the custom object, once and in order, if the request has custom data.
    fn accepted_keys(&self) -> Vec<String> {
        let object = present(&self.body["custom_data"])
            .and_then(|given| by_id(self.rows("custom_objects"), &given["custom_object_id"]));
        let properties = object.and_then(|object| object["properties"].as_array()).into_iter().flatten();
        let mut keys: Vec<String> = properties.map(|property| text(property, "key").to_owned()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// 4.8: creates the record or merges into it, if the request has custom data. Returns the note if the record is not
    /// written.
    fn write_record(
        &mut self,
        index: usize,
        raw: &Value,
        contact: &Value,
        step_contact: &Value,
    ) -> Result<Option<Value>, &'static str> {
        let Some(given) = present(&self.body["custom_data"]) else {
            return Ok(None);
        };
        let object = by_id(self.rows("custom_objects"), &given["custom_object_id"]);
        let object = object.expect("the custom object exists").clone();
        let resource = trimmed_text(&given["resource"]).expect("custom data has a resource");
        let is_contact = resource == "contact";
        let resource_id = if is_contact { &contact["id"] } else { &step_contact["id"] };
        let existing = (self.rows("custom_records").iter().enumerate())
            .filter(|(_, record)| record["custom_object_id"] == object["id"])
            .filter(|(_, record)| record["resource"] == resource)
            .filter(|(_, record)| record["resource_id"] == *resource_id)
            .min_by_key(|(_, record)| text(record, "id"));
        let position = existing.map(|(position, _)| position);
        let mut record = existing.map_or_else(
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
                continue; // a blank value is absent: the stored value stays
            }
            let property = properties.iter().find(|property| property["key"] == **key);
            let property = property.ok_or("custom_data_invalid")?;
            if value.is_null() && property["required"] != true {
                values.remove(key);
            } else if is_of_type(&value, text(property, "type")) {
                values.insert(key.clone(), value);
            } else {
                return Err("custom_data_invalid"); // also `null` for a required property
            }
        }
        for property in properties.iter().filter(|property| property["required"] == true) {
            let (key, default) = (text(property, "key"), &property["default"]);
            if values.contains_key(key) {
                continue;
            }
            if !is_of_type(default, text(property, "type")) {
                return Err("custom_data_invalid"); // also a default of the wrong type
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
