//! A web page that counts its visits in `visits.txt`, one durable count per replica.

mod config;
mod log;
mod metrics;
mod page;
mod peers;
mod routes;
mod visits;

use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use config::Config;
use routes::App;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(256 * 1024)
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run()),
        Err(error) => Err(format!("cannot start threads: {error}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(&error, &[]);
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let config = Config::from_environment(|name| std::env::var(name).ok())?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    log::info("ready", &[("listen", &config.listen.to_string()), ("pod", &config.pod_name)]);
    let grace = config.grace;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut on_stop = stopped.clone();
    let serving = tokio::spawn({
        let router = routes::router(Arc::new(App::new(config)));
        async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(async move {
                    // An error means that the sender is gone, which is the end as well.
                    drop(on_stop.wait_for(|stop| *stop).await);
                })
                .await
        }
    });
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    log::info("stopping", &[]);
    stop.send_replace(true);
    match tokio::time::timeout(grace, serving).await {
        Ok(Ok(served)) => served.map_err(|error| error.to_string())?,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => log::error("requests in flight outlived the grace period", &[]),
    }
    log::info("stopped", &[]);
    Ok(())
}
