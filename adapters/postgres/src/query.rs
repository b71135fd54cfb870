//! A statement of the engine: its text with the types of its parameters, and how a connection has prepared it.

use postgres_types::{Kind, Type};
use std::borrow::Cow;

/// A statement of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    text: Cow<'static, Text>,
    #[cfg(feature = "tracing")]
    name: &'static str,
    /// How one connection has prepared it. Otherwise it is sent with its text.
    #[cfg(feature = "tokio-postgres")]
    pub(crate) prepared: Option<tokio_postgres::Statement>,
}

impl Query {
    /// Creates a statement that is built when it runs.
    pub(crate) fn new(sql: impl Into<String>) -> Self {
        Self::of(Cow::Owned(Text::new(sql.into())))
    }

    pub(crate) fn of_text(text: &'static Text) -> Self {
        Self::of(Cow::Borrowed(text))
    }

    fn of(text: Cow<'static, Text>) -> Self {
        Self {
            text,
            #[cfg(feature = "tracing")]
            name: "other",
            #[cfg(feature = "tokio-postgres")]
            prepared: None,
        }
    }

    /// Sets the name in spans.
    #[cfg_attr(not(feature = "tracing"), expect(unused_mut, unused_variables, reason = "only spans need the name"))]
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        #[cfg(feature = "tracing")]
        {
            self.name = name;
        }
        self
    }

    /// Returns the name in spans.
    #[cfg(feature = "tracing")]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn text(&self) -> &Cow<'static, Text> {
        &self.text
    }

    /// Returns the types of the parameters.
    pub(crate) fn types(&self) -> &[Type] {
        &self.text.types
    }

    /// Returns the types of one row of the parameters: of an array, the type of its elements.
    pub(crate) fn row_types(&self) -> Vec<Type> {
        let types = self.types().iter().map(|parameter| match parameter.kind() {
            Kind::Array(element) => element.clone(),
            _ => parameter.clone(),
        });
        types.collect()
    }
}

/// The text of a statement, and the types of its parameters.
///
/// A driver encodes a parameter by its type. The server knows the types only after it has prepared the statement, so the text
/// has them: each parameter has a cast, such as `$2::uuid[]`. `$1` without a cast is the organization, a `uuid`.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) sql: String,
    pub(crate) types: Vec<Type>,
}

impl Text {
    pub(crate) fn new(sql: String) -> Self {
        let mut types = Vec::new();
        for parameter in sql.split('$').skip(1) {
            let digits = parameter.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = parameter.split_at(digits);
            let Some(index) = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) else { continue };
            if types.len() <= index {
                types.resize(index + 1, Type::UNKNOWN);
            }
            if let Some(found) = types.get_mut(index)
                && *found == Type::UNKNOWN
                && let Some(cast) = rest.strip_prefix("::")
            {
                let end = cast.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '[' | ']'));
                *found = type_of(cast.get(..end.unwrap_or(cast.len())).unwrap_or_default());
            }
        }
        if let Some(first) = types.first_mut().filter(|first| **first == Type::UNKNOWN) {
            *first = Type::UUID;
        }
        Self { sql, types }
    }
}

/// Returns a type by its name in SQL.
fn type_of(name: &str) -> Type {
    match name {
        "uuid" => Type::UUID,
        "uuid[]" => Type::UUID_ARRAY,
        "text" => Type::TEXT,
        "text[]" => Type::TEXT_ARRAY,
        "json" => Type::JSON,
        "json[]" => Type::JSON_ARRAY,
        "bytea" => Type::BYTEA,
        "boolean" => Type::BOOL,
        "boolean[]" => Type::BOOL_ARRAY,
        "smallint" => Type::INT2,
        "smallint[]" => Type::INT2_ARRAY,
        "integer" => Type::INT4,
        "integer[]" => Type::INT4_ARRAY,
        "bigint" => Type::INT8,
        "bigint[]" => Type::INT8_ARRAY,
        "float8" => Type::FLOAT8,
        "timestamptz" => Type::TIMESTAMPTZ,
        "timestamptz[]" => Type::TIMESTAMPTZ_ARRAY,
        _ => Type::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cast_of_a_parameter_is_its_type() {
        let text = Text::new("select $3, $2::text::json, $2::uuid, $3::bigint[] where organization_id = $1".to_owned());
        assert_eq!(text.types, [Type::UUID, Type::TEXT, Type::INT8_ARRAY]);
        assert_eq!(Text::new("select $1::float8, $2".to_owned()).types, [Type::FLOAT8, Type::UNKNOWN]);
        assert!(Text::new("select 1".to_owned()).types.is_empty());
    }
}
