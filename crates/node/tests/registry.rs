//! Pulling from a registry: a small one of our own, on this machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure is the assertion")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use coracle_node::images::{Credentials, ImageError, ImageStore, Pulling, SecretRef};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Content by path, and the requests that came.
struct Registry {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Registry {
    /// Serves `content` by path: media type and bytes. With `password`, to who knows it only.
    async fn serve(content: HashMap<String, (String, Vec<u8>)>, password: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().to_lowercase();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                seen.lock().unwrap().push(path.clone());
                // "me:secret" in base 64, in lower case like the rest.
                let known = head.contains("authorization: basic bwu6c2vjcmv0");
                let (status, extra, body) = match content.get(&path) {
                    _ if password && !known => (
                        "401 Unauthorized",
                        "www-authenticate: Basic realm=\"r\"\r\n".into(),
                        b"".to_vec(),
                    ),
                    _ if path == "/v2/" => ("200 OK", String::new(), b"{}".to_vec()),
                    Some((kind, body)) => {
                        let digest = digest(body);
                        let headers =
                            format!("content-type: {kind}\r\ndocker-content-digest: {digest}\r\n");
                        ("200 OK", headers, body.clone())
                    }
                    None => {
                        let error =
                            json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "m"}]});
                        (
                            "404 Not Found",
                            "content-type: application/json\r\n".into(),
                            error.to_string().into_bytes(),
                        )
                    }
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\n{extra}content-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&body).await.unwrap_or_default();
            }
        });
        Self { address, requests }
    }
}

/// An image with one layer, behind an index, as registries have them.
fn image(damage: bool) -> HashMap<String, (String, Vec<u8>)> {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    layer.append_data(&mut header, "etc/hello", &b"hello"[..]).unwrap();
    let layer = layer.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &layer).unwrap();
    let packed = gzip.finish().unwrap();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["hi"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}, "history": []})
    .to_string()
    .into_bytes();
    let descriptor = |kind: &str, bytes: &[u8]| {
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest(bytes), "size": bytes.len()})
    };
    let manifest = json!({"schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config),
        "layers": [descriptor("layer.v1.tar+gzip", &packed)]})
    .to_string()
    .into_bytes();
    let mut entry = descriptor("manifest.v1+json", &manifest);
    entry["platform"] = json!({"architecture": architecture, "os": "linux"});
    let other = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
        "digest": digest(b"x"), "platform": {"architecture": "s390x", "os": "linux"}});
    let index: Value = json!({"schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [other, entry]});
    let index = index.to_string().into_bytes();
    let mut served = packed.clone();
    if damage {
        let middle = served.len() / 2;
        served[middle] ^= 1;
    }
    let manifest_kind = "application/vnd.oci.image.manifest.v1+json";
    let index_kind = "application/vnd.oci.image.index.v1+json";
    let blob = "application/octet-stream";
    [
        ("manifests/v1".to_owned(), index_kind, index),
        (format!("manifests/{}", digest(&manifest)), manifest_kind, manifest),
        (format!("blobs/{}", digest(&config)), blob, config),
        (format!("blobs/{}", digest(&packed)), blob, served),
    ]
    .into_iter()
    .map(|(path, kind, bytes)| (format!("/v2/team/app/{path}"), (kind.to_owned(), bytes)))
    .collect()
}

fn store() -> (tempfile::TempDir, ImageStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path(), Pulling::default()).unwrap();
    (directory, store)
}

#[tokio::test]
async fn an_image_is_pulled_once_and_found_by_name_and_digest() {
    let registry = Registry::serve(image(false), false).await;
    let (_directory, store) = store();
    let name = format!("{}/team/app:v1", registry.address);
    let image = store.pull(&name, &Credentials::default(), &|_| ()).await.unwrap();
    let hello = std::fs::read_to_string(image.layers[0].join("etc/hello")).unwrap();
    assert_eq!(
        (hello.as_str(), image.config.config.cmd.as_slice()),
        ("hello", &["hi".to_owned()][..])
    );
    let found = store.find(&name).unwrap().unwrap();
    assert_eq!(found.id, image.id);
    assert!(store.find(&image.pulled_as[0]).unwrap().is_some(), "{:?}", image.pulled_as);
    let blobs = |registry: &Registry| {
        let requests = registry.requests.lock().unwrap();
        requests.iter().filter(|path| path.contains("/blobs/")).count()
    };
    let before = blobs(&registry);
    store.pull(&name, &Credentials::default(), &|_| ()).await.unwrap();
    // Its configuration is asked for again, its layers are not.
    assert_eq!(blobs(&registry), before + 1);
}

#[tokio::test]
async fn what_the_registry_lacks_or_denies_or_damages_is_not_pulled() {
    let none = Credentials::default();
    let registry = Registry::serve(image(false), false).await;
    let (_directory, store) = store();
    let name = format!("{}/team/app:v2", registry.address);
    let error = store.pull(&name, &none, &|_| ()).await.unwrap_err().to_string();
    let expected = format!(
        "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": {name}: not found"
    );
    assert_eq!(error, expected);

    let registry = Registry::serve(image(true), false).await;
    let name = format!("{}/team/app:v1", registry.address);
    store.pull(&name, &none, &|_| ()).await.unwrap_err();
    assert!(store.find(&name).unwrap().is_none());

    let registry = Registry::serve(image(false), true).await;
    let name = format!("{}/team/app:v1", registry.address);
    let denied = store.pull(&name, &none, &|_| ()).await.unwrap_err();
    assert!(matches!(denied, ImageError::Pull { .. }), "{denied}");
    let mut credentials = Credentials::default();
    let config = json!({"auths": {registry.address: {"username": "me", "password": "secret"}}});
    credentials.add(&SecretRef::default(), config.to_string().as_bytes(), false).unwrap();
    store.pull(&name, &credentials, &|_| ()).await.unwrap();
}
