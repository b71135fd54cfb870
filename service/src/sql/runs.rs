//! The runs of contacts through sequences.

use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

use enroll::model::RunStatus;
use enroll::{ChannelId, ContactId, OrganizationId, RepositoryError, RunId, SequenceId, Timestamp};
use uuid::Uuid;

use super::list::{List, Shape, total};
use super::lists::NamedContact;
use super::{Page, Pagination, Param, Position, Row, Sort, id_places, not_null};
use crate::handles::Handle;

/// A run: one pass of a contact through a sequence.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SequenceRun)]
pub(crate) struct RunRow {
    pub(crate) id: Uuid,
    /// `active` or `finished`.
    pub(crate) status: String,
    pub(crate) sequence_id: Uuid,
    pub(crate) contact: NamedContact,
    /// The channel of the last step contact.
    pub(crate) channel_id: Option<Uuid>,
    /// The step of the last step contact.
    pub(crate) last_step_id: Option<Uuid>,
    /// In the order of `scheduled_at`.
    pub(crate) step_contacts: Vec<RunStepContact>,
    /// When the run started.
    pub(crate) created_at: Timestamp,
    /// The instant of the last request that enrolled one of the step contacts. Absent if a host wrote them.
    pub(crate) updated_at: Option<Timestamp>,
}

/// A step contact of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunStepContact {
    pub(crate) id: Uuid,
    pub(crate) status: String,
    pub(crate) step_id: Uuid,
    pub(crate) channel_id: Option<Uuid>,
    pub(crate) scheduled_at: Timestamp,
    #[serde(skip)]
    enrolled_at: Option<Timestamp>,
}

/// The runs to list. An absent condition keeps all runs.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RunFilter {
    pub(crate) sequence_id: Option<SequenceId>,
    pub(crate) contact_id: Option<ContactId>,
    /// The phone of the contact, in the forms that can be stored. If empty, any.
    pub(crate) phones: Vec<String>,
    /// The channel of a step contact of the run.
    pub(crate) channel_id: Option<ChannelId>,
    pub(crate) statuses: Vec<String>,
    /// Runs that started at this instant or earlier.
    pub(crate) before: Option<Timestamp>,
    /// Runs that started at this instant or later.
    pub(crate) after: Option<Timestamp>,
}

impl RunFilter {
    fn statuses_or_all(&self) -> impl Iterator<Item = String> {
        let all = RunStatus::ALL.iter().filter(|_| self.statuses.is_empty()).map(|status| status.as_str().to_owned());
        self.statuses.iter().cloned().chain(all)
    }
}

/// Returns a page of runs, the newest first: by the instant of their start, then by id.
pub(crate) async fn runs(
    handle: &mut Handle,
    organization_id: OrganizationId,
    filter: RunFilter,
    pagination: &Pagination,
) -> Result<Page<RunRow>, RepositoryError> {
    let mut contacts: Vec<Uuid> = filter.contact_id.iter().map(|id| id.as_uuid()).collect();
    if !filter.phones.is_empty() {
        let owners = contacts_with_phones(handle, organization_id, &filter.phones).await?;
        contacts = owners.into_iter().filter(|id| contacts.is_empty() || contacts.contains(id)).collect();
        if contacts.is_empty() {
            return Ok(Page { data: Vec::new(), total: 0, next: None });
        }
    }
    let total = count(handle, organization_id, &filter, &contacts).await?;
    let cursor = match &pagination.after {
        Some(Position { sort: Sort::Instant(at), id }) => Some((*at, *id)),
        _ => None,
    };
    let list = if contacts.is_empty() {
        by_status(organization_id, &filter, cursor)
    } else {
        of_contacts(organization_id, &filter, &contacts, cursor)
    };
    let position = |row: &RunRow| Position { sort: Sort::Instant(row.created_at), id: row.id };
    let mut page = list.read(handle, pagination, total, read, position).await?;
    add_step_contacts(handle, organization_id, &mut page.data).await?;
    Ok(page)
}

/// Returns a run.
pub(crate) async fn run(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: RunId,
) -> Result<Option<RunRow>, RepositoryError> {
    let sql = format!("select {COLUMNS} from enroll.runs k {JOINS} where k.organization_id = $1 and k.id = $2");
    let params = [Param::Id(organization_id.as_uuid()), Param::Id(id.as_uuid())];
    let mut rows = handle.query(&sql, &params, read).await?;
    add_step_contacts(handle, organization_id, &mut rows).await?;
    Ok(rows.pop())
}

fn read(row: &mut dyn Row) -> Result<RunRow, RepositoryError> {
    Ok(RunRow {
        id: not_null(row.id()?)?,
        status: not_null(row.text()?)?,
        sequence_id: not_null(row.id()?)?,
        created_at: not_null(row.instant()?)?,
        contact: NamedContact::read(row)?,
        channel_id: None,
        last_step_id: None,
        step_contacts: Vec::new(),
        updated_at: None,
    })
}

async fn contacts_with_phones(
    handle: &mut Handle,
    organization_id: OrganizationId,
    phones: &[String],
) -> Result<Vec<Uuid>, RepositoryError> {
    let mut ids = Vec::new();
    for phone in phones {
        let sql = "select id from enroll.contacts where organization_id = $1 and held_phone = $2";
        let params = [Param::Id(organization_id.as_uuid()), Param::Text(phone.clone())];
        ids.extend(handle.query(sql, &params, |row| not_null(row.id()?)).await?);
    }
    Ok(ids)
}

/// Returns the number of runs. It reads the counts, or the runs themselves if a filter is not one of the counts' columns.
async fn count(
    handle: &mut Handle,
    organization_id: OrganizationId,
    filter: &RunFilter,
    contacts: &[Uuid],
) -> Result<u64, RepositoryError> {
    let statuses = || filter.statuses.iter().cloned().map(Param::Text);
    let RunFilter { channel_id, before, after, .. } = filter;
    if contacts.is_empty() && channel_id.is_none() && before.is_none() && after.is_none() {
        let of_sequence = |list: &mut List| {
            list.filter_one_of("t.sequence_id", filter.sequence_id.map(|id| Param::Id(id.as_uuid())));
            list.filter_one_of("t.status", statuses());
        };
        return total(handle, organization_id, "runs", of_sequence).await;
    }
    if !contacts.is_empty() {
        return filtered_by_contacts(organization_id, filter, contacts).count(handle).await;
    }
    let mut list = filtered(organization_id, filter, BY_START);
    // Without a status, no index has the instants in order.
    list.filter_one_of("t.status", filter.statuses_or_all().map(Param::Text));
    filter_by_start(&mut list, filter);
    list.count(handle).await
}

/// Returns the list of one contact, or of the few with a phone. A contact has few runs.
fn of_contacts(
    organization_id: OrganizationId,
    filter: &RunFilter,
    contacts: &[Uuid],
    cursor: Option<(Timestamp, Uuid)>,
) -> List {
    let mut list = filtered_by_contacts(organization_id, filter, contacts);
    let part = match cursor {
        Some((at, id)) => {
            let (at, id) = (list.param(Param::Instant(at.as_datetime())), list.param(Param::Id(id)));
            format!("(t.started_at, t.id) < ({at}, {id})")
        }
        None => "t.organization_id = $1".to_owned(),
    };
    list.part(part);
    list
}

/// Returns the list of a sequence or of all. The rows of each status are adjacent in an index.
fn by_status(organization_id: OrganizationId, filter: &RunFilter, cursor: Option<(Timestamp, Uuid)>) -> List {
    let mut list = filtered(organization_id, filter, BY_STATUS);
    let instant = |list: &mut List, at: Timestamp| list.param(Param::Instant(at.as_datetime()));
    let after = filter.after.map(|at| instant(&mut list, at));
    // Of two upper limits, an index is searched by one.
    let cursor = cursor.filter(|(at, _)| filter.before.is_none_or(|before| *at <= before));
    let cursor = cursor.map(|(at, id)| (instant(&mut list, at), list.param(Param::Id(id))));
    let before = filter.before.filter(|_| cursor.is_none()).map(|at| instant(&mut list, at));
    for status in filter.statuses_or_all() {
        let status = list.param(Param::Text(status));
        // Not `=`: it would take the status out of the order.
        let from = match &after {
            Some(after) => format!("(t.status, t.started_at) >= ({status}, {after})"),
            None => format!("t.status >= {status}"),
        };
        let to = match (&cursor, &before) {
            (Some((at, id)), _) => format!("(t.status, t.started_at, t.id) < ({status}, {at}, {id})"),
            (None, Some(before)) => format!("(t.status, t.started_at) <= ({status}, {before})"),
            (None, None) => format!("t.status <= {status}"),
        };
        list.part(format!("{from} and {to}"));
    }
    list
}

fn filtered_by_contacts(organization_id: OrganizationId, filter: &RunFilter, contacts: &[Uuid]) -> List {
    let mut list = filtered(organization_id, filter, BY_START);
    list.filter_one_of("t.contact_id", contacts.iter().copied().map(Param::Id));
    // Not the column itself: SQLite would search an index by the status, and read all runs with it.
    list.filter_one_of("coalesce(t.status, '')", filter.statuses.iter().cloned().map(Param::Text));
    filter_by_start(&mut list, filter);
    list
}

/// Returns the list with the filters that apply to all statuses and instants.
fn filtered(organization_id: OrganizationId, filter: &RunFilter, shape: Shape) -> List {
    let mut list = List::new(organization_id, shape);
    list.filter_one_of("t.sequence_id", filter.sequence_id.map(|id| Param::Id(id.as_uuid())));
    if let Some(channel_id) = filter.channel_id {
        let channel = list.param(Param::Id(channel_id.as_uuid()));
        let uses_channel = STEP_CONTACT_STATUSES.map(|of_status| {
            format!(
                "exists (select 1 from enroll.step_contacts s where s.organization_id = $1 and s.contact_id = t.contact_id
                and s.sequence_id = t.sequence_id and s.run_id = t.id and s.channel_id = {channel} and {of_status})"
            )
        });
        list.filter(&format!("({})", uses_channel.join(" or ")));
    }
    list
}

fn filter_by_start(list: &mut List, filter: &RunFilter) {
    for (operator, at) in [("<=", filter.before), (">=", filter.after)] {
        if let Some(at) = at {
            let at = list.param(Param::Instant(at.as_datetime()));
            list.filter(&format!("t.started_at {operator} {at}"));
        }
    }
}

/// Reads the step contacts of runs.
async fn add_step_contacts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    runs: &mut [RunRow],
) -> Result<(), RepositoryError> {
    if runs.is_empty() {
        return Ok(());
    }
    let mut params = vec![Param::Id(organization_id.as_uuid())];
    let contacts = id_places(&mut params, runs.iter().map(|run| run.contact.id));
    let ids = id_places(&mut params, runs.iter().map(|run| run.id));
    let of_status = STEP_CONTACT_STATUSES.map(|of_status| {
        format!(
            "select s.run_id, s.id, s.status, s.step_id, s.channel_id, s.scheduled_at, e.at
            from enroll.step_contacts s left join enroll.enrollments e on e.organization_id = $1 and e.id = s.enrollment_id
            where s.organization_id = $1 and s.contact_id in ({contacts}) and s.run_id in ({ids}) and {of_status}"
        )
    });
    let sql = of_status.join(" union all ");
    let rows = handle.query(&sql, &params, |row| {
        let run_id = not_null(row.id()?)?;
        let step_contact = RunStepContact {
            id: not_null(row.id()?)?,
            status: not_null(row.text()?)?,
            step_id: not_null(row.id()?)?,
            channel_id: row.id()?,
            scheduled_at: not_null(row.instant()?)?,
            enrolled_at: row.instant()?,
        };
        Ok((run_id, step_contact))
    });
    let mut of_runs: BTreeMap<Uuid, Vec<RunStepContact>> = BTreeMap::new();
    for (run_id, step_contact) in rows.await? {
        of_runs.entry(run_id).or_default().push(step_contact);
    }
    for run in runs {
        let mut step_contacts = of_runs.remove(&run.id).unwrap_or_default();
        step_contacts.sort_by_key(|row| (row.scheduled_at, row.id));
        run.updated_at = step_contacts.iter().filter_map(|row| row.enrolled_at).max();
        run.channel_id = step_contacts.last().and_then(|row| row.channel_id);
        run.last_step_id = step_contacts.last().map(|row| row.step_id);
        run.step_contacts = step_contacts;
    }
    Ok(())
}

/// On PostgreSQL, two partial indexes share the step contacts of a contact.
const STEP_CONTACT_STATUSES: [&str; 2] = ["s.status in ('pending', 'active')", "s.status not in ('pending', 'active')"];
const COLUMNS: &str = "k.id, k.status, k.sequence_id, k.started_at, c.id, c.name, c.email, c.phone, c.external_id";
const JOINS: &str = "join enroll.contacts c on c.organization_id = $1 and c.id = k.contact_id";
const BY_STATUS: Shape = Shape {
    table: "enroll.runs t",
    keys: "t.id, t.status, t.sequence_id, t.started_at, t.contact_id",
    order: "t.status desc, t.started_at desc, t.id desc",
    merged_order: "k.started_at desc, k.id desc",
    columns: COLUMNS,
    joins: JOINS,
};
/// An order that no index has, so that PostgreSQL finds the rows by another condition.
const BY_START: Shape = Shape { order: "t.started_at desc, t.id desc", ..BY_STATUS };
