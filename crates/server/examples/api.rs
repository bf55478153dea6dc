//! The API alone, over a store in memory, for trying clients against it:
//! `cargo run -p coracle-server --example api -- DIR [PORT]` writes `DIR/kubeconfig`.

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::Verb;
use coracle_server::{
    Api, Body, Cluster, Kinds, Options, Pki, Request, Server, System, User, bootstrap, pki,
};
use coracle_store::Store;
use redb::backends::InMemoryBackend;

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
    api.call(namespace(&api)?).await?;
    let admin = pki.client("kubernetes-admin", &["kubeadm:cluster-admins"])?;
    let encode = |pem: &str| STANDARD.encode(pem);
    let kubeconfig = serde_json::json!({
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
    Server::new(api, tokens).serve(vec![listener], tls, stop).await?;
    Ok(())
}

/// Nothing can be made before there is a namespace to make it in.
fn namespace(api: &Api) -> Result<Request, Box<dyn Error>> {
    let kinds = api.kinds();
    let kind = kinds.resource("", "v1", "namespaces").ok_or("no namespaces")?;
    Ok(Request {
        user: User::system("system:apiserver"),
        verb: Verb::Create,
        kind: Arc::clone(kind),
        namespace: String::new(),
        name: String::new(),
        subresource: String::new(),
        options: Options::default(),
        body: Body::Object(serde_json::json!({"metadata": {"name": "default"}})),
    })
}
