//! Sequences of the HTTP API, with their settings and steps. Every statement filters by organization.

use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

use enroll::model::{OnReAdd, SequenceSettings};
use enroll::{CallFlowId, OrganizationId, RepositoryError, SequenceId};
use uuid::Uuid;

use super::list::{List, Shape};
use super::lists::json;
use super::{Page, Pagination, Param, Position, Row, Sort, id_places, not_null, sort_text};
use crate::handles::Handle;

/// A sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SequenceRow {
    pub(crate) id: Uuid,
    pub(crate) title: String,
    pub(crate) status: String,
    settings: SettingsRow,
    pub(crate) steps: Vec<StepRow>,
}

/// The settings of a sequence, under their documented names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SequenceSettings)]
struct SettingsRow {
    /// `include` or `exclude`: whether a contact that was in the sequence before is added again.
    on_re_add: OnReAdd,
    /// The maximum number of runs of a contact.
    max_contact_sequence_runs: Option<u32>,
    /// The maximum number of runs of a contact that start within `max_add_time`.
    max_add_per_time: Option<u32>,
    /// The length of that period in seconds.
    max_add_time: Option<u64>,
    /// The call flow that answers inbound calls.
    default_call_flow_id: Option<Uuid>,
}

impl From<SequenceSettings> for SettingsRow {
    fn from(settings: SequenceSettings) -> Self {
        Self {
            on_re_add: settings.on_re_add,
            max_contact_sequence_runs: settings.max_runs,
            max_add_per_time: settings.max_adds_per_period.map(|max| max.count),
            max_add_time: settings.max_adds_per_period.map(|max| max.seconds),
            default_call_flow_id: settings.default_call_flow_id.map(CallFlowId::as_uuid),
        }
    }
}

/// A step of a sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepRow {
    pub(crate) id: Uuid,
    pub(crate) position: i64,
    pub(crate) channel_kind: String,
    /// The channel of the step, if it has one.
    channel_id: Option<Uuid>,
}

impl SequenceRow {
    const COLUMNS: &str = "s.id, s.title, s.status, cast(s.settings as text)";

    /// Reads the columns in their order.
    fn read(row: &mut dyn Row) -> Result<Self, RepositoryError> {
        let (id, title, status) = (not_null(row.id()?)?, not_null(row.text()?)?, not_null(row.text()?)?);
        let settings = json::<SequenceSettings>(row.text()?.as_deref())?.unwrap_or_default().into();
        Ok(Self { id, title, status, settings, steps: Vec::new() })
    }
}

/// Returns a page of sequences, ordered by title, then id: those whose title contains a text, in any case of ASCII
/// letters. It counts all of them: an organization has few.
pub(crate) async fn sequences(
    handle: &mut Handle,
    organization_id: OrganizationId,
    title: Option<&str>,
    pagination: &Pagination,
) -> Result<Page<SequenceRow>, RepositoryError> {
    let mut list = List::new(
        organization_id,
        Shape {
            table: "enroll.sequences t",
            keys: "t.id, substr(t.title, 1, 255) as title",
            order: "substr(t.title, 1, 255), t.id",
            merged_order: "k.title, k.id",
            columns: SequenceRow::COLUMNS,
            joins: "join enroll.sequences s on s.organization_id = $1 and s.id = k.id",
        },
    );
    if let Some(title) = title {
        list.filter_contains("t.title", title);
    }
    let total = list.count(handle).await?;
    match &pagination.after {
        Some(Position { sort: Sort::Text(title), id }) => {
            let after = list.after_text("substr(t.title, 1, 255)", title, *id);
            list.part(after);
        }
        _ => list.part("substr(t.title, 1, 255) is not null".to_owned()),
    }
    let position = |row: &SequenceRow| Position { sort: Sort::Text(sort_text(&row.title)), id: row.id };
    let mut page = list.read(handle, pagination, total, SequenceRow::read, position).await?;
    add_steps(handle, organization_id, &mut page.data).await?;
    Ok(page)
}

/// Returns a sequence, or `None` if the organization does not have it.
pub(crate) async fn sequence(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: SequenceId,
) -> Result<Option<SequenceRow>, RepositoryError> {
    let sql =
        format!("select {} from enroll.sequences s where s.organization_id = $1 and s.id = $2", SequenceRow::COLUMNS);
    let params = [Param::Id(organization_id.as_uuid()), Param::Id(id.as_uuid())];
    let mut found = handle.query(&sql, &params, SequenceRow::read).await?;
    add_steps(handle, organization_id, &mut found).await?;
    Ok(found.pop())
}

/// Adds the steps of sequences, in their order.
async fn add_steps(
    handle: &mut Handle,
    organization_id: OrganizationId,
    sequences: &mut [SequenceRow],
) -> Result<(), RepositoryError> {
    if sequences.is_empty() {
        return Ok(());
    }
    let mut params = vec![Param::Id(organization_id.as_uuid())];
    let places = id_places(&mut params, sequences.iter().map(|sequence| sequence.id));
    let sql = format!(
        "select s.sequence_id, s.id, cast(s.position as bigint), s.channel_kind, s.channel_id from enroll.steps s
        where s.organization_id = $1 and s.sequence_id in ({places}) order by s.position, s.id"
    );
    let steps = handle.query(&sql, &params, |row| {
        let (sequence, id, position) = (not_null(row.id()?)?, not_null(row.id()?)?, not_null(row.number()?)?);
        Ok((sequence, StepRow { id, position, channel_kind: not_null(row.text()?)?, channel_id: row.id()? }))
    });
    let mut steps_of: BTreeMap<Uuid, Vec<StepRow>> = BTreeMap::new();
    for (sequence, step) in steps.await? {
        steps_of.entry(sequence).or_default().push(step);
    }
    for sequence in sequences {
        sequence.steps = steps_of.remove(&sequence.id).unwrap_or_default();
    }
    Ok(())
}

/// Returns true if the organization has the sequence.
pub(crate) async fn has_sequence(
    handle: &mut Handle,
    organization_id: OrganizationId,
    sequence_id: SequenceId,
) -> Result<bool, RepositoryError> {
    let sql = "select id from enroll.sequences where organization_id = $1 and id = $2";
    let params = [Param::Id(organization_id.as_uuid()), Param::Id(sequence_id.as_uuid())];
    Ok(!handle.query(sql, &params, |row| row.id()).await?.is_empty())
}
