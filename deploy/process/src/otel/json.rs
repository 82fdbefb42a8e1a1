//! Spans as OTLP in JSON: `ExportTraceServiceRequest` of opentelemetry-proto 1, in which ids are hex
//! and 64-bit integers are text.

use serde_json::{Value as Json, json};

use super::collect::{EndedSpan, Value};

const STATUS_ERROR: u8 = 2;

/// The body of one request.
pub(super) fn request(service: &str, spans: &[EndedSpan]) -> Vec<u8> {
    let resource = [("service.name", service), ("service.version", env!("CARGO_PKG_VERSION"))];
    let resource: Vec<_> =
        resource.map(|(key, text)| json!({ "key": key, "value": { "stringValue": text } })).into();
    let spans: Vec<_> = spans.iter().map(span).collect();
    let scope = json!({ "name": "carom", "version": env!("CARGO_PKG_VERSION") });
    json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": scope, "spans": spans }],
        }],
    })
    .to_string()
    .into_bytes()
}

fn span(span: &EndedSpan) -> Json {
    let attributes: Vec<_> = span.attributes.iter().map(attribute).collect();
    let mut json = json!({
        "traceId": format!("{:032x}", span.context.trace),
        "spanId": format!("{:016x}", span.context.span),
        "flags": u8::from(span.context.is_sampled),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.begin.as_nanos().to_string(),
        "endTimeUnixNano": span.end.as_nanos().to_string(),
        "attributes": attributes,
        "status": {},
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = format!("{parent:016x}").into();
    }
    if span.is_error {
        json["status"] = json!({ "code": STATUS_ERROR });
    }
    json
}

fn attribute((key, value): &(&str, Value)) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Integer(number) => json!({ "intValue": number.to_string() }),
        Value::Float(number) => json!({ "doubleValue": number }),
        Value::Bool(is) => json!({ "boolValue": is }),
    };
    json!({ "key": key, "value": value })
}
