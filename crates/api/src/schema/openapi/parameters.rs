//! Parameters of operations: those of the query, and those in the path.

use crate::kind::Subresource;

/// A parameter of an operation or of a path.
#[derive(Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    /// `query` or `path`.
    pub place: &'static str,
    /// `string`, `integer` or `boolean`.
    pub ty: &'static str,
    pub about: &'static str,
}

const fn query(name: &'static str, ty: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: "query", ty, about }
}

const fn path(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: "path", ty: "string", about }
}

pub(super) const NAME: &Parameter = &path("name", "name of the object");
pub(super) const NAMESPACE: &Parameter = &path("namespace", "namespace of the object");
pub(super) const PATH: &Parameter = &path("path", "path to the resource behind the proxy");
pub(super) const PRETTY: &Parameter =
    &query("pretty", "string", "If 'true', the answer is indented.");

/// What every write takes.
pub(super) const WRITE: &[Parameter] = &[
    query(
        "dryRun",
        "string",
        "With 'All' the request goes through all stages, but nothing is stored.",
    ),
    query(
        "fieldManager",
        "string",
        "Who the change is attributed to: at most 128 printable characters. Required for apply.",
    ),
    query(
        "fieldValidation",
        "string",
        "What becomes of unknown and duplicate fields: 'Ignore' drops them silently, 'Warn' (the default) warns of each, 'Strict' refuses the request.",
    ),
];

pub(super) const FORCE: &Parameter = &query(
    "force",
    "boolean",
    "Whether an apply takes over fields that others own. Only for apply.",
);

/// What every deletion takes.
pub(super) const DELETE: &[Parameter] = &[
    query(
        "dryRun",
        "string",
        "With 'All' the request goes through all stages, but nothing is stored.",
    ),
    query(
        "gracePeriodSeconds",
        "integer",
        "Seconds that the object is given before it is deleted; zero deletes at once, none means the default of its kind.",
    ),
    query(
        "orphanDependents",
        "boolean",
        "Deprecated, see propagationPolicy: whether the dependents stay.",
    ),
    query(
        "propagationPolicy",
        "string",
        "What becomes of the dependents: 'Orphan' leaves them, 'Background' deletes them after the object, 'Foreground' before it.",
    ),
];

/// What a list or watch takes.
pub(super) const LIST: &[Parameter] = &[
    query("allowWatchBookmarks", "boolean", "Whether a watch also sends BOOKMARK events."),
    query(
        "continue",
        "string",
        "The token of the page before, with otherwise the same parameters.",
    ),
    query("fieldSelector", "string", "Restricts the list by fields of the objects."),
    query("labelSelector", "string", "Restricts the list by labels of the objects."),
    query("limit", "integer", "The greatest number of objects on a page."),
    query("resourceVersion", "string", "How old the answer may be, or where a watch begins."),
    query(
        "resourceVersionMatch",
        "string",
        "How resourceVersion applies to a list: 'Exact' or 'NotOlderThan'.",
    ),
    query(
        "sendInitialEvents",
        "boolean",
        "Whether a watch begins with the objects that are there, ended by a bookmark.",
    ),
    query("timeoutSeconds", "integer", "How long a list or watch may take."),
    query("watch", "boolean", "Follows the changes instead of listing."),
];

/// What a subresource of pods, services and nodes takes.
pub(super) fn of_subresource(name: Subresource) -> &'static [Parameter] {
    match name {
        Subresource::Exec => EXEC,
        Subresource::Attach => ATTACH,
        Subresource::PortForward => PORT_FORWARD,
        Subresource::Log => LOG,
        Subresource::Proxy => PROXY,
        _ => &[],
    }
}

const CONTAINER: Parameter =
    query("container", "string", "The container; the only one when there is one.");
const STDERR: Parameter = query("stderr", "boolean", "Whether standard error is redirected.");
const STDIN: Parameter = query("stdin", "boolean", "Whether standard input is redirected.");
const STDOUT: Parameter = query("stdout", "boolean", "Whether standard output is redirected.");
const TTY: Parameter = query("tty", "boolean", "Whether the process gets a terminal.");
const COMMAND: Parameter = query("command", "string", "What to run, an argument at a time.");

const EXEC: &[Parameter] = &[COMMAND, CONTAINER, STDERR, STDIN, STDOUT, TTY];
const ATTACH: &[Parameter] = &[CONTAINER, STDERR, STDIN, STDOUT, TTY];
const PORT_FORWARD: &[Parameter] = &[query("ports", "integer", "Ports to forward.")];
const PROXY: &[Parameter] = &[query("path", "string", "Path to the resource behind the proxy.")];
const LOG: &[Parameter] = &[
    CONTAINER,
    query("follow", "boolean", "Whether the answer goes on until the container ends."),
    query("insecureSkipTLSVerifyBackend", "boolean", "Whether the node's certificate is trusted."),
    query("limitBytes", "integer", "The greatest number of bytes."),
    query("previous", "boolean", "The log of the container that was terminated before."),
    query("sinceSeconds", "integer", "Only what is not older than so many seconds."),
    query("sinceTime", "string", "Only what is not older than this time (RFC 3339)."),
    query("stream", "string", "Which stream: 'All', 'Stdout' or 'Stderr'."),
    query("tailLines", "integer", "So many lines from the end."),
    query("timestamps", "boolean", "Whether every line begins with its time."),
];
