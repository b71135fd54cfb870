//! Locks the rows on which the plan depends, and checks that they did not change.

use enroll::changes::{CompletionMode, Conflict, Guards, ReplacedStatus};
use enroll::contact::KeyKind;
use enroll::model::{ChannelKind, StepContactStatus};
use enroll::snapshot::Version;
use enroll::{ChangeSet, ChannelId, ContactId, StepContactId};
use std::collections::{BTreeSet, HashMap, HashSet};
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::{Bound, Row, Transaction};
use crate::fields::ColumnReader;
use crate::statements::Prepared;

/// The facts about the locked rows that the writes need.
pub(super) struct LockedGuards {
    /// True if rows can be copied into the tables.
    pub(super) may_copy: bool,
    /// The step contacts to update.
    pub(super) replaced: Vec<ReplacedStatus>,
    email_channels: HashSet<Uuid>,
}

impl LockedGuards {
    /// Returns true if a contact can have only one conversation on the channel.
    pub(super) fn one_at_most(&self, channel: ChannelId) -> bool {
        !self.email_channels.contains(&channel.as_uuid())
    }
}

/// Locks the organization's row, so that no other commit of it runs. Then locks and checks every guarded row.
pub(super) async fn lock_and_check(
    transaction: &mut impl Transaction,
    statements: &Prepared,
    changes: &ChangeSet,
) -> Result<LockedGuards, PostgresError> {
    let guards = changes.guards();
    let rows = changes.rows();
    let organization = changes.organization_id().as_uuid();
    let enrollment = changes.completion().enrollment.id.as_uuid();
    let sequence = guards.sequence.0.as_uuid();
    let of_new_conversations = rows.conversations_created.iter().map(|row| row.channel_id);
    let channels = guards.channels.iter().map(|(id, _)| *id).chain(of_new_conversations);
    let channels: BTreeSet<Uuid> = channels.map(ChannelId::as_uuid).collect();
    let channels: Vec<Uuid> = channels.into_iter().collect();
    let object: Vec<Uuid> = guards.custom_object.iter().map(|(id, _)| id.as_uuid()).collect();
    let call_flow: Vec<Uuid> = guards.call_flow.iter().map(|(id, _)| id.as_uuid()).collect();
    let tag = guards.upload_tag.as_ref().map(|(id, _)| id.as_uuid());
    let contacts: BTreeSet<Uuid> = contacts(changes).map(|(id, _)| id.as_uuid()).collect();
    let contacts: Vec<Uuid> = contacts.into_iter().collect();
    let runs: Vec<Uuid> = rows.runs_reactivated.iter().map(|row| row.run_id.as_uuid()).collect();
    let step_contacts: Vec<Uuid> = rows.step_contacts_updated.iter().map(|row| row.id.as_uuid()).collect();
    let records: Vec<Uuid> = rows.records_updated.iter().map(|row| row.id.as_uuid()).collect();
    let unclaimed =
        KeyKind::ALL.map(|kind| guards.unclaimed_keys.get(kind).iter().map(|key| &**key).collect::<Vec<&str>>());
    let queries: [Option<Bound<'_>>; 17] = [
        Some((&statements.disable_triggers, vec![])),
        Some((&statements.may_copy, vec![])),
        Some((&statements.add_organization, vec![&organization])),
        Some((&statements.lock_organization, vec![&organization])),
        Some((&statements.lock_enrollment, vec![&organization, &enrollment])),
        Some((&statements.lock_sequence, vec![&organization, &sequence])),
        Some((&statements.lock_channels, vec![&organization, &channels])),
        Some((&statements.lock_custom_object, vec![&organization, &object])),
        Some((&statements.lock_call_flow, vec![&organization, &call_flow])),
        tag.as_ref().map(|id| (&statements.lock_tag, vec![&organization as _, id as _])),
        Some((&statements.lock_runs, vec![&organization, &runs])),
        Some((&statements.lock_step_contacts, vec![&organization, &step_contacts])),
        Some((&statements.lock_records, vec![&organization, &records])),
        Some((&statements.lock_contacts, vec![&organization, &contacts])),
        Some((&statements.external_id_owners, vec![&organization, &unclaimed[0]])),
        Some((&statements.phone_owners, vec![&organization, &unclaimed[1]])),
        Some((&statements.email_owners, vec![&organization, &unclaimed[2]])),
    ];
    let [
        _,
        may_copy,
        _,
        _,
        enrollment,
        sequence,
        channels,
        object,
        call_flow,
        tag,
        _,
        step_contacts,
        _,
        contacts,
        owners @ ..,
    ] = transaction.query_all(queries).await?;
    check_enrollment(changes, &enrollment)?;
    check_reference_data(
        guards,
        &versions(&sequence)?,
        &versions(&channels)?,
        &versions(&object)?,
        &versions(&call_flow)?,
    )?;
    if let Some((id, name)) = &guards.upload_tag {
        let stored = tag.first().map(|row| row.get::<&str>(0)).transpose()?;
        if stored != name.as_deref() {
            return Err(Conflict::TagChanged(*id).into());
        }
    }
    let stored = versions(&contacts)?;
    for (id, version) in self::contacts(changes) {
        if stored.get(&id.as_uuid()) != Some(&version) {
            return Err(Conflict::ContactChanged(id).into());
        }
    }
    for (key, rows) in KeyKind::ALL.into_iter().zip(&owners) {
        if let Some(row) = rows.first() {
            let mut columns = ColumnReader::new(row);
            let (holder, text) = (columns.read()?, columns.read()?);
            return Err(Conflict::KeyHeld { key, text, holder }.into());
        }
    }
    let mut email_channels = HashSet::new();
    for row in &channels {
        if row.get::<&str>(2)? == ChannelKind::Email.as_str() {
            email_channels.insert(row.get(0)?);
        }
    }
    let may_copy = may_copy.first().map(|row| row.get(0)).transpose()?.unwrap_or(false);
    let replaced = replaced_statuses(changes, &step_contacts)?;
    Ok(LockedGuards { may_copy, replaced, email_channels })
}

/// Returns the statuses of the locked step contacts before and after the commit.
fn replaced_statuses(changes: &ChangeSet, locked: &[impl Row]) -> Result<Vec<ReplacedStatus>, PostgresError> {
    let updated = &changes.rows().step_contacts_updated;
    let after: HashMap<StepContactId, StepContactStatus> = updated.iter().map(|row| (row.id, row.status)).collect();
    let mut replaced = Vec::with_capacity(locked.len());
    for row in locked {
        let mut columns = ColumnReader::new(row);
        let id: StepContactId = columns.read()?;
        let (step_id, before) = (columns.read()?, columns.read()?);
        replaced.extend(after.get(&id).map(|after| ReplacedStatus { step_id, before, after: *after }));
    }
    Ok(replaced)
}

fn check_enrollment(changes: &ChangeSet, stored: &[impl Row]) -> Result<(), PostgresError> {
    let completion = changes.completion();
    let id = completion.enrollment.id;
    let stored = stored.first().map(|row| Ok::<_, PostgresError>((row.get::<&str>(0)?, row.get::<i64>(1)?)));
    match (completion.mode, stored.transpose()?) {
        (CompletionMode::Create, None) => Ok(()),
        (CompletionMode::Create, Some(_)) => Err(Conflict::EnrollmentExists(id).into()),
        (CompletionMode::Finish, Some(("accepted", erased))) => {
            let is_same = erased == i64::from(completion.enrollment.erased_recipients);
            if is_same { Ok(()) } else { Err(Conflict::RecipientsErased(id).into()) }
        }
        (CompletionMode::Finish, _) => Err(Conflict::EnrollmentNotAccepted(id).into()),
    }
}

fn check_reference_data(
    guards: &Guards,
    sequence: &HashMap<Uuid, Version>,
    channels: &HashMap<Uuid, Version>,
    object: &HashMap<Uuid, Version>,
    call_flow: &HashMap<Uuid, Version>,
) -> Result<(), Conflict> {
    let (id, version) = guards.sequence;
    if sequence.get(&id.as_uuid()) != version.as_ref() {
        return Err(Conflict::SequenceChanged(id));
    }
    for (id, version) in &guards.channels {
        if channels.get(&id.as_uuid()) != version.as_ref() {
            return Err(Conflict::ChannelChanged(*id));
        }
    }
    if let Some((id, version)) = guards.custom_object
        && object.get(&id.as_uuid()) != version.as_ref()
    {
        return Err(Conflict::CustomObjectChanged(id));
    }
    if let Some((id, version)) = guards.call_flow
        && call_flow.get(&id.as_uuid()) != version.as_ref()
    {
        return Err(Conflict::CallFlowChanged(id));
    }
    Ok(())
}

/// Returns the contacts that must not have changed, with their versions.
fn contacts(changes: &ChangeSet) -> impl Iterator<Item = (ContactId, Version)> {
    let updated = changes.rows().contacts_updated.iter().map(|update| (update.id, update.expected));
    changes.guards().contacts.iter().copied().chain(updated)
}

fn versions(rows: &[impl Row]) -> Result<HashMap<Uuid, Version>, PostgresError> {
    let read = |row| {
        let mut columns = ColumnReader::new(row);
        Ok((columns.read()?, columns.version()?))
    };
    rows.iter().map(read).collect()
}
