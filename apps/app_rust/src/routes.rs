//! What is served at which path.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::visits::{Visits, VisitsError};
use crate::{log, page};

/// What all requests share.
pub struct App {
    config: Config,
    visits: Visits,
    peers: Arc<Peers>,
    metrics: Metrics,
}

impl App {
    /// The service of one replica.
    pub fn new(config: Config) -> Self {
        let visits = Visits::start(config.visits_file.clone());
        let peers = Arc::new(Peers::new(&config));
        Self { config, visits, peers, metrics: Metrics::default() }
    }
}

type Shared = State<Arc<App>>;

/// The paths.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(visit).head(page_headers))
        .route("/visits", get(own))
        .route("/visits/all", get(all))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), measure))
        .with_state(app)
}

/// Count a visit and show the page.
async fn visit(State(app): Shared) -> Result<Response, Failure> {
    let visits = app.visits.count().await?;
    app.metrics.visit();
    let replicas = app.peers.for_page(visits).await;
    let page = page::render(&app.config.pod_name, visits, &replicas, &app.config.version);
    Ok((page_headers().await, Html(page)).into_response())
}

/// The page is new at every visit, loads nothing and runs nothing. HEAD gets no more than this: it
/// is no visit.
async fn page_headers() -> [(header::HeaderName, &'static str); 2] {
    [
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
        ),
    ]
}

async fn own(State(app): Shared) -> Result<Response, Failure> {
    let visits = app.visits.read().await?;
    Ok(Json(json!({"replica": app.config.pod_name, "visits": visits})).into_response())
}

async fn all(State(app): Shared) -> Response {
    let own = app.visits.read().await.ok();
    let replicas = app.peers.now(own).await;
    let total: u64 = replicas.iter().filter_map(|replica| replica.visits).sum();
    let list: Vec<_> = replicas
        .iter()
        .map(|replica| json!({"replica": replica.name, "visits": replica.visits}))
        .collect();
    Json(json!({"replicas": list, "total": total})).into_response()
}

async fn ready(State(app): Shared) -> Result<&'static str, Failure> {
    app.visits.read().await?;
    Ok("ok\n")
}

async fn metrics(State(app): Shared) -> Response {
    let total = app.visits.read().await.ok();
    let text = app.metrics.render(total);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn measure(State(app): Shared, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let response = next.run(request).await;
    app.metrics.request(start.elapsed(), response.status().as_u16() < 500);
    response
}

/// An error as the client sees it: 503 and the sentence.
struct Failure(VisitsError);

impl From<VisitsError> for Failure {
    fn from(error: VisitsError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        log::error(&self.0.to_string(), &[]);
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", self.0)).into_response()
    }
}
