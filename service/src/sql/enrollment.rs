//! One enrollment: its state with its counts, and a page of its outcomes. No statement reads a whole report.

use enroll::report::{Counts, OutcomeCount};
use enroll::{Disposition, EnrollmentId, EnrollmentReport, OrganizationId, Outcome, Reason, RepositoryError};

use super::lists::json;
use super::{EnrollmentRow, Page, Pagination, Param, Row, invalid_data, not_null};
use crate::handles::Handle;

/// The report of a completed enrollment, without its outcomes.
pub(crate) struct EnrollmentResult {
    pub(crate) counts: Counts,
    pub(crate) report: EnrollmentReport,
}

/// Reads the state of an enrollment, and its result if it is completed.
pub(crate) async fn enrollment(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> Result<Option<(EnrollmentRow, Option<EnrollmentResult>)>, RepositoryError> {
    let sql = format!(
        "select {}, cast(e.report as text), {COUNTS} from enroll.enrollments e
        where e.organization_id = $1 and e.id = $2",
        EnrollmentRow::COLUMNS
    );
    let key = key(organization_id, id);
    let found = handle.query(&sql, &key, |row| {
        let state = EnrollmentRow::read(row)?;
        let report: Option<EnrollmentReport> = json(row.text()?.as_deref())?;
        let result = match report {
            Some(report) => Some(EnrollmentResult { report, counts: read_counts(row)? }),
            None => None,
        };
        Ok((state, result))
    });
    Ok(found.await?.pop())
}

/// The outcomes to return: those with one of the dispositions, and with one of the reasons. An empty list allows all.
pub(crate) struct OutcomeFilter {
    pub(crate) dispositions: Vec<String>,
    pub(crate) reasons: Vec<String>,
}

impl OutcomeFilter {
    /// Returns the filter that allows all outcomes.
    pub(crate) fn all() -> Self {
        Self { dispositions: Vec::new(), reasons: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.dispositions.is_empty() && self.reasons.is_empty()
    }

    fn allows<'c>(&self, disposition: Disposition, mut codes: impl Iterator<Item = &'c str>) -> bool {
        (self.dispositions.is_empty() || self.dispositions.iter().any(|word| word == disposition.as_str()))
            && (self.reasons.is_empty() || codes.any(|code| self.reasons.iter().any(|reason| reason == code)))
    }

    fn allows_outcome(&self, outcome: &Outcome) -> bool {
        self.allows(outcome.disposition, outcome.reasons.iter().map(Reason::code))
    }

    /// Returns the number of outcomes that the filter allows.
    fn count(&self, counts: &[OutcomeCount]) -> u64 {
        let allowed = |count: &&OutcomeCount| self.allows(count.disposition, count.reasons.iter().map(|code| &**code));
        counts.iter().filter(allowed).map(|count| count.count as u64).sum()
    }
}

/// Reads a page of the outcomes of a completed enrollment. `all` is their number without a filter.
pub(crate) async fn outcomes(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: EnrollmentId,
    filter: &OutcomeFilter,
    pagination: &Pagination,
    all: usize,
) -> Result<Page<Outcome>, RepositoryError> {
    let (offset, limit) = (u64::from(pagination.offset), u64::from(pagination.limit));
    let page = offset..offset + limit;
    let mut params = key(organization_id, id).to_vec();
    if filter.is_empty() {
        params.extend([number(page.start)?, number(page.end)?]);
        let chunks = chunks(handle, "o.last_index >= $3 and o.first_index < $4", &params).await?;
        let data = chunks.into_iter().filter(|outcome| page.contains(&(outcome.index as u64))).collect();
        return Ok(Page { data, total: all as u64, next: None });
    }
    let sql = "select o.first_index, cast(o.counts as text) from enroll.enrollment_outcomes o
        where o.organization_id = $1 and o.enrollment_id = $2 order by o.first_index";
    let counted = handle.query(sql, &params, |row| {
        let first = not_null(row.number()?)?;
        let counts: Option<Vec<OutcomeCount>> = json(row.text()?.as_deref())?;
        Ok((first, filter.count(&not_null(counts)?)))
    });
    // The number of allowed outcomes, also of those before the first chunk of the page.
    let (mut total, mut before, mut places) = (0, None, Vec::new());
    for (first, count) in counted.await? {
        if count > 0 && total < page.end && total + count > page.start {
            before.get_or_insert(total);
            params.push(Param::Number(first));
            places.push(format!("${}", params.len()));
        }
        total += count;
    }
    let Some(before) = before else { return Ok(Page { data: Vec::new(), total, next: None }) };
    let chunks = chunks(handle, &format!("o.first_index in ({})", places.join(", ")), &params).await?;
    let allowed = chunks.into_iter().filter(|outcome| filter.allows_outcome(outcome));
    let skipped = usize::try_from(page.start - before).map_err(invalid_data)?;
    let data = allowed.skip(skipped).take(pagination.limit as usize).collect();
    Ok(Page { data, total, next: None })
}

/// Reads the outcomes of the chunks that meet a condition.
async fn chunks(handle: &mut Handle, condition: &str, params: &[Param]) -> Result<Vec<Outcome>, RepositoryError> {
    let sql = format!(
        "select cast(o.outcomes as text) from enroll.enrollment_outcomes o
        where o.organization_id = $1 and o.enrollment_id = $2 and {condition} order by o.first_index"
    );
    let chunks = handle.query(&sql, params, |row| {
        let outcomes: Option<Vec<Outcome>> = json(row.text()?.as_deref())?;
        not_null(outcomes)
    });
    Ok(chunks.await?.into_iter().flatten().collect())
}

fn key(organization_id: OrganizationId, id: EnrollmentId) -> [Param; 2] {
    [Param::Id(organization_id.as_uuid()), Param::Id(id.as_uuid())]
}

/// Reads the columns of [`COUNTS`].
pub(super) fn read_counts(row: &mut dyn Row) -> Result<Counts, RepositoryError> {
    let mut counts = Counts::default().to_array();
    for count in &mut counts {
        *count = usize::try_from(not_null(row.number()?)?).map_err(invalid_data)?;
    }
    Ok(Counts::from_array(counts))
}

fn number(index: u64) -> Result<Param, RepositoryError> {
    i64::try_from(index).map(Param::Number).map_err(invalid_data)
}

const COUNTS: &str =
    "e.added, e.re_added, e.reprocessed, e.ignored, e.duplicate, e.contacts_created, e.conversations_created";
