//! The edge: connections, TLS, and from an HTTP request to its response.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::print::IncludeObject;
use coracle_api::resources::PODS;
use coracle_api::{Kind, Status, Subresource, Verb};
use coracle_store::Snapshot;
use futures_util::stream;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::Api;
use crate::aggregation::{self, Aggregator, Handed};
use crate::audit::{self, Auditor, Begun, Trail};
use crate::auth::tokens::Tokens;
use crate::auth::{Action, authorize, certificate, impersonate};
use crate::documents::discovery;
use crate::documents::metrics::{self, Counters};
use crate::edge::connections::{self, Activity, Held, Place, Places, stopped};
use crate::edge::gathered::Gathered;
use crate::edge::gzip;
use crate::edge::large_bodies::LargeBodies;
use crate::edge::negotiate::{Asked, Shape, form};
use crate::edge::node_door;
use crate::edge::render::{Rendered, Rendering};
use crate::edge::response::{Response, failure, full, streamed, warn};
use crate::edge::seats::{Seat, Seats};
use crate::edge::watching::watched;
use crate::fairness::rules::Digest;
use crate::fairness::shown::TABLES;
use crate::pipeline::content::BODY_MAX;
use crate::pipeline::options;
use crate::pipeline::parse::{self, Query, ResourceRef, Route};
use crate::pipeline::reply::Reply;
use crate::pipeline::request::{Body as RequestBody, Options, Request, User};
use crate::pipeline::source::Entropy;
use crate::streams::node::{Call, NodeStreams};
use crate::streams::{self, logs, port_forward, proxy, remote_command};

/// How long a client may take for its handshake, its headers, and its body.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);
const BODY: Duration = Duration::from_secs(60);
/// How much more of a body that is too long is read, and for how long, before it is refused.
const REST_MAX: usize = 64 * 1024 * 1024;
const REST: Duration = Duration::from_secs(5);
/// How long open requests may take after the server was told to stop.
const FAREWELL: Duration = Duration::from_secs(5);
/// From here on a body is large: it is read and carried out beside the threads that serve everybody.
const LARGE: usize = 64 * 1024;
/// Pause after a failure to accept a connection, which is one of too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Who is asked by a connection.
#[derive(Clone)]
enum Door {
    Api,
    /// The node of this name.
    Node(Arc<str>),
}

/// The API over HTTPS.
pub struct Server {
    api: Api,
    tokens: Arc<Tokens>,
    node: OnceLock<Arc<dyn NodeStreams>>,
    aggregator: OnceLock<Arc<Aggregator>>,
    auditor: OnceLock<Arc<Auditor>>,
    places: Arc<Places>,
    counters: Counters,
    seats: Arc<Seats>,
    /// Where requests with large bodies are carried out.
    large: LargeBodies,
    /// True once the server is to stop; watches end then.
    stopping: watch::Sender<bool>,
}

impl Server {
    /// Serves `api`; `tokens` says who bears which.
    #[must_use]
    pub fn new(api: Api, tokens: Arc<Tokens>) -> Arc<Self> {
        let (node, aggregator, auditor) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (places, seats, large) = (Arc::default(), Arc::default(), LargeBodies::default());
        let (counters, stopping) = (Counters::new(api.source().now()), watch::Sender::new(false));
        Arc::new(Self {
            api,
            tokens,
            node,
            aggregator,
            auditor,
            places,
            counters,
            seats,
            large,
            stopping,
        })
    }

    /// Sets where logs, exec and ports are asked for; done once.
    pub fn set_node(&self, node: Arc<dyn NodeStreams>) {
        if self.node.set(node).is_err() {
            tracing::warn!("the node was set before and stays");
        }
    }

    /// Sets who hands requests on to other API servers; done once.
    pub fn set_aggregator(&self, aggregator: Arc<Aggregator>) {
        if self.aggregator.set(aggregator).is_err() {
            tracing::warn!("who hands requests on was set before and stays");
        }
    }

    /// Sets who remembers requests; done once, before the first client comes.
    pub fn set_auditor(&self, auditor: Arc<Auditor>) {
        if self.auditor.set(auditor).is_err() {
            tracing::warn!("who remembers requests was set before and stays");
        }
    }

    fn aggregator(&self) -> Result<&Aggregator, Status> {
        let missing =
            || Status::failure(503, "ServiceUnavailable", "nobody asks other servers yet");
        self.aggregator.get().map(AsRef::as_ref).ok_or_else(missing)
    }

    /// Answers connections to `listeners` until `stop`, then lets open requests end.
    ///
    /// # Errors
    /// When a listener cannot be used.
    pub async fn serve(
        self: &Arc<Self>,
        listeners: Vec<std::net::TcpListener>,
        tls: Arc<ServerConfig>,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut accepting = tokio::task::JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let (server, acceptor) = (Arc::clone(self), TlsAcceptor::from(Arc::clone(&tls)));
            accepting.spawn(server.accept(listener, acceptor, Door::Api));
        }
        stop.await;
        self.stopping.send_replace(true);
        while let Some(ended) = accepting.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a listener ended badly");
            }
        }
        Ok(())
    }

    /// Answers connections to `listener` as the kubelet of the node called `name` does, until the
    /// server stops.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub async fn serve_node(
        self: &Arc<Self>,
        name: &str,
        listener: std::net::TcpListener,
        tls: Arc<ServerConfig>,
    ) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let (listener, acceptor) = (TcpListener::from_std(listener)?, TlsAcceptor::from(tls));
        Arc::clone(self).accept(listener, acceptor, Door::Node(name.into())).await;
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, acceptor: TlsAcceptor, door: Door) {
        let mut stopping = self.stopping.subscribe();
        // Each connection holds a clone; the last one that ends closes the channel.
        let (open, mut closed) = mpsc::channel::<Infallible>(1);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let Some(place) = self.places.take(peer.ip()) else {
                            tracing::debug!(%peer, "one connection too many");
                            continue;
                        };
                        let (server, acceptor) = (Arc::clone(&self), acceptor.clone());
                        let (open, door) = (open.clone(), door.clone());
                        tokio::spawn(async move {
                            server.connection(stream, acceptor, Arc::new(place), door).await;
                            drop(open);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accept a connection");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                },
                () = stopped(&mut stopping) => break,
            }
        }
        drop((listener, open));
        if timeout(FAREWELL, closed.recv()).await.is_err() {
            tracing::info!("some requests were still open when the server stopped");
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        place: Arc<Place>,
        door: Door,
    ) {
        // Answers are small and wanted at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "set TCP_NODELAY");
        }
        let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
            Err(_) => return tracing::debug!("a handshake took too long"),
        };
        let (_, session) = stream.get_ref();
        let is_shared = session.alpn_protocol() == Some(b"h2");
        let certificates = session.peer_certificates();
        let peer = certificates.and_then(|all| all.first()).and_then(|c| certificate::user(c));
        let (activity, stopping) = (Activity::new(), self.stopping.subscribe());
        let counted = Arc::clone(&activity);
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            let (server, peer, busy) = (Arc::clone(&self), peer.clone(), counted.begin());
            let door = door.clone();
            request.extensions_mut().insert(Arc::clone(&place));
            async move {
                let mut response = match &door {
                    Door::Api => server.handle(peer, request).await,
                    Door::Node(name) => server.of_node(name, peer, request.into_parts().0).await,
                };
                let seat = response.extensions_mut().remove::<Arc<Seat>>();
                Ok::<_, Infallible>(response.map(|body| Held::new(body, (busy, seat))))
            }
        });
        let ended = if is_shared {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).keep_alive_interval(HEADERS);
            let serve = |stream| {
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                connections::serve(connection, |it| it.graceful_shutdown(), &activity, stopping)
            };
            Gathered::new(stream).serve(serve).await.map(|ended| ended.map_err(Into::into))
        } else {
            let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            let close = |it: Pin<&mut _>| auto::UpgradeableConnection::graceful_shutdown(it);
            connections::serve(connection.into_owned(), close, &activity, stopping).await
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn handle(&self, peer: Option<User>, request: http::Request<Incoming>) -> Response {
        let (mut parts, body) = request.into_parts();
        let source = self.api.source();
        let id = audit::identify(&mut parts.headers, || Entropy::new(source.seed()).uid());
        let answered = self.answer(peer, &mut parts, body).await;
        let mut response = answered.unwrap_or_else(|status| refused(&parts, &status));
        response.headers_mut().insert(audit::ID, id);
        self.counters.count(&parts.method, response.status().as_u16());
        match parts.extensions.remove::<Trail>() {
            Some(trail) => trail.follow(response),
            None => response,
        }
    }

    async fn of_node(&self, name: &str, peer: Option<User>, mut parts: Parts) -> Response {
        let (user, snapshot) = (self.authenticate(peer, &parts).await, self.api.snapshot());
        let node = ResourceRef { name: name.to_owned(), ..ResourceRef::default() };
        match self.call(&snapshot, &node) {
            Ok(call) => node_door::answer(call, user, &mut parts).await,
            Err(status) => failure(&status),
        }
    }

    async fn answer(
        &self,
        peer: Option<User>,
        parts: &mut Parts,
        body: Incoming,
    ) -> Result<Response, Status> {
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let route = parse::route(&parts.method, parts.uri.path(), &query);
        let snapshot = self.api.snapshot();
        let user = self.authenticate(peer, parts).await;
        let action = action(&route, &parts.method, &query);
        self.remember(user.as_ref().ok(), &action, parts);
        let user = impersonate::user(&snapshot, user?, &parts.headers)?;
        if let Some(trail) = audit::of(parts).filter(|_| impersonate::is_asked_for(&parts.headers))
        {
            trail.note_impersonated(&user);
        }
        let asked = Digest { user: &user, route: &route, method: parts.method.as_str() };
        let is_watch = asked.is_watch();
        let Some(admitted) = self.seats.admit(&snapshot, &asked).await else {
            return self.permitted(user, &action, route, &query, parts, body).await;
        };
        drop(snapshot);
        let answered = {
            let answering = pin!(self.permitted(user, &action, route, &query, parts, body));
            admitted.carry_out(answering).await
        };
        let mut response = answered.unwrap_or_else(|status| refused(parts, &status));
        admitted.tell(response.headers_mut());
        // A watch that has begun costs no more than any open connection.
        if let Some(seat) = admitted.seat().filter(|_| !is_watch) {
            response.extensions_mut().insert(seat);
        }
        Ok(response)
    }

    async fn permitted(
        &self,
        user: User,
        action: &Action,
        route: Route,
        query: &Query,
        parts: &mut Parts,
        body: Incoming,
    ) -> Result<Response, Status> {
        let snapshot = self.api.snapshot();
        let decided = authorize(&snapshot, &user, action);
        if let Some(trail) = audit::of(parts) {
            trail.note_allowed(&decided);
        }
        decided?;
        if let Some(target) = aggregation::of_path(&snapshot, parts.uri.path())? {
            let (user, route, stopping) = (&user, &route, self.stopping.subscribe());
            let handed = Handed { snapshot: &snapshot, target, user, route, query, stopping };
            return aggregation::serve(self.aggregator()?, handed, parts, body).await;
        }
        match route {
            Route::Path(path) if path == "/metrics" && parts.method == Method::GET => {
                let (kinds, connections) = (self.api.kinds(), self.places.taken());
                let mut text = metrics::text(&self.counters, &snapshot, &kinds, connections);
                self.seats.figures(&mut text);
                Ok(full(200, metrics::MEDIA_TYPE, text))
            }
            Route::Path(path) if path.starts_with(TABLES) && parts.method == Method::GET => {
                let table = self.seats.table(&path).ok_or_else(Status::no_such_path)?;
                Ok(full(200, "text/plain; charset=utf-8", table))
            }
            Route::Path(path) if matches!(parts.method, Method::GET | Method::HEAD) => {
                let (kinds, headers) = (&self.api.kinds(), &parts.headers);
                let host = parts.uri.authority().map(ToString::to_string);
                let host = host.as_deref().or_else(|| headers.get(header::HOST)?.to_str().ok());
                let (known, tokens, snapshot) = (self.api.facts(), &self.tokens, &snapshot);
                let remotes = &known.remotes;
                let facts =
                    discovery::Facts { kinds, snapshot, remotes, tokens, headers, query, host };
                discovery::get(&facts, &path).await
            }
            Route::Path(_) => Err(Status::no_such_path()),
            Route::Resource(resource) => self.resource(user, &resource, query, parts, body).await,
        }
    }

    /// Begins to remember a request, if there is somebody who does, and a rule that says so.
    fn remember(&self, user: Option<&User>, action: &Action, parts: &mut Parts) {
        let Some(auditor) = self.auditor.get() else { return };
        let peer = parts.extensions.get::<Arc<Place>>().map(|place| place.peer());
        let received = self.api.source().now();
        if let Some(trail) = auditor.begin(&Begun { parts, action, user, peer, received }) {
            parts.extensions.insert(trail);
        }
    }

    async fn authenticate(&self, peer: Option<User>, parts: &Parts) -> Result<User, Status> {
        if let Some(user) = peer {
            return Ok(user);
        }
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            // A token in strange letters is no token, and still one that somebody showed.
            let value = String::from_utf8_lossy(value.as_bytes());
            if let Some((scheme, token)) = value.split_once(' ')
                && scheme.eq_ignore_ascii_case("bearer")
            {
                return self.api.bearer(token.trim()).await;
            }
        }
        match self.api.others().answers_anonymous(parts.uri.path()) {
            true => Ok(User::anonymous()),
            false => Err(Status::unauthorized()),
        }
    }

    async fn resource(
        &self,
        user: User,
        resource: &ResourceRef,
        query: &Query,
        parts: &mut Parts,
        body: Incoming,
    ) -> Result<Response, Status> {
        let kinds = self.api.kinds();
        let (kind, verb) = resource.resolve(&kinds)?;
        let answer = self.about(user, resource, (&kind, verb), query, parts, body).await;
        // Who uses what is deprecated hears so whatever comes of it.
        let deprecation: Vec<_> = kind.deprecation.iter().map(ToString::to_string).collect();
        if let Some(trail) = audit::of(parts).filter(|_| !deprecation.is_empty()) {
            trail.note([("k8s.io/deprecated".to_owned(), "true".to_owned())]);
        }
        answer.map_err(|status| status.warned(deprecation))
    }

    #[allow(clippy::too_many_arguments, reason = "all that an HTTP request is")]
    async fn about(
        &self,
        user: User,
        resource: &ResourceRef,
        (kind, verb): (&Arc<Kind>, Verb),
        query: &Query,
        parts: &mut Parts,
        body: Incoming,
    ) -> Result<Response, Status> {
        let subresource = Subresource::parse(&resource.subresource);
        if let Some(connecting) = subresource.filter(|subresource| subresource.connects()) {
            let mut request = connection(user, resource, (kind, verb), connecting, query);
            request.options.is_audited = audit::of(parts).is_some();
            return self.connect(request, connecting, resource, query, parts, body).await;
        }
        if kind.is(PODS) && subresource == Some(Subresource::Log) {
            let snapshot = self.api.snapshot();
            return logs::serve(self.call(&snapshot, resource)?, query, parts).await;
        }
        let request = self.request(user, resource, kind, verb, query, parts, body).await?;
        let rendering = self.rendering(kind, verb, query, &parts.headers)?;
        if verb == Verb::Watch {
            return watched(&self.api, request, &rendering, self.stopping.subscribe(), parts);
        }
        let mut reply = self.carry_out(request).await?;
        if let Some(trail) = audit::of(parts) {
            trail.note(std::mem::take(&mut reply.annotations));
            if trail.wants_answer() {
                trail.note_answer(rendering.in_json(&reply)?);
            }
        }
        let response = respond(&rendering, &reply)?;
        let is_compressed = matches!(verb, Verb::Get | Verb::List) && gzip::is_wanted(parts);
        Ok(if is_compressed { gzip::compressed(response) } else { response })
    }

    /// Carries a request out. To read and check a large body takes long, and nobody else is to wait
    /// for that.
    async fn carry_out(&self, request: Request) -> Result<Reply, Status> {
        if !matches!(&request.body, RequestBody::Encoded(_, bytes) if bytes.len() >= LARGE) {
            return self.api.call(request).await;
        }
        let api = self.api.clone();
        self.large.carry_out(async move { api.call(request).await }).await?
    }

    /// Admits a connection as a write is admitted, and makes it. Whoever asks for an upgrade by GET,
    /// as WebSockets do, needs leave to create too: policies were written when clients asked by POST.
    async fn connect(
        &self,
        request: Request,
        subresource: Subresource,
        resource: &ResourceRef,
        query: &Query,
        parts: &mut Parts,
        body: Incoming,
    ) -> Result<Response, Status> {
        if subresource != Subresource::Proxy {
            let creates = ResourceRef { verb: "create".into(), ..resource.clone() };
            authorize(&self.api.snapshot(), &request.user, &Action::Resource(creates))?;
        }
        let admitted = self.api.call(request).await?;
        if let Some(trail) = audit::of(parts) {
            trail.note(admitted.annotations);
        }
        let snapshot = self.api.snapshot();
        let call = self.call(&snapshot, resource)?;
        let mut response = match subresource {
            Subresource::Proxy => {
                let chance = Entropy::new(self.api.source().seed()).number();
                proxy::serve(call, chance, parts, body).await?
            }
            Subresource::PortForward => port_forward::serve(call, query, parts)?,
            _ => remote_command::serve(call, query, parts)?,
        };
        warn(response.headers_mut(), &admitted.warnings);
        Ok(response)
    }

    fn call<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        resource: &'a ResourceRef,
    ) -> Result<Call<'a>, Status> {
        let (now, stopping) = (self.api.source().now(), self.stopping.subscribe());
        Ok(Call { node: self.node()?, snapshot, resource, now, stopping })
    }

    fn node(&self) -> Result<&Arc<dyn NodeStreams>, Status> {
        let missing = || Status::failure(503, "ServiceUnavailable", "there is no node yet");
        self.node.get().ok_or_else(missing)
    }

    #[allow(clippy::too_many_arguments, reason = "all that an HTTP request is")]
    async fn request(
        &self,
        user: User,
        resource: &ResourceRef,
        kind: &Arc<Kind>,
        verb: Verb,
        query: &Query,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Request, Status> {
        let text = |name| parts.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let writes = !matches!(verb, Verb::Get | Verb::List | Verb::Watch);
        let bytes = if writes { read(body).await? } else { Bytes::new() };
        let content = match verb == Verb::Patch || (writes && !bytes.is_empty()) {
            true => Some(options::content(text(header::CONTENT_TYPE).unwrap_or_default(), verb)?),
            false => None,
        };
        let agent = text(header::USER_AGENT).unwrap_or_default();
        let body = match content {
            Some(content) => RequestBody::Encoded(content, bytes),
            None if matches!(verb, Verb::Delete | Verb::DeleteCollection) => {
                options::delete_options(query)?
            }
            None => RequestBody::Empty,
        };
        let mut options = options::options(query, verb, content, agent)?;
        if let Some(trail) = audit::of(parts) {
            trail.note_asked(&body);
            options.is_audited = true;
        }
        Ok(Request {
            user,
            verb,
            namespace: resource.object_namespace(kind),
            kind: Arc::clone(kind),
            name: resource.name.clone(),
            subresource: Subresource::parse(&resource.subresource),
            options,
            body,
        })
    }

    fn rendering<'a>(
        &self,
        kind: &'a Kind,
        verb: Verb,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Rendering<'a>, Status> {
        let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let pretty = query.has("pretty").then(|| query.flag("pretty"));
        let accept = text(header::ACCEPT).unwrap_or_default();
        let agent = text(header::USER_AGENT).unwrap_or_default();
        let form = form(accept, pretty, agent, Asked { kind, verb })?;
        let include = match form.shape {
            Shape::Table(_) => include(query.get("includeObject"))?,
            _ => IncludeObject::Metadata,
        };
        Ok(Rendering { kind, form, include, now: self.api.source().now() })
    }
}

/// The answer to a request that is refused.
fn refused(parts: &Parts, status: &Status) -> Response {
    if let Some(trail) = audit::of(parts) {
        trail.note_refused(status);
    }
    failure(status)
}

/// A request for a connection, as admission sees it.
fn connection(
    user: User,
    resource: &ResourceRef,
    (kind, verb): (&Arc<Kind>, Verb),
    subresource: Subresource,
    query: &Query,
) -> Request {
    Request {
        user,
        verb,
        kind: Arc::clone(kind),
        namespace: resource.object_namespace(kind),
        name: resource.name.clone(),
        subresource: Some(subresource),
        options: Options::default(),
        body: RequestBody::Object(streams::options::of(kind, subresource, resource, query)),
    }
}

/// What is to be allowed. A collection narrowed to one name is asked for under that name.
fn action(route: &Route, method: &Method, query: &Query) -> Action {
    match route {
        Route::Path(path) => {
            Action::Path { verb: method.as_str().to_ascii_lowercase(), path: path.clone() }
        }
        Route::Resource(resource) => {
            let mut resource = resource.clone();
            if resource.name.is_empty() && resource.verb != "create" {
                let selector = coracle_api::FieldSelector::parse(query.get("fieldSelector"));
                let name = selector.ok().and_then(|s| s.exact("metadata.name").map(str::to_owned));
                resource.name = name.unwrap_or_default();
            }
            Action::Resource(resource)
        }
    }
}

fn include(text: &str) -> Result<IncludeObject, Status> {
    let unknown = || {
        Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {text:?}: must be \
             'Metadata', 'Object', 'None', or empty"
        ))
    };
    IncludeObject::parse(text).ok_or_else(unknown)
}

/// The whole body, if it is not too long and does not take too long.
async fn read(mut body: Incoming) -> Result<Bytes, Status> {
    let too_late = |_| Status::failure(408, "Timeout", "the body of the request took too long");
    let limited = Limited::new(&mut body, BODY_MAX).collect();
    match timeout(BODY, limited).await.map_err(too_late)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            // Who still writes does not read: without this it sees a reset in place of the answer.
            drop(timeout(REST, discard(body)).await);
            let message = format!("Request entity too large: limit is {BODY_MAX}");
            Err(Status::failure(413, "RequestEntityTooLarge", message))
        }
        Err(error) => Err(Status::bad_request(error.to_string())),
    }
}

async fn discard(mut body: Incoming) {
    let mut left = REST_MAX;
    while let Some(Ok(frame)) = body.frame().await
        && left > 0
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}

fn respond(rendering: &Rendering<'_>, reply: &Reply) -> Result<Response, Status> {
    let media_type = rendering.form.encoding.media_type();
    let mut response = match rendering.reply(reply)? {
        Rendered::Whole(body) => full(reply.code, media_type, body),
        Rendered::Pieces(pieces) => streamed(media_type, stream::iter(pieces)),
    };
    let deprecation = rendering.kind.deprecation.iter().map(ToString::to_string);
    let warnings: Vec<_> = deprecation.chain(reply.warnings.iter().cloned()).collect();
    warn(response.headers_mut(), &warnings);
    Ok(response)
}
