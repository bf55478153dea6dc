//! The objects that are written and read.

use hyper::Method;
use serde_json::json;

use crate::Failure;
use crate::client::Client;
use crate::writers::noise;

/// Where all of it is.
pub const NAMESPACE: &str = "/api/v1/namespaces/bench";

/// Creates a config map.
pub async fn config_map(client: &mut Client, name: &str) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": name}, "data": {"noise": noise(1, 600)}});
    client.call(Method::POST, &format!("{NAMESPACE}/configmaps"), body.to_string()).await?;
    Ok(())
}
