//! Pulling from a registry: a small one of our own, on this machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure is the assertion")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use coracle_node::images::{Credentials, ImageError, ImageStore, Pulling, SecretRef};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Content by path, and the requests that came.
struct Registry {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// To whom a registry answers.
#[derive(Clone, Copy, PartialEq)]
enum Access {
    Everybody,
    /// Who shows a name and a password.
    Password,
    /// Who shows a token, which it gives to who shows a name and a password, or an identity token.
    Token,
}

/// What a request is answered with that does not show the right thing.
fn challenge(
    access: Access,
    address: &str,
    head: &str,
    body: &str,
) -> Option<(&'static str, String, Vec<u8>)> {
    // "me:secret" in base 64, in lower case like the rest.
    let knows = head.contains("authorization: basic bwu6c2vjcmv0");
    let denied = |how: String| {
        let how = format!("www-authenticate: {how}\r\n");
        Some(("401 Unauthorized", how, Vec::new()))
    };
    match access {
        Access::Everybody => None,
        Access::Password if knows => None,
        Access::Password => denied("Basic realm=\"r\"".to_owned()),
        Access::Token if head.contains("authorization: bearer t0k3n") => None,
        Access::Token => {
            let asked = head.lines().next().unwrap_or_default();
            if !asked.contains("/token") {
                return denied(format!(
                    "Bearer realm=\"http://{address}/token\",service=\"here\",\
                     scope=\"repository:team/app:pull\""
                ));
            }
            let scope = "service=here&scope=repository%3ateam%2fapp%3apull";
            let by_login = knows && asked.contains(scope);
            let by_identity = body.contains("grant_type=refresh_token")
                && body.to_lowercase().contains(scope)
                && body.contains("refresh_token=me-too");
            match by_login || by_identity {
                true => Some(("200 OK", String::new(), b"{\"token\": \"t0k3n\"}".to_vec())),
                false => denied("Basic realm=\"r\"".to_owned()),
            }
        }
    }
}

/// What comes next: the head in lower case, and the body.
async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|it| it.lines().next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// A place of this machine that nobody else has, and its address.
async fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

impl Registry {
    /// Answers everything with this status and these headers.
    async fn answer(answer: String) -> Self {
        let (listener, address) = bind().await;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (head, _) = request(&mut stream).await;
                seen.lock().unwrap().push(head);
                let all =
                    format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(all.as_bytes()).await.unwrap_or_default();
            }
        });
        Self { address, requests }
    }

    /// Serves `content` by path: media type and bytes.
    async fn serve(content: HashMap<String, (String, Vec<u8>)>, access: Access) -> Self {
        let (listener, address) = bind().await;
        let own = address.clone();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (head, body) = request(&mut stream).await;
                let path = head.split([' ', '?']).nth(1).unwrap().to_owned();
                seen.lock().unwrap().push(path.clone());
                let challenged = challenge(access, &own, &head, &body);
                let (status, extra, body) = match content.get(&path) {
                    _ if challenged.is_some() => challenged.unwrap(),
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
    let registry = Registry::serve(image(false), Access::Everybody).await;
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
    let registry = Registry::serve(image(false), Access::Everybody).await;
    let (_directory, store) = store();
    let name = format!("{}/team/app:v2", registry.address);
    let error = store.pull(&name, &none, &|_| ()).await.unwrap_err().to_string();
    let expected = format!(
        "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": {name}: not found"
    );
    assert_eq!(error, expected);

    let registry = Registry::serve(image(true), Access::Everybody).await;
    let name = format!("{}/team/app:v1", registry.address);
    store.pull(&name, &none, &|_| ()).await.unwrap_err();
    assert!(store.find(&name).unwrap().is_none());

    let registry = Registry::serve(image(false), Access::Password).await;
    let name = format!("{}/team/app:v1", registry.address);
    let denied = store.pull(&name, &none, &|_| ()).await.unwrap_err();
    assert!(matches!(denied, ImageError::Pull { .. }), "{denied}");
    let mut credentials = Credentials::default();
    let config = json!({"auths": {registry.address: {"username": "me", "password": "secret"}}});
    credentials.add(&SecretRef::default(), config.to_string().as_bytes(), false).unwrap();
    store.pull(&name, &credentials, &|_| ()).await.unwrap();
}

/// A store that asks where this file of registries says.
fn store_with(file: &str) -> (tempfile::TempDir, ImageStore) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registries.yaml");
    std::fs::write(&path, file).unwrap();
    let pulling = Pulling { registries: Some(path), at_once: Some(1) };
    let store = ImageStore::open(&directory.path().join("images"), pulling).unwrap();
    (directory, store)
}

#[tokio::test]
async fn tokens_are_had_by_name_and_password_and_by_identity() {
    let registry = Registry::serve(image(false), Access::Token).await;
    let none = Credentials::default();
    let name = format!("{}/team/app:v1", registry.address);
    let (_directory, store) = store();
    let denied = store.pull(&name, &none, &|_| ()).await.unwrap_err().to_string();
    assert!(denied.contains("failed to fetch a token: pull access denied"), "{denied}");
    let mut credentials = Credentials::default();
    // The first that matches is refused, the next is taken.
    for (path, password) in [("/team", "wrong"), ("", "secret")] {
        let server = format!("{}{path}", registry.address);
        let config = json!({"auths": {server: {"username": "me", "password": password}}});
        credentials.add(&SecretRef::default(), config.to_string().as_bytes(), false).unwrap();
    }
    store.pull(&name, &credentials, &|_| ()).await.unwrap();
    assert!(store.has_for(&name, &credentials).unwrap());
    assert!(!store.has_for(&name, &none).unwrap(), "it was pulled with a secret");

    let address = &registry.address;
    let config = format!("configs:\n  {address}:\n    auth: {{identity_token: me-too}}\n");
    let (_directory, store) = store_with(&config);
    store.pull(&name, &none, &|_| ()).await.unwrap();
    assert!(store.has_for(&name, &none).unwrap(), "it is the machine's, not a pod's");
}

#[tokio::test]
async fn a_login_without_a_name_is_none() {
    let registry = Registry::serve(image(false), Access::Everybody).await;
    let (_directory, store) = store();
    let name = format!("{}/team/app:v1", registry.address);
    let mut credentials = Credentials::default();
    let config = json!({"auths": {registry.address: {}}});
    credentials.add(&SecretRef::default(), config.to_string().as_bytes(), false).unwrap();
    store.pull(&name, &credentials, &|_| ()).await.unwrap();
    assert!(store.has_for(&name, &Credentials::default()).unwrap(), "nothing was shown for it");
}

#[tokio::test]
async fn credentials_go_nowhere_else() {
    let wants = |realm: &str| {
        format!("401 Unauthorized\r\nwww-authenticate: Bearer realm=\"http://{realm}/token\"")
    };
    let moved = |to: &str| format!("307 Temporary Redirect\r\nlocation: http://{to}/");
    let pull = async |registry: &Registry, auth: &str| {
        let config = format!("configs:\n  {}:\n    auth: {{{auth}}}\n", registry.address);
        let (_directory, store) = store_with(&config);
        let name = format!("{}/team/app:v1", registry.address);
        store.pull(&name, &Credentials::default(), &|_| ()).await.unwrap_err().to_string()
    };
    let thief = Registry::answer("404 Not Found".to_owned()).await;
    // Who gives tokens for an identity token cannot pass that on by sending us away.
    let tokens = Registry::answer(moved(&thief.address)).await;
    let registry = Registry::answer(wants(&tokens.address)).await;
    let error = pull(&registry, "identity_token: me-too").await;
    assert!(error.contains("307 Temporary Redirect"), "{error}");
    assert_eq!(*thief.requests.lock().unwrap(), [""; 0]);
    // Who has what a registry sends us away for cannot say where the registry's password goes.
    let stranger = Registry::answer(wants(&thief.address)).await;
    let registry = Registry::answer(moved(&stranger.address)).await;
    let error = pull(&registry, "username: me, password: secret").await;
    assert!(error.contains("pull access denied"), "{error}");
    assert_eq!(stranger.requests.lock().unwrap().len(), 1);
    assert_eq!(*thief.requests.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn mirrors_that_lie_or_lack_it_give_way_to_the_next() {
    // Its index has nothing for this machine.
    let index = "application/vnd.oci.image.index.v1+json".to_owned();
    let foreign = (index, br#"{"schemaVersion": 2, "manifests": []}"#.to_vec());
    let foreign = HashMap::from([("/v2/team/app/manifests/v1".to_owned(), foreign)]);
    let [lying, lacking, foreign, good] = [
        Registry::serve(image(true), Access::Everybody).await,
        Registry::serve(HashMap::new(), Access::Everybody).await,
        Registry::serve(foreign, Access::Everybody).await,
        Registry::serve(image(false), Access::Everybody).await,
    ];
    let mirrors = |last: &str| {
        let all = [lying.address.as_str(), &lacking.address, &foreign.address, last];
        let all = all.map(|address| format!("http://{address}"));
        format!("mirrors:\n  images.example.com:\n    endpoint: [{}]\n", all.join(", "))
    };
    let name = "images.example.com/team/app:v1";
    let none = Credentials::default();
    let (directory, store) = store_with(&mirrors(&good.address));
    let image = store.pull(name, &none, &|_| ()).await.unwrap();
    assert!(image.pulled_as[0].starts_with("images.example.com/team/app@sha256:"));
    assert!(lying.requests.lock().unwrap().iter().any(|path| path.contains("/blobs/")));
    assert!(!foreign.requests.lock().unwrap().is_empty());
    // The file counts as it is now.
    std::fs::write(directory.path().join("registries.yaml"), "mirrors: 1\n").unwrap();
    let wrong = store.pull(name, &none, &|_| ()).await.unwrap_err().to_string();
    assert!(wrong.contains("registries.yaml: mirrors: invalid type: integer `1`"), "{wrong}");
}
