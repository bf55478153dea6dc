use super::{MAGIC, ProtobufError, Value, scalars, table};
use proptest::prelude::*;
use serde_json::json;

fn decode(bytes: &[u8]) -> Result<Value, ProtobufError> {
    super::decode(bytes).map(|(object, _)| object)
}

/// A field with bytes.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(number << 3 | 2).unwrap(), u8::try_from(bytes.len()).unwrap()];
    out.extend(bytes);
    out
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &types), field(2, raw), field(3, b""), field(4, b"")].concat()
}

#[test]
fn a_config_map_as_kubectl_sends_it() {
    let metadata = [
        field(1, b"c1"),
        field(3, b""),
        field(2, b""),
        field(4, b""),
        field(5, b""),
        field(6, b""),
        vec![0x38, 0],
        field(8, b""),
    ]
    .concat();
    let entry = [field(1, b"a"), field(2, b"b")].concat();
    let raw = [field(1, &metadata), field(2, &entry)].concat();
    assert_eq!(
        decode(&body("v1", "ConfigMap", &raw)).unwrap(),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c1"}, "data": {"a": "b"}})
    );
}

#[test]
fn bytes_become_base64_and_zero_replicas_stay() {
    let entry = [field(1, b"release"), field(2, b"\x00\xff")].concat();
    let secret = decode(&body("v1", "Secret", &field(2, &entry))).unwrap();
    assert_eq!(secret["data"]["release"], "AP8=");
    let spec = [vec![0x08, 0], vec![0x28, 0]].concat(); // replicas and minReadySeconds
    let deployment = decode(&body("apps/v1", "Deployment", &field(2, &spec))).unwrap();
    assert_eq!(deployment["spec"], json!({"replicas": 0}));
}

#[test]
fn embedded_messages_and_scalars_stand_where_json_has_them() {
    let port = [vec![0x08, 1], field(3, b"http")].concat();
    let probe = field(1, &field(2, &[field(1, b"/"), field(2, &port)].concat()));
    let container = [field(1, b"c"), field(11, &probe)].concat();
    let pod = decode(&body("v1", "Pod", &field(2, &field(2, &container)))).unwrap();
    let probe = &pod["spec"]["containers"][0]["readinessProbe"];
    assert_eq!(*probe, json!({"httpGet": {"path": "/", "port": "http"}}));
}

#[test]
fn delete_options_are_the_same_in_every_group() {
    let options = [vec![0x08, 0], field(4, b"Background")].concat();
    let decoded = decode(&body("apps/v1", "DeleteOptions", &options)).unwrap();
    assert_eq!(decoded["gracePeriodSeconds"], 0);
    assert_eq!(decoded["propagationPolicy"], "Background");
}

#[test]
fn what_is_unknown_is_dropped_and_told_of_when_it_says_something() {
    let metadata = field(1, &[field(1, b"c1"), field(15, b"")].concat());
    let old = super::decode(&body("v1", "ConfigMap", &metadata)).unwrap();
    assert_eq!(old.0["metadata"], json!({"name": "c1"}));
    assert_eq!(old.1, [""; 0]);
    let more = [metadata, field(15, b"x"), field(15, b"y"), vec![0x70, 0]].concat();
    let newer = super::decode(&body("v1", "ConfigMap", &more)).unwrap();
    assert_eq!(newer.1, ["unknown field number 15 of core.v1.ConfigMap"]);
    let error = decode(&body("example.com/v1", "Thing", b"")).unwrap_err();
    assert!(error.to_string().contains("Thing"), "{error}");
    assert_eq!(decode(b"{}").unwrap_err(), ProtobufError::NotProtobuf);
}

#[test]
fn every_message_that_the_table_names_is_in_it() {
    let special = |name: &str| scalars::special(name, b"").is_ok_and(|value| value.is_some());
    // Empty upstream, or of an alpha feature: a field of theirs is an unknown field.
    let empty = ["apiextensions.v1.CustomResourceSubresourceStatus", "core.v1.WorkloadReference"];
    for (message, rows) in table() {
        for row in rows.values().filter(|row| row.element.contains('.')) {
            let known = table().contains_key(row.element) || special(row.element);
            assert!(known || empty.contains(&row.element), "{message}: {}", row.element);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&raw).is_err());
        let mut long = MAGIC.to_vec();
        long.extend(&raw);
        drop(decode(&long));
        if raw.len() < 120 {
            drop(decode(&body("v1", "Pod", &raw)));
        }
    }
}
