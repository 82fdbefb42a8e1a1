//! Schemas of values that several types share, or that Rust's types do not say.

use serde_json::json;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::access::Scope;
use crate::domain::command::DomainBody;
use crate::link::command::LinkBody;
use crate::report::{ReportReason, ReportState};

/// An id: a positive 63-bit integer, as a string.
pub(crate) fn id() -> Schema {
    text().pattern(Some("^[1-9][0-9]{0,18}$")).examples([json!("3706140701492857403")]).into()
}

/// A time.
pub(crate) fn time() -> Schema {
    text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples([json!("2030-12-31T23:59:59Z")])
        .into()
}

/// A time, or none.
pub(crate) fn optional_time() -> Schema {
    nullable(time())
}

/// An id, or none.
pub(crate) fn optional_id() -> Schema {
    nullable(id())
}

/// Ids.
pub(crate) fn ids() -> Schema {
    ArrayBuilder::new().items(RefOr::T(id())).into()
}

/// At most 50 ids, or none.
pub(crate) fn optional_ids() -> Schema {
    let ids = ArrayBuilder::new().items(RefOr::T(id())).max_items(Some(50));
    OneOfBuilder::new().item(ids).item(ObjectBuilder::new().schema_type(Type::Null)).into()
}

/// What a key may do.
pub(crate) fn scopes() -> Schema {
    let scope = words(&Scope::ALL.map(Scope::as_str));
    ArrayBuilder::new().items(RefOr::T(scope)).min_items(Some(1)).into()
}

/// The status of a redirect.
pub(crate) fn redirect_status() -> Schema {
    ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([301, 302, 307, 308])).into()
}

pub(crate) fn optional_redirect_status() -> Schema {
    nullable(redirect_status())
}

/// What a link's owner decides about its code.
pub(crate) fn optional_state() -> Schema {
    nullable(words(&["active", "disabled"]))
}

/// What is wrong with a link.
pub(crate) fn report_reason() -> Schema {
    words(&ReportReason::ALL.map(ReportReason::as_str))
}

/// What became of a report.
pub(crate) fn report_state() -> Schema {
    words(&ReportState::ALL.map(ReportState::as_str))
}

/// How far a domain is.
pub(crate) fn domain_state() -> Schema {
    words(&crate::domain::api::STATES)
}

/// What a link's code is good for.
pub(crate) fn state() -> Schema {
    words(&["active", "disabled", "blocked", "deleted"])
}

/// Who wins where target and visitor have the same parameter.
pub(crate) fn prefer() -> Schema {
    words(&["target", "visitor"])
}

pub(crate) fn optional_prefer() -> Schema {
    nullable(prefer())
}

/// Which parameters are passed on.
pub(crate) fn forward() -> Schema {
    let name = text().pattern(Some("^[A-Za-z0-9_.~-]{1,64}$"));
    let names =
        ArrayBuilder::new().items(name).min_items(Some(1)).max_items(Some(32)).unique_items(true);
    OneOfBuilder::new().item(words(&["none", "all"])).item(names).into()
}

pub(crate) fn optional_forward() -> Schema {
    nullable(forward())
}

/// How long a step of a series is.
pub(crate) fn interval() -> Schema {
    words(&["minute", "hour", "day", "week", "month", "year"])
}

/// One of a few words.
pub(crate) fn words(words: &[&str]) -> Schema {
    text().enum_values(Some(words.iter().copied())).into()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn nullable(schema: Schema) -> Schema {
    match schema {
        Schema::Object(mut object) => {
            let SchemaType::Type(kind) = object.schema_type else { return object.into() };
            object.schema_type = SchemaType::from_iter([kind, Type::Null]);
            if let Some(values) = &mut object.enum_values {
                values.push(serde_json::Value::Null);
            }
            object.into()
        }
        Schema::OneOf(mut one_of) => {
            one_of.items.push(ObjectBuilder::new().schema_type(Type::Null).into());
            one_of.into()
        }
        other => other,
    }
}

/// A link to be made.
pub(crate) struct NewLink;

impl PartialSchema for NewLink {
    fn schema() -> RefOr<Schema> {
        link_body(|object| {
            object.required.push("url".into());
            object.examples.push(json!({"url": "https://www.rust-lang.org/learn"}));
        })
    }
}

impl ToSchema for NewLink {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        LinkBody::schemas(schemas);
    }
}

/// A change of a link.
pub(crate) struct LinkPatch;

impl PartialSchema for LinkPatch {
    fn schema() -> RefOr<Schema> {
        link_body(|object| {
            object.properties.remove("code");
            object.properties.remove("domain");
            object.examples.push(json!({"title": "Learn Rust"}));
        })
    }
}

impl ToSchema for LinkPatch {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        LinkBody::schemas(schemas);
    }
}

/// A change of a domain.
pub(crate) struct DomainPatch;

impl PartialSchema for DomainPatch {
    fn schema() -> RefOr<Schema> {
        let mut schema = DomainBody::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.description = None;
            object.properties.remove("host");
            object.properties.remove("folds_case");
            object.examples.push(json!({"home_url": "https://www.rust-lang.org/"}));
        }
        schema
    }
}

impl ToSchema for DomainPatch {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        DomainBody::schemas(schemas);
    }
}

fn link_body(edit: impl FnOnce(&mut utoipa::openapi::Object)) -> RefOr<Schema> {
    let mut schema = LinkBody::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.description = None;
        edit(object);
    }
    schema
}
