//! `pods/exec` and `pods/attach`: the streams of a process, over a WebSocket or SPDY.

use std::future::ready;
use std::sync::Arc;

use coracle_api::Status;
use futures_util::StreamExt;
use http::request::Parts;
use tokio::sync::mpsc;

use crate::edge::response::Response;
use crate::pipeline::parse::Query;
use crate::streams::channels::{self, Protocol};
use crate::streams::command::{QUEUE, Target, Wire};
use crate::streams::node::{Call, ExecOptions};
use crate::streams::websocket::{self, Framing, Socket, send_all};
use crate::streams::{pods, spdy_command, spdy_upgrade};

/// Answers `pods/exec` and `pods/attach`. What goes wrong after the upgrade is said on the error
/// channel.
///
/// # Errors
/// 404 without the pod, 400 for options that do not fit or when it is no upgrade.
pub(crate) fn serve(call: Call<'_>, query: &Query, parts: &mut Parts) -> Result<Response, Status> {
    let object = pods::find(call.snapshot, call.resource)?;
    let mut options = options(query);
    options.container = pods::container(object, &options.container)?;
    pods::placed(call.snapshot, call.resource)?;
    if !options.stdin && !options.stdout && !options.stderr {
        let why = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(Status::bad_request(why));
    }
    let target = Target {
        node: Arc::clone(call.node),
        namespace: call.resource.namespace.clone(),
        pod: call.resource.name.clone(),
        attaches: call.resource.subresource == "attach",
        options,
    };
    if spdy_upgrade::is_asked_for(&parts.headers) {
        let known = &spdy_command::PROTOCOLS;
        return spdy_upgrade::upgrade(parts, known, call.stopping, |connection, name| {
            spdy_command::run(target, connection, name)
        });
    }
    websocket::upgrade(parts, &channels::PROTOCOLS, call.stopping, |socket, name| {
        run(target, socket, Protocol::named(name), Framing::of(name))
    })
}

fn options(query: &Query) -> ExecOptions {
    let tty = query.flag("tty");
    ExecOptions {
        container: query.get("container").to_owned(),
        command: query.all("command").map(str::to_owned).collect(),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        // A terminal is one stream.
        stderr: query.flag("stderr") && !tty,
        tty,
    }
}

async fn run(target: Target, socket: Socket, protocol: Protocol, framing: Framing) {
    let (sink, source) = socket.split();
    let (frames, queue) = mpsc::channel(QUEUE);
    let said = source.take_while(|message| ready(message.is_ok()));
    let said = said.filter_map(move |message| {
        let message = message.ok().and_then(|message| framing.read(message));
        ready(message.map(|message| protocol.input(&message)))
    });
    let wire = Wire::WebSocket(framing);
    target.converse(said, frames, protocol, wire, send_all(sink, queue)).await;
}
