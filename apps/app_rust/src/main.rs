//! A web page that counts its visits in `visits.txt`, one durable count per replica.

mod config;
mod log;
mod metrics;
mod page;
mod peers;
mod routes;
mod tools;
mod visits;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use config::Config;
use routes::App;

/// How long connections are still taken after SIGTERM: whoever was sent here a moment ago, before the
/// replica was taken out of its Service, still comes.
const LINGER: Duration = Duration::from_millis(50);

const USAGE: &str = "usage: app_rust            serve (see the README for the environment)\n\
                     \x20      app_rust check HOST PORT REPLICAS   wait until all answer there\n\
                     \x20      cat FILE...         when it is called cat";

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let called = arguments.next().unwrap_or_default();
    let done = if Path::new(&called).file_name().is_some_and(|name| name == "cat") {
        tools::cat(arguments)
    } else {
        let arguments: Vec<String> = arguments.collect();
        in_runtime(carry_out(arguments))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(&error, &[]);
            ExitCode::FAILURE
        }
    }
}

/// One thread serves, one keeps the file (`visits.rs`); a few look up names.
fn in_runtime(future: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(4)
        .thread_stack_size(256 * 1024)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let done = runtime.block_on(future);
    // A name that is still looked up is no reason to stay.
    runtime.shutdown_background();
    done
}

async fn carry_out(arguments: Vec<String>) -> Result<(), String> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => serve().await,
        ["check", host, port, replicas] => {
            let port = port.parse().map_err(|error| format!("{port:?} is no port: {error}"))?;
            let replicas = replicas.parse().map_err(|error| format!("{replicas:?}: {error}"))?;
            let seen = tools::check(host, port, replicas).await?;
            log::info("all replicas answer", &[("seen", &seen)]);
            Ok(())
        }
        _ => Err(USAGE.to_string()),
    }
}

async fn serve() -> Result<(), String> {
    let config = Config::from_environment(|name| std::env::var(name).ok())?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let listen = listener.local_addr().map_err(|error| error.to_string())?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let grace = config.grace;
    log::info("listening", &[("listen", &listen.to_string()), ("pod", &config.pod_name)]);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let router = routes::router(Arc::new(App::new(config)));
    let serving = tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(async move {
                // An error means that the sender is gone, which is the end as well.
                drop(stopped.wait_for(|stop| *stop).await);
            })
            .await
    });
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    log::info("stopping", &[]);
    tokio::time::sleep(LINGER.min(grace)).await;
    stop.send_replace(true);
    match tokio::time::timeout(grace, serving).await {
        Ok(Ok(served)) => served.map_err(|error| error.to_string())?,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => log::error("requests in flight outlived the grace period", &[]),
    }
    log::info("stopped", &[]);
    Ok(())
}
