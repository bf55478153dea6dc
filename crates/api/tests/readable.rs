//! What has been decoded can be read by the typed views of controllers and node, whatever the
//! client sent.

use std::sync::LazyLock;

use coracle_api::schema::{Schema, StringFormat, Type};
use coracle_api::{Kind, Kinds, defaults, structural};
use k8s_openapi::api::{apps, core, policy, rbac, storage};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A source of choices, so that a failing case shrinks with its bytes.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn pick(&mut self, of: usize) -> usize {
        self.0.next().map_or(0, |byte| usize::from(*byte) % of)
    }
}

fn scalar(choices: &mut Choices<'_>) -> Value {
    let all = [
        json!(null),
        json!(""),
        json!("1"),
        json!("text"),
        json!("1Gi"),
        json!("50%"),
        json!("2026-01-01T00:00:00Z"),
        json!("2026-01-01T00:00:00.123456789+02:00"),
        json!("AAA="),
        json!(0),
        json!(7),
        json!(-1),
        json!(1.5),
        json!(3_000_000_000_i64),
        json!(u64::MAX),
        json!(true),
        json!([]),
        json!({}),
        json!([null]),
        json!({"a": null}),
    ];
    all[choices.pick(all.len())].clone()
}

fn fitting(ty: &Type, choices: &mut Choices<'_>) -> Value {
    match ty {
        Type::Boolean => json!(choices.pick(2) == 0),
        Type::Integer | Type::Integer32 => json!(choices.pick(100)),
        Type::Number => json!(0.5),
        Type::String(StringFormat::Byte) => json!("AAA="),
        Type::String(StringFormat::DateTime) => json!("2026-01-01T00:00:00Z"),
        Type::IntOrString => [json!(1), json!("http")][choices.pick(2)].clone(),
        Type::Quantity => [json!("1Gi"), json!(0.5)][choices.pick(2)].clone(),
        _ => json!("text"),
    }
}

/// A value that is mostly of type `ty`, but not always.
fn value(schema: &Schema, ty: &Type, choices: &mut Choices<'_>, depth: usize) -> Value {
    if choices.pick(24) == 23 {
        return scalar(choices);
    }
    match schema.resolve(ty) {
        _ if depth > 7 => Value::Null,
        Type::Object(object) => {
            let mut map = Map::new();
            for _ in 0..choices.pick(5) {
                if !object.fields.is_empty() {
                    let field = &object.fields[choices.pick(object.fields.len())];
                    let value = value(schema, &field.ty, choices, depth + 1);
                    map.insert(field.name.to_string(), value);
                }
            }
            Value::Object(map)
        }
        Type::Map(inner) => {
            let keys = ["a", "cpu", "memory"].into_iter().take(choices.pick(4));
            let member =
                |key: &str| (key.to_string(), value(schema, &inner.elem, choices, depth + 1));
            Value::Object(keys.map(member).collect())
        }
        Type::Array(inner) => {
            let count = choices.pick(3);
            (0..count).map(|_| value(schema, &inner.elem, choices, depth + 1)).collect()
        }
        scalar => fitting(scalar, choices),
    }
}

static KINDS: LazyLock<Kinds> = LazyLock::new(Kinds::builtin);

/// An object of `kind` that `bytes` choose as it is stored, and as it is when it was read and is
/// stored again; `None` when it cannot be decoded.
fn stored_twice(kind: &Kind, bytes: &[u8]) -> Result<Option<[Value; 2]>, TestCaseError> {
    let unknown = || TestCaseError::fail(format!("no type {}", kind.schema));
    let ty = kind.types().type_named(&kind.schema).ok_or_else(unknown)?;
    let mut object = value(kind.types(), ty, &mut Choices(bytes.iter()), 0);
    if !object.is_object() || structural::decode(kind, &mut object).is_err() {
        return Ok(None);
    }
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind);
    defaults::apply(kind, &mut object);
    let mut again = object.clone();
    let unknown = structural::decode(kind, &mut again);
    prop_assert_eq!(unknown, Ok(vec![]));
    defaults::apply(kind, &mut again);
    prop_assert_eq!(&again, &object, "the stored form of a {} is stable", kind.kind);
    Ok(Some([object, again]))
}

fn check<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<bool, TestCaseError> {
    let unknown = || TestCaseError::fail(format!("no kind {name}"));
    let kind = KINDS.iter().find(|kind| kind.schema == name).ok_or_else(unknown)?;
    let Some([object, mut again]) = stored_twice(kind, bytes)? else { return Ok(false) };
    // Nothing that was decoded makes a check of its kind fail in any way but by saying so.
    let strategy = &kind.strategy;
    (strategy.prepare_create)(&mut again);
    drop((strategy.validate)(&again));
    drop((strategy.validate_create)(&again));
    drop((strategy.validate_update)(&again, &object));
    drop((strategy.validate_status)(&again, &object));
    for object in [object, again] {
        let read = serde_json::from_value::<T>(object.clone());
        prop_assert!(read.is_ok(), "{:?}: {}", read.err(), object);
    }
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn what_is_decoded_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check::<core::v1::Pod>("io.k8s.api.core.v1.Pod", &bytes)?;
        check::<apps::v1::StatefulSet>("io.k8s.api.apps.v1.StatefulSet", &bytes)?;
        check::<apps::v1::ControllerRevision>("io.k8s.api.apps.v1.ControllerRevision", &bytes)?;
        check::<core::v1::Service>("io.k8s.api.core.v1.Service", &bytes)?;
        check::<core::v1::PersistentVolumeClaim>("io.k8s.api.core.v1.PersistentVolumeClaim", &bytes)?;
        check::<core::v1::PersistentVolume>("io.k8s.api.core.v1.PersistentVolume", &bytes)?;
        check::<core::v1::ConfigMap>("io.k8s.api.core.v1.ConfigMap", &bytes)?;
        check::<core::v1::Secret>("io.k8s.api.core.v1.Secret", &bytes)?;
        check::<core::v1::Node>("io.k8s.api.core.v1.Node", &bytes)?;
        check::<core::v1::Namespace>("io.k8s.api.core.v1.Namespace", &bytes)?;
        check::<core::v1::Event>("io.k8s.api.core.v1.Event", &bytes)?;
        check::<core::v1::ServiceAccount>("io.k8s.api.core.v1.ServiceAccount", &bytes)?;
        check::<policy::v1::PodDisruptionBudget>("io.k8s.api.policy.v1.PodDisruptionBudget", &bytes)?;
        check::<rbac::v1::ClusterRole>("io.k8s.api.rbac.v1.ClusterRole", &bytes)?;
        check::<storage::v1::StorageClass>("io.k8s.api.storage.v1.StorageClass", &bytes)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn every_kind_is_stored_again_as_it_was_read(
        bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        for kind in KINDS.iter().filter(|kind| kind.types().type_named(&kind.schema).is_some()) {
            stored_twice(kind, &bytes)?;
        }
    }
}

#[test]
fn the_generator_makes_values_that_are_read() {
    let bytes: Vec<u8> = (0..=255).map(|byte: u8| byte.wrapping_mul(7)).collect();
    let read = (0..64)
        .filter(|at| check::<core::v1::Pod>("io.k8s.api.core.v1.Pod", &bytes[*at..]).unwrap());
    assert!(read.count() > 0);
}
