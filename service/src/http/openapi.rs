//! The OpenAPI document, and its HTML page.

use serde_json::{Value, json};
use std::fmt::Write;
use utoipa::OpenApi;

use super::docs::{DispositionDoc, ReasonDoc, StateDoc, StatusDoc};
use super::{contacts, enrollments, erase, health, metrics, retry};

/// The default header for API keys.
pub(crate) const KEY_HEADER: &str = "X-WHIPPY-KEY";

/// Returns the document of a service that reads keys from the header.
pub(crate) fn document(key_header: &str) -> Value {
    let mut document = json!(Api::openapi());
    document["components"]["securitySchemes"] = json!({
        "key": {"type": "apiKey", "in": "header", "name": key_header},
        "x_api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    });
    document["security"] = json!([{"key": []}, {"x_api_key": []}, {"bearer": []}]);
    document
}

/// Returns the document as an HTML page without scripts.
pub(crate) fn page(document: &Value) -> String {
    let title = escaped(&document["info"]["title"]);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n<main>\n<h1>{title}</h1>\n<p>{}</p>\n\
         <p>Each request needs an API key in the header <code>{}</code>, <code>X-API-Key</code> or \
         <code>Authorization: Bearer</code>. Machine-readable document: <a href=\"/openapi.json\">openapi.json</a>.</p>\n",
        escaped(&document["info"]["description"]),
        escaped(&document["components"]["securitySchemes"]["key"]["name"]),
    );
    for (path, operations) in members(&document["paths"]) {
        for (method, operation) in members(operations) {
            let _infallible = writeln!(
                html,
                "<section><h2 id=\"{id}\"><code>{} {}</code></h2>\n<p>{}. {}</p>",
                method.to_uppercase(),
                text(path),
                escaped(&operation["summary"]),
                escaped(&operation["description"]),
                id = escaped(&operation["operationId"]),
            );
            parameters(&mut html, operation);
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !body.is_null() {
                let _infallible = writeln!(html, "<p>Body: {}</p>", kind(body));
            }
            html.push_str("<dl>\n");
            for (status, response) in members(&operation["responses"]) {
                let schema =
                    members(&response["content"]).next().map_or(&Value::Null, |(_, content)| &content["schema"]);
                let _infallible = writeln!(
                    html,
                    "<dt>{}</dt><dd>{} {}</dd>",
                    text(status),
                    escaped(&response["description"]),
                    kind(schema)
                );
            }
            html.push_str("</dl></section>\n");
        }
    }
    html.push_str("<h2>Shapes</h2>\n");
    for (name, schema) in members(&document["components"]["schemas"]) {
        let _infallible = writeln!(
            html,
            "<section><h3 id=\"{0}\">{0}</h3>\n<p>{1} {2}</p>\n<dl>",
            text(name),
            escaped(&schema["description"]),
            if schema["properties"].is_null() { kind(schema) } else { String::new() }
        );
        for (property, schema) in members(&schema["properties"]) {
            let _infallible = writeln!(
                html,
                "<dt><code>{}</code></dt><dd>{} {}</dd>",
                text(property),
                kind(schema),
                escaped(&schema["description"])
            );
        }
        html.push_str("</dl></section>\n");
    }
    html.push_str("</main>\n</html>\n");
    html
}

fn parameters(html: &mut String, operation: &Value) {
    html.push_str("<dl>\n");
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let _infallible = writeln!(
            html,
            "<dt><code>{}</code> ({})</dt><dd>{} {}</dd>",
            escaped(&parameter["name"]),
            escaped(&parameter["in"]),
            kind(&parameter["schema"]),
            escaped(&parameter["description"])
        );
    }
    html.push_str("</dl>\n");
}

/// Returns the type of a value as HTML.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#{0}\">{0}</a>", text(name));
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(|value| format!("<code>{}</code>", escaped(value))).collect();
        return values.join(", ");
    }
    for choice in ["oneOf", "allOf", "anyOf"] {
        if let Some(schemas) = schema[choice].as_array() {
            let separator = if choice == "allOf" { " with " } else { " or " };
            return schemas.iter().map(kind).collect::<Vec<_>>().join(separator);
        }
    }
    let types: Vec<String> = match &schema["type"] {
        Value::Array(types) => types.iter().map(escaped).collect(),
        Value::Null if schema["properties"].is_object() => vec!["object".to_owned()],
        Value::Null => return String::new(),
        one => vec![escaped(one)],
    };
    let mut kind = types.join(" or ");
    if let Some(format) = schema["format"].as_str() {
        let _infallible = write!(kind, " ({})", text(format));
    }
    if !schema["items"].is_null() {
        let _infallible = write!(kind, " of {}", self::kind(&schema["items"]));
    }
    if schema["properties"].is_object() {
        let names: Vec<String> = members(&schema["properties"])
            .map(|(name, schema)| format!("<code>{}</code>: {}", text(name), self::kind(schema)))
            .collect();
        let _infallible = write!(kind, " {{ {} }}", names.join(", "));
    }
    kind
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Escapes a text of the document. Returns an empty text for other values.
fn escaped(value: &Value) -> String {
    text(value.as_str().unwrap_or_default())
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "enroll",
        description = "Enrolls contacts into outreach sequences. An API key belongs to one organization, and gives no access to \
                       data of others. Every error has the same shape.",
    ),
    paths(
        enrollments::create,
        enrollments::show,
        enrollments::list,
        retry::one,
        retry::all,
        contacts::list_for_sequence,
        contacts::list,
        erase::erase,
        contacts::sequences,
        health::healthz,
        health::readyz,
        metrics::show,
    ),
    components(schemas(DispositionDoc, ReasonDoc, StateDoc, StatusDoc))
)]
struct Api;
