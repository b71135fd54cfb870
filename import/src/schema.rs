//! The schemas of types whose JSON is written by hand.

use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Ref, Schema};
use utoipa::openapi::{RefOr, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::dates::DateFormat;
use crate::field::Field;
use crate::mapping::{Assignment, Mapping};
use crate::options::Delimiter;

fn text(description: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).into()
}

impl PartialSchema for Delimiter {
    fn schema() -> RefOr<Schema> {
        text("What separates the cells of text: `,`, `;`, `|` or `tab`.")
    }
}

impl ToSchema for Delimiter {}

impl PartialSchema for DateFormat {
    fn schema() -> RefOr<Schema> {
        text("The order of day, month and year, and what separates them, such as `DD.MM.YYYY`.")
    }
}

impl ToSchema for DateFormat {}

impl PartialSchema for Field {
    fn schema() -> RefOr<Schema> {
        text("The meaning of a column, such as `phone`, `city`, `birth_date.day`, `properties.score` or `ignore`.")
    }
}

impl ToSchema for Field {}

impl PartialSchema for Mapping {
    fn schema() -> RefOr<Schema> {
        let field = || RefOr::<Schema>::Ref(Ref::from_schema_name(Field::name()));
        let by_title = ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(field()));
        let list = ArrayBuilder::new().items(Ref::from_schema_name(Assignment::name()));
        let both = OneOfBuilder::new().item(by_title).item(list);
        both.description(Some("The fields of columns: by title, or as a list.")).into()
    }
}

impl ToSchema for Mapping {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Field::name().into_owned(), Field::schema()));
        schemas.push((Assignment::name().into_owned(), Assignment::schema()));
        Assignment::schemas(schemas);
    }
}
