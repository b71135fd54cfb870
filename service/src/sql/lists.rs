//! The lists of the HTTP API. Every statement filters by organization.

use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

use enroll::model::StepContactStatus;
use enroll::{
    EnrollmentId, EnrollmentState, OrganizationId, Rejection, RepositoryError, SequenceId, StepId, Timestamp,
};
use uuid::Uuid;

use super::list::{List, Shape, total};
use super::{Page, Pagination, Param, Position, Row, Sort, id_places, invalid_data, not_null};
use crate::handles::Handle;

/// The state of an enrollment.
#[derive(Debug)]
pub(crate) struct EnrollmentRow {
    pub(crate) id: EnrollmentId,
    pub(crate) sequence_id: SequenceId,
    pub(crate) state: String,
    pub(crate) accepted_at: Timestamp,
    pub(crate) completed_at: Option<Timestamp>,
    pub(crate) removed_at: Option<Timestamp>,
    pub(crate) attempts: u32,
    /// True if an attempt failed.
    pub(crate) failed_before: bool,
    pub(crate) rejection: Option<Rejection>,
}

impl EnrollmentRow {
    /// The columns of the table `e`.
    pub(super) const COLUMNS: &str =
        "e.id, e.sequence_id, e.state, e.at, e.completed_at, e.removed_at, cast(e.attempts as bigint),
        cast(case when e.error is null then 0 else 1 end as bigint), cast(e.rejection as text)";

    /// Reads the columns in their order.
    pub(super) fn read(row: &mut dyn Row) -> Result<Self, RepositoryError> {
        Ok(Self {
            id: EnrollmentId::from_uuid(not_null(row.id()?)?),
            sequence_id: SequenceId::from_uuid(not_null(row.id()?)?),
            state: not_null(row.text()?)?,
            accepted_at: not_null(row.instant()?)?,
            completed_at: row.instant()?,
            removed_at: row.instant()?,
            attempts: to_u32(row.number()?)?,
            failed_before: row.number()? == Some(1),
            rejection: json(row.text()?.as_deref())?,
        })
    }
}

/// Returns a page of enrollments, the newest first.
pub(crate) async fn enrollments(
    handle: &mut Handle,
    organization_id: OrganizationId,
    states: &[String],
    pagination: &Pagination,
) -> Result<Page<EnrollmentRow>, RepositoryError> {
    let of_states = |list: &mut List| list.filter_one_of("t.status", states.iter().cloned().map(Param::Text));
    let total = total(handle, organization_id, "enrollments", of_states).await?;
    let mut list = List::new(
        organization_id,
        Shape {
            table: "enroll.enrollments t",
            keys: "t.id, t.at",
            order: "t.at desc, t.id desc",
            merged_order: "k.at desc, k.id desc",
            columns: EnrollmentRow::COLUMNS,
            joins: "join enroll.enrollments e on e.organization_id = $1 and e.id = k.id",
        },
    );
    let after = match &pagination.after {
        Some(Position { sort: Sort::Instant(at), id }) => {
            Some((list.param(Param::Instant(at.as_datetime())), list.param(Param::Id(*id))))
        }
        _ => None,
    };
    let all = EnrollmentState::WORDS.map(str::to_owned);
    for state in if states.is_empty() { &all[..] } else { states } {
        let state = list.param(Param::Text(state.clone()));
        match &after {
            Some((at, id)) => list.part(format!("t.state = {state} and (t.at, t.id) < ({at}, {id})")),
            None => list.part(format!("t.state = {state}")),
        }
    }
    let position = |row: &EnrollmentRow| Position { sort: Sort::Instant(row.accepted_at), id: row.id.as_uuid() };
    list.read(handle, pagination, total, EnrollmentRow::read, position).await
}

/// A contact in a step of a sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepContactRow {
    pub(crate) id: Uuid,
    pub(crate) status: String,
    pub(crate) step_id: Uuid,
    pub(crate) sequence_id: Uuid,
    pub(crate) contact: NamedContact,
    pub(crate) channel_id: Option<Uuid>,
    pub(crate) scheduled_at: Timestamp,
    pub(crate) times_processed: u32,
    pub(crate) run_id: Uuid,
    /// When its run started.
    pub(crate) run_created_at: Option<Timestamp>,
    /// The instant of the last request that enrolled one of the run's step contacts. Absent if a host wrote them.
    pub(crate) run_updated_at: Option<Timestamp>,
    /// When its run started.
    pub(crate) created_at: Option<Timestamp>,
    /// The instant of the last request that enrolled it. Absent if a host wrote the row.
    pub(crate) updated_at: Option<Timestamp>,
}

/// The name and the keys of a contact.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamedContact {
    pub(crate) id: Uuid,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) external_id: Option<String>,
}

impl NamedContact {
    /// Reads the columns in the order of the fields.
    pub(super) fn read(row: &mut dyn Row) -> Result<Self, RepositoryError> {
        Ok(Self {
            id: not_null(row.id()?)?,
            name: row.text()?,
            email: row.text()?,
            phone: row.text()?,
            external_id: row.text()?,
        })
    }
}

/// Returns the names and the keys of contacts. A contact that does not exist is absent.
pub(crate) async fn named_contacts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    ids: impl Iterator<Item = Uuid>,
) -> Result<Vec<NamedContact>, RepositoryError> {
    let ids: BTreeSet<Uuid> = ids.collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut params = vec![Param::Id(organization_id.as_uuid())];
    let places = id_places(&mut params, ids);
    let sql = format!(
        "select c.id, c.name, c.email, c.phone, c.external_id from enroll.contacts c
        where c.organization_id = $1 and c.id in ({places})"
    );
    handle.query(&sql, &params, NamedContact::read).await
}

/// Returns a page of the contacts of a sequence, the newest first.
pub(crate) async fn step_contacts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    sequence_id: SequenceId,
    statuses: &[String],
    steps: &[StepId],
    pagination: &Pagination,
) -> Result<Page<StepContactRow>, RepositoryError> {
    let of_steps = |list: &mut List| {
        let sequence = list.param(Param::Id(sequence_id.as_uuid()));
        list.filter(&format!("t.sequence_id = {sequence}"));
        list.filter_one_of("t.step_id", steps.iter().map(|id| Param::Id(id.as_uuid())));
    };
    let total = total(handle, organization_id, "step_contacts", |list| {
        of_steps(list);
        list.filter_one_of("t.status", statuses.iter().cloned().map(Param::Text));
    });
    let total = total.await?;
    let mut list = List::new(
        organization_id,
        Shape {
            table: "enroll.step_contacts t",
            keys: "t.id, t.contact_id, t.sequence_id",
            // PostgreSQL would read the primary key, with the rows of each status, for the order by id alone.
            order: "t.status desc, t.id desc",
            merged_order: "k.id desc",
            columns: "s.id, s.status, s.step_id, s.sequence_id, c.id, c.name, c.email, c.phone, c.external_id,
            s.channel_id, s.scheduled_at, cast(s.times_processed as bigint), s.run_id, r.started_at, (
                select max(o.at) from (
                    select f.at from enroll.step_contacts o join enroll.enrollments f
                        on f.organization_id = $1 and f.id = o.enrollment_id
                    where o.organization_id = $1 and o.contact_id = s.contact_id and o.sequence_id = s.sequence_id
                        and o.run_id = s.run_id and o.status in ('pending', 'active')
                    union all select f.at from enroll.step_contacts o join enroll.enrollments f
                        on f.organization_id = $1 and f.id = o.enrollment_id
                    where o.organization_id = $1 and o.contact_id = s.contact_id and o.sequence_id = s.sequence_id
                        and o.run_id = s.run_id and o.status not in ('pending', 'active')
                ) o
            ), e.at",
            joins:
                "join enroll.step_contacts s on s.organization_id = $1 and s.id = k.id and s.contact_id = k.contact_id
                and s.sequence_id = k.sequence_id
            join enroll.contacts c on c.organization_id = $1 and c.id = k.contact_id
            left join enroll.runs r on r.organization_id = $1 and r.id = s.run_id
            left join enroll.enrollments e on e.organization_id = $1 and e.id = s.enrollment_id",
        },
    );
    of_steps(&mut list);
    let after = pagination.after.as_ref().map(|position| list.param(Param::Id(position.id)));
    let all = StepContactStatus::ALL.map(|status| status.as_str().to_owned());
    for status in if statuses.is_empty() { &all[..] } else { statuses } {
        let status = list.param(Param::Text(status.clone()));
        // Not `=`: it would take the status out of the order.
        list.part(match &after {
            Some(id) => format!("t.status >= {status} and (t.status, t.id) < ({status}, {id})"),
            None => format!("t.status >= {status} and t.status <= {status}"),
        });
    }
    let position = |row: &StepContactRow| Position { sort: Sort::None, id: row.id };
    let decode = |row: &mut dyn Row| {
        Ok(StepContactRow {
            id: not_null(row.id()?)?,
            status: not_null(row.text()?)?,
            step_id: not_null(row.id()?)?,
            sequence_id: not_null(row.id()?)?,
            contact: NamedContact::read(row)?,
            channel_id: row.id()?,
            scheduled_at: not_null(row.instant()?)?,
            times_processed: to_u32(row.number()?)?,
            run_id: not_null(row.id()?)?,
            run_created_at: row.instant()?,
            run_updated_at: row.instant()?,
            created_at: None,
            updated_at: row.instant()?,
        })
    };
    let mut page = list.read(handle, pagination, total, decode, position).await?;
    page.data.iter_mut().for_each(|row| row.created_at = row.run_created_at);
    Ok(page)
}

pub(super) fn json<T: serde::de::DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, RepositoryError> {
    // The error of `serde_json` quotes the value, which can be personal.
    let damaged = |e: serde_json::Error| {
        let (line, column) = (e.line(), e.column());
        invalid_data(format!("a stored JSON value is not valid at line {line}, column {column}"))
    };
    text.map(serde_json::from_str).transpose().map_err(damaged)
}

fn to_u32(number: Option<i64>) -> Result<u32, RepositoryError> {
    u32::try_from(not_null(number)?).map_err(invalid_data)
}
