//! Carrying a lifecycle hook out: a command, an HTTP request, a pause.

use std::time::Duration;

use coracle_runtime::{Containers, ExecSpec, RuntimeError};
use k8s_openapi::api::core::v1::LifecycleHandler;

use crate::probe::{self, HOOKS_AGENT, Target};

/// A hook has the time that it takes; but no connection is waited for longer.
const CONNECT: Duration = Duration::from_secs(30);

/// Runs the hook of a container of the pod `pod`, written `NAME_NAMESPACE(UID)`; `ended` comes when
/// the container is gone.
///
/// # Errors
/// Upstream's sentence about what failed.
pub(crate) async fn run(
    runtime: &dyn Containers,
    target: &Target,
    pod: &str,
    handler: &LifecycleHandler,
    ended: impl Future<Output = ()>,
) -> Result<(), String> {
    let of = format!("for Container {:?} in Pod {pod:?} failed", target.container.name);
    tokio::select! {
        result = act(runtime, target, handler, &of) => result,
        () = ended => Err(match &handler.sleep {
            Some(sleep) => {
                let seconds = sleep.seconds;
                let why = "container terminated before sleep hook finished";
                format!("Sleep lifecycle hook ({seconds}) {of} - error: {why}")
            }
            None => format!("Lifecycle hook {of} - error: container terminated before it finished"),
        }),
    }
}

async fn act(
    runtime: &dyn Containers,
    target: &Target,
    handler: &LifecycleHandler,
    of: &str,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let args = exec.command.clone().unwrap_or_default();
        let what = format!("Exec lifecycle hook ([{}])", args.join(" "));
        return command(runtime, target, args)
            .await
            .map_err(|(why, output)| format!("{what} {of} - error: {why}, message: {output:?}"));
    }
    if let Some(get) = &handler.http_get {
        let got = probe::http_get(target, get, HOOKS_AGENT, CONNECT).await;
        let path = get.path.as_deref().unwrap_or_default();
        // Whatever the server answers, it was told.
        return got
            .map(drop)
            .map_err(|why| format!("HTTP lifecycle hook ({path}) {of} - error: {why}"));
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs())).await;
        return Ok(());
    }
    // As upstream, which accepts `tcpSocket` for the sake of old manifests and never runs it.
    Err(format!("Cannot run handler: invalid handler: coracle runs exec, httpGet and sleep ({of})"))
}

/// The error, and what the command printed.
async fn command(
    runtime: &dyn Containers,
    target: &Target,
    args: Vec<String>,
) -> Result<(), (String, String)> {
    let shown = args.join(" ");
    let spec = ExecSpec { args, tty: false, stdin: false, timeout: None };
    let silent = |error: RuntimeError| (error.to_string(), String::new());
    let session = runtime.exec(&target.pod_uid, &target.container_id, &spec).await;
    let session = session.map_err(silent)?;
    let (stdout, stderr) = tokio::join!(probe::text(session.stdout), probe::text(session.stderr));
    match session.exit.await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(code)) => {
            let why = format!("command '{shown}' exited with {code}: {stderr}");
            Err((why, format!("{stdout}{stderr}")))
        }
        Ok(Err(error)) => Err(silent(error)),
        Err(_) => Err(("the command's shim is gone".to_owned(), String::new())),
    }
}
