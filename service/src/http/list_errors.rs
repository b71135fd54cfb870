//! Why a list is refused, as a response.

use axum::http::StatusCode;

use enroll::Rejection;
use enroll_import::{ColumnRef, Edit, ListError};

use super::errors::{ApiError, ErrorItem};
use super::list_options::{ListOptions, member};
use super::upload::file_too_large;
use crate::causes;

/// Returns the response for a list that cannot be read with these options. `name` is the name of its file.
pub(crate) fn refused(name: &str, options: &ListOptions, error: &ListError) -> ApiError {
    let described = |help: &str| {
        let separator = if help.is_empty() { "" } else { "; " };
        format!("{name}: {error}{separator}{help}")
    };
    let item = |path: String, help: &str| ErrorItem::new(error.code(), path, described(help));
    let at_file = |help: &str| item("/file".to_owned(), help);
    let first = |titles: &[String]| titles.first().map_or_else(|| "Title".to_owned(), Clone::clone);
    let items = match error {
        ListError::Io(_) | ListError::Changed => {
            tracing::error!(error = causes(error), "a temporary file cannot be read");
            return ApiError::internal();
        }
        ListError::TooLarge { limit } => return file_too_large(*limit),
        ListError::InvalidIdempotencyKey => vec![ErrorItem::new(error.code(), String::new(), error.to_string())],
        ListError::UnknownEncoding { .. } => vec![item("/options/encoding".to_owned(), "")],
        ListError::UnknownSheet { .. } | ListError::NoSheets => vec![item("/options/sheet".to_owned(), "")],
        ListError::NoSheetWithHeader { .. } => {
            let help = "set `options.sheet`, and map a column to a field in `options.mapping`";
            vec![item("/options/sheet".to_owned(), help)]
        }
        ListError::NoKeyColumn { titles } => {
            let help = format!("set `options.mapping`, such as `{{\"{}\": \"phone\"}}`", first(titles));
            vec![item("/options/mapping".to_owned(), &help)]
        }
        ListError::ConsentNotMapped { titles } => {
            let of_title = |title: &String| {
                let problem = format!(
                    "{name}: column `{}` may say who must not be contacted; set its field in `options.mapping` to \
                     `opted_out` or `opted_in`, or to `ignore`",
                    title.escape_debug()
                );
                ErrorItem::new(error.code(), format!("/options/mapping{}", member(title)), problem)
            };
            titles.iter().map(of_title).collect()
        }
        ListError::UnknownColumn { column, .. } | ListError::MappedTwice { column, .. } => {
            vec![item(column_path(options, column), "")]
        }
        ListError::NoCustomObject { .. } => {
            vec![item("/options/request/custom_data".to_owned(), "set `options.request.custom_data`")]
        }
        ListError::UnknownRow { row } => {
            let is_at_row = |edit: &Edit| match edit {
                Edit::SetCell { row: at, .. } | Edit::DropRow { row: at } => at == row,
                _ => false,
            };
            let index = options.edits.iter().position(is_at_row);
            let path = index.map_or_else(|| "/options/edits".to_owned(), |index| format!("/options/edits/{index}/row"));
            vec![item(path, "").at_row(*row, None)]
        }
        ListError::BadText { row, column, .. } => {
            vec![at_file("set `options.encoding`").at_row(*row, Some(column.clone()))]
        }
        ListError::OpenQuote { row } | ListError::RowTooLong { row, .. } => vec![at_file("").at_row(*row, None)],
        _ => vec![at_file("")],
    };
    ApiError::with_items(StatusCode::UNPROCESSABLE_ENTITY, items)
}

/// Returns the place of a column in the mapping or in an edit.
fn column_path(options: &ListOptions, column: &ColumnRef) -> String {
    let in_mapping = options.mapping.iter().position(|assignment| assignment.column == *column);
    let in_edits = |edit: &Edit| matches!(edit, Edit::SetCell { column: edited, .. } if edited == column);
    match (in_mapping, options.edits.iter().position(in_edits), column) {
        (Some(_), _, ColumnRef::Title(title)) => format!("/options/mapping{}", member(title)),
        (Some(index), _, _) => format!("/options/mapping/{index}/column"),
        (None, Some(index), _) => format!("/options/edits/{index}/column"),
        (None, None, _) => "/options".to_owned(),
    }
}

/// Returns the response for a request of a list that is refused: the faults of recipients have the row and the field, and
/// those of the request are in the options.
pub(crate) fn rejected(name: &str, rejection: &Rejection, rows: &[u64]) -> ApiError {
    let items = rejection.errors().iter().take(MAX_FAULTS).map(|fault| {
        let code = fault.code.code();
        let entry = fault.path.strip_prefix("/to/").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let row = entry.and_then(|(index, field)| Some((rows.get(index.parse::<usize>().ok()?)?, field)));
        match row {
            Some((row, field)) => {
                let problem = format!("{name}: row {row}, `{field}`: {}", fault.description);
                ErrorItem::new(code, "/file".to_owned(), problem).at_row(*row, Some(field.to_owned()))
            }
            None if fault.path.is_empty() => ErrorItem::new(code, String::new(), fault.description.clone()),
            None => ErrorItem::new(code, format!("/options/request{}", fault.path), fault.description.clone()),
        }
    });
    let status = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    ApiError::with_items(status, items.collect())
}

/// The number of faults in a response.
const MAX_FAULTS: usize = 100;
