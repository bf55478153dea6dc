//! The API alone, over a store in memory, for trying clients against it:
//! `cargo run -p coracle-server --example api -- DIR [PORT]` writes `DIR/kubeconfig`. Its one pod,
//! `local`, is this machine: what is run in it runs in `DIR`.

#[path = "../tests/wire/support/node.rs"]
mod node;

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::{Subresource, Verb};
use coracle_server::{
    Api, Body, Cluster, Kinds, Options, Pki, Request, Server, System, User, bootstrap, pki,
};
use coracle_store::Store;
use redb::backends::InMemoryBackend;
use serde_json::{Value, json};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let directory = PathBuf::from(args.next().ok_or("usage: api DIR [PORT]")?);
    let port: u16 = args.next().map_or(Ok(0), |port| port.parse())?;
    let store = Store::open_on(InMemoryBackend::new())?;
    let api = Api::new(store, Kinds::builtin(), Cluster::default(), Arc::new(System));
    let pki = Pki::open(&directory, coracle_api::Timestamp::now())?;
    let tokens = Arc::new(pki.tokens()?);
    api.set_tokens(Arc::clone(&tokens));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let address = listener.local_addr()?;
    bootstrap::bootstrap(&api).await?;
    for (plural, body) in objects() {
        api.call(request(&api, Verb::Create, plural, body)?).await?;
    }
    let local = api.snapshot().find("pods", "default", "local").map(|pod| pod.value().clone());
    let mut running = local.ok_or("no pod")?;
    running["status"] = json!({"phase": "Running"});
    let mut running = request(&api, Verb::Update, "pods", running)?;
    running.name = "local".into();
    running.subresource = Some(Subresource::Status);
    api.call(running).await?;
    let admin = pki.client("kubernetes-admin", &["kubeadm:cluster-admins"])?;
    let encode = |pem: &str| STANDARD.encode(pem);
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "example",
        "contexts": [{"name": "example", "context": {"cluster": "example", "user": "example"}}],
        "clusters": [{"name": "example", "cluster": {
            "server": format!("https://{address}"),
            "certificate-authority-data": encode(pki.authority()),
        }}],
        "users": [{"name": "example", "user": {
            "client-certificate-data": encode(&admin.certificate),
            "client-key-data": encode(&admin.key),
        }}],
    });
    std::fs::write(directory.join("kubeconfig"), kubeconfig.to_string())?;
    let tls = pki.server_config(&pki::server_names("cluster.local"))?;
    println!("https://{address}");
    let stop = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            eprintln!("{error}");
        }
    };
    let server = Server::new(api, tokens);
    server.set_node(Arc::new(node::LocalNode::new(directory)));
    server.serve(vec![listener], tls, stop).await?;
    Ok(())
}

/// A namespace, and a pod in it that is on a node.
fn objects() -> [(&'static str, Value); 2] {
    let default = json!({"metadata": {"name": "default"}});
    let pod = json!({"metadata": {"name": "local"}, "spec": {
        "nodeName": "local",
        "containers": [{"name": "main", "image": "example.com/main:1"}],
    }});
    [("namespaces", default), ("pods", pod)]
}

fn request(api: &Api, verb: Verb, plural: &str, body: Value) -> Result<Request, Box<dyn Error>> {
    let kinds = api.kinds();
    let kind = kinds.resource("", "v1", plural).ok_or("no such kind")?;
    Ok(Request {
        user: User::system("system:apiserver"),
        verb,
        kind: Arc::clone(kind),
        namespace: if kind.is_namespaced() { "default".into() } else { String::new() },
        name: String::new(),
        subresource: None,
        options: Options::default(),
        body: Body::Object(body),
    })
}
