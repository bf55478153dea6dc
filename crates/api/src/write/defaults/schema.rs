//! Defaults that the schema declares, for every kind and for custom resources.

use serde_json::Value;

use crate::presence::{Presence, is_zero};
use crate::schema::{Field, Schema, Type};

/// Fills in the defaults that `schema` declares for a value of type `ty`.
pub fn of_schema(schema: &Schema, ty: &Type, value: &mut Value) {
    match (schema.resolve(ty), value) {
        (Type::Object(object), Value::Object(map)) => {
            for field in &object.fields {
                if let Some(default) = &field.default
                    && map.get(field.name.as_ref()).is_none_or(|v| says_nothing(schema, field, v))
                {
                    map.insert(field.name.to_string(), default.as_ref().clone());
                }
                if let Some(value) = map.get_mut(field.name.as_ref()) {
                    of_schema(schema, &field.ty, value);
                }
            }
        }
        (Type::Map(inner), Value::Object(map)) => {
            map.values_mut().for_each(|value| of_schema(schema, &inner.elem, value));
        }
        (Type::Array(inner), Value::Array(items)) => {
            items.iter_mut().for_each(|item| of_schema(schema, &inner.elem, item));
        }
        _ => {}
    }
}

/// Whether `value` leaves the field to its default: a field that is no pointer in Go cannot tell a
/// zero from nothing.
fn says_nothing(schema: &Schema, field: &Field, value: &Value) -> bool {
    match field.presence {
        Presence::LeftOut | Presence::Zero => is_zero(schema, field, value),
        Presence::AsSaid | Presence::Null => value.is_null() && !field.nullable,
    }
}
