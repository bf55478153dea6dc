//! The types of kinds: what of their objects expressions may count on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::schema::{self, Schema, StringFormat};

use crate::declared::escape;
use crate::types::{Field, ObjectType, Type};

/// The type of the objects that `schema` calls `definition`; of what holds itself, and of what may be
/// anything, nothing is known.
#[must_use]
pub fn described(schema: &Schema, definition: &str) -> Type {
    let mut describer = Describer { schema, open: BTreeSet::new(), known: BTreeMap::new() };
    match schema.type_named(definition) {
        Some(ty) => describer.of(ty, definition),
        None => Type::Dyn,
    }
}

struct Describer<'a> {
    schema: &'a Schema,
    /// Where types stand that are being described.
    open: BTreeSet<*const schema::Type>,
    known: BTreeMap<*const schema::Type, Type>,
}

impl Describer<'_> {
    fn of(&mut self, ty: &schema::Type, name: &str) -> Type {
        let ty = self.schema.resolve(ty);
        match ty {
            schema::Type::Any | schema::Type::IntOrString | schema::Type::Quantity => Type::Dyn,
            schema::Type::Boolean => Type::Bool,
            schema::Type::Integer | schema::Type::Integer32 => Type::Int,
            schema::Type::Number => Type::Double,
            schema::Type::String(StringFormat::Plain) => Type::String,
            schema::Type::String(StringFormat::Byte) => Type::Bytes,
            schema::Type::String(StringFormat::DateTime) => Type::Timestamp,
            schema::Type::Array(array) => Type::list(self.of(&array.elem, &format!("{name}.@idx"))),
            schema::Type::Map(map) => {
                Type::map(Type::String, self.of(&map.elem, &format!("{name}.@elem")))
            }
            schema::Type::Object(object) => self.object(ty, object, name),
            schema::Type::Ref(_) => Type::Dyn,
        }
    }

    fn object(&mut self, place: &schema::Type, object: &schema::Object, name: &str) -> Type {
        let place = std::ptr::from_ref(place);
        if let Some(known) = self.known.get(&place) {
            return known.clone();
        }
        if !self.open.insert(place) {
            return Type::Dyn;
        }
        let mut fields = BTreeMap::new();
        for field in &object.fields {
            let Some(escaped) = escape(&field.name) else { continue };
            let ty = self.of(&field.ty, &format!("{name}.{escaped}"));
            fields.insert(escaped, Field { json: (&*field.name).into(), ty });
        }
        self.open.remove(&place);
        let ty = Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }));
        self.known.insert(place, ty.clone());
        ty
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::Kinds;
    use coracle_api::resources::{CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS};

    use super::*;
    use crate::Environment;

    #[test]
    fn kinds_have_the_fields_that_they_have() {
        let kinds = Kinds::builtin();
        let wrong = |resource: &str, source: &str| {
            let row = kinds.stored(resource).unwrap();
            let environment =
                Environment::new().with("object", described(row.types(), &row.schema));
            let issues = environment.compile(source).err()?;
            Some(issues[0].message.clone())
        };
        for source in [
            "object.spec.replicas > 1 && object.metadata.name.startsWith('a')",
            "object.spec.template.spec.containers.all(c, c.image != '' && c.resources.limits.cpu != 1)",
            "object.metadata.creationTimestamp < timestamp('2026-01-01T00:00:00Z')",
            "object.metadata.labels['a'] == 'b' && object.spec.strategy.rollingUpdate.maxSurge == 1",
        ] {
            assert_eq!(wrong(DEPLOYMENTS, source), None, "{source}");
        }
        let told = "found no matching overload for '_>_' applied to '(int, string)'";
        assert_eq!(wrong(DEPLOYMENTS, "object.spec.replicas > '1'").as_deref(), Some(told));
        assert_eq!(
            wrong(DEPLOYMENTS, "object.spec.none").as_deref(),
            Some("undefined field 'none'")
        );
        let nested =
            "object.spec.versions[0].schema.openAPIV3Schema.properties['a'].properties['b'].x";
        assert_eq!(wrong(CUSTOM_RESOURCE_DEFINITIONS, nested), None, "what holds itself ends");
    }
}
