//! The rules of the design, as tests: arrows between crates point one way, pure crates stay pure,
//! nothing grows out of hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests a failed unwrap is the assertion")]

mod circles;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may depend on among ours.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("cel", &["api"]),
    ("store", &["api"]),
    ("runtime", &[]),
    ("controllers", &["api", "cel", "store"]),
    ("server", &["api", "cel", "store"]),
    ("network", &["api", "store"]),
    ("driver", &["api", "store", "server", "controllers"]),
    ("node", &["api", "store", "server", "controllers", "driver", "runtime", "network"]),
    ("sim", &["api", "store", "server", "controllers", "driver", "node", "runtime", "network"]),
    ("coracle", &["api", "store", "server", "controllers", "driver", "node", "runtime", "network"]),
    ("bench", &["api", "store", "controllers"]),
];

/// Where our Rust is, beside the applications.
const SOURCES: &[&str] = &["crates", "bench/src"];

/// Folders and files whose code decides: no I/O, no clock, no randomness, no `async`.
const PURE: &[&str] = &[
    "crates/api/src",
    "crates/cel/src",
    "crates/controllers/src",
    "crates/network/src/policies",
    "crates/node/src/evictions",
    "crates/node/src/planner",
    "crates/node/src/simulated/life.rs",
    "crates/node/src/simulated/pod.rs",
    "crates/node/src/simulated/recover.rs",
    "crates/node/src/volumes/claims.rs",
    "crates/node/src/volumes/payload.rs",
    "crates/node/src/volumes/trust.rs",
    "crates/node/src/worker",
    "crates/server/src/audit/event.rs",
    "crates/server/src/audit/policy.rs",
    "crates/server/src/auth/jwt",
    "crates/server/src/fairness",
    "crates/server/src/pipeline/actions",
    "crates/server/src/pipeline/admission",
    "crates/server/src/pipeline/content",
    "crates/server/src/pipeline/verbs",
    "crates/server/src/pipeline/write",
];

/// What a pure file may not say, and why.
const IMPURE: &[(&str, &str)] = &[
    ("std::fs", "reads or writes files"),
    ("std::net::Tcp", "opens sockets"),
    ("std::net::Udp", "opens sockets"),
    ("std::process", "starts processes"),
    ("SystemTime::now", "reads the clock"),
    ("Instant::now", "reads the clock"),
    ("Timestamp::now", "reads the clock"),
    ("Zoned::now", "reads the clock"),
    ("getrandom", "draws random numbers"),
    ("async fn", "waits"),
    ("tokio::", "waits"),
];

/// Where things are decided: an order that differs from run to run would be a second history.
const DECIDING: &[&str] = &[
    "crates/controllers/src",
    "crates/node/src/evictions",
    "crates/node/src/planner",
    "crates/node/src/worker",
];
const RANDOM_ORDER: &[(&str, &str)] = &[
    ("HashMap", "has a random order (use BTreeMap)"),
    ("HashSet", "has a random order (use BTreeSet)"),
];

const LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The Rust file `place`, or those under it, with their text.
fn sources(place: &str) -> Vec<(PathBuf, String)> {
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let rust = files(&root().join(place)).into_iter().filter(is_rust);
    let read = rust.map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    });
    let found: Vec<_> = read.collect();
    assert!(!found.is_empty(), "{place} is elsewhere");
    found
}

/// The file `place`, or all below it, but for what is built.
fn files(place: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![place.to_path_buf()];
    while let Some(path) = left.pop() {
        if path.ends_with("target") || path.ends_with("__pycache__") {
            continue;
        }
        match fs::read_dir(&path) {
            Ok(entries) => left.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => found.push(path),
        }
    }
    found.retain(|path| path.exists());
    found
}

/// The part of a file before its inline tests; those in files of their own are named before it.
fn without_tests(text: &str) -> &str {
    let starts = text.match_indices("#[cfg(test)]\n").map(|(at, _)| at);
    let is_inline = |at: &usize| {
        let line = text[*at..].lines().nth(1).unwrap_or_default();
        line.contains("mod ") && line.ends_with('{')
    };
    text.get(..starts.filter(is_inline).min().unwrap_or(text.len())).unwrap_or(text)
}

/// Whether a file is only compiled for tests, by its name or because its parent says so.
fn is_test(path: &Path) -> bool {
    let says_test = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    let stem = path.file_stem().unwrap().to_string_lossy();
    let folder = path.parent().unwrap();
    let sibling = folder.with_extension("rs");
    let parents = ["mod.rs", "lib.rs", "main.rs"].map(|name| folder.join(name));
    let declares = |parent: &PathBuf| {
        let text = fs::read_to_string(parent).unwrap_or_default();
        text.split("#[cfg(test)]\n").skip(1).any(|rest| {
            let line = rest.lines().find(|line| !line.starts_with("#[")).unwrap_or_default();
            line.trim_start_matches("pub(crate) ") == format!("mod {stem};")
        })
    };
    path.components().any(|part| says_test(part.as_os_str()))
        || stem.ends_with("_tests")
        || parents.iter().chain([&sibling]).any(declares)
}

fn shown(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap_or(path);
    path.display().to_string().trim_start_matches("../").to_string()
}

#[test]
fn arrows_between_crates_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    for folder in crates.chain([root().join("bench")]) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_string();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("no arrows for {name}"));
        for line in dependencies.lines().filter_map(|line| line.strip_prefix("coracle-")) {
            let to = line.split(['.', ' ', '=']).next().unwrap();
            assert!(allowed.contains(&to), "{name} may not depend on {to}");
        }
    }
}

#[test]
fn pure_files_stay_pure() {
    let found = [said(PURE, IMPURE), said(DECIDING, RANDOM_ORDER)].concat();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Where the sources under `folders`, without their tests, say one of `words`, and why not to.
fn said(folders: &[&str], words: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in folders.iter().flat_map(|folder| sources(folder)) {
        if is_test(&path) {
            continue;
        }
        for (number, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            for (word, why) in words.iter().filter(|(word, _)| code.contains(word)) {
                found.push(format!("{}:{}: `{word}` {why}", shown(&path), number + 1));
            }
        }
    }
    found
}

/// A kind is its group and resource: `Kind::is`, with a name of `api::resources`.
#[test]
fn no_kind_is_told_by_its_plural_alone() {
    const BARE: &[(&str, &str)] = &[
        (".plural == \"", "is one of several groups' (use Kind::is)"),
        (".plural != \"", "is one of several groups' (use Kind::is)"),
        ("match &*kind.plural", "is one of several groups' (match on the GroupResource)"),
        ("match kind.plural", "is one of several groups' (match on the GroupResource)"),
    ];
    let found = said(&["crates"], BARE);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Where a word that is also a resource's name means something else.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("api/src/kinds/resources.rs", "is the table of names"),
    ("api/src/print/workloads.rs", "a source of metrics"),
    ("api/src/write/validation/autoscaling.rs", "a source of metrics"),
    ("api/src/write/validation/container.rs", "a resource that quotas count"),
    ("api/src/write/validation/flow_control.rs", "a field"),
    ("controllers/src/bootstrap.rs", "a field"),
    ("controllers/src/endpoints/slices.rs", "a field"),
    ("coracle/src/show.rs", "a line of `coracle status`"),
    ("network/src/linux/elements.rs", "a map of the kernel"),
    ("network/src/linux/ranges.rs", "a word for people"),
    ("node/src/node.rs", "a directory"),
    ("node/src/volumes/places.rs", "a directory"),
    ("server/src/auth/roles.rs", "a word of an RBAC rule"),
    ("server/src/edge/node_door.rs", "a part of a node"),
];

/// Names of resources are spelt once, in `api::resources`: what is not a key of JSON, a field or one
/// of the words above is one of its constants.
#[test]
fn no_resource_is_spelt_outside_the_table() {
    let table = root().join("crates/api/src/kinds/resources.rs");
    let table = fs::read_to_string(table).unwrap();
    let names = table.split('"').skip(1).step_by(2);
    let names: Vec<&str> = names.flat_map(|name| [name, name.split('.').next().unwrap()]).collect();
    assert!(names.len() > 100, "the table is elsewhere");
    let mut found = Vec::new();
    for (path, text) in sources("crates") {
        let shown = shown(&path);
        let means_another = OTHER_WORDS.iter().any(|(file, _)| shown.ends_with(file));
        if means_another || is_test(&path) || !shown.contains("/src/") {
            continue;
        }
        for (number, line) in without_tests(&text).lines().enumerate() {
            for name in names.iter().filter(|name| spells(line, name)) {
                found.push(format!("{shown}:{}: \"{name}\" (use api::resources)", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether `line` has `name` as a literal that is neither a key of JSON nor a field.
fn spells(line: &str, name: &str) -> bool {
    let literal = format!("\"{name}\"");
    line.split("//").next().unwrap_or(line).match_indices(&literal).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + literal.len()..]);
        let is_index = before.ends_with('[') && after.starts_with(']');
        !after.starts_with(':') && !is_index && !before.ends_with("child(")
    })
}

#[test]
fn unsafe_code_is_where_system_calls_are() {
    // The last gives freed memory back: one call of the C library.
    let allowed = ["crates/runtime/", "crates/network/", "crates/store/src/memory.rs"];
    for (path, text) in sources("crates") {
        let path = shown(&path);
        if path.contains("/src/") && !allowed.iter().any(|folder| path.contains(folder)) {
            let code = without_tests(&text);
            assert!(!code.contains("unsafe {") && !code.contains("unsafe fn"), "unsafe in {path}");
        }
    }
}

#[test]
fn no_file_has_grown_out_of_hand() {
    let long: Vec<String> = SOURCES
        .iter()
        .flat_map(|folder| sources(folder))
        .map(|(path, text)| (shown(&path), text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path} has {lines} lines: which second subject is in it?"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn functions_fit_on_a_screen() {
    let mut long = Vec::new();
    for (path, text) in SOURCES.iter().flat_map(|folder| sources(folder)) {
        for (name, lines) in functions(without_tests(&text)) {
            if lines > FUNCTION_LINES_MAX {
                long.push(format!("{}: fn {name} has {lines} lines", shown(&path)));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// Names and lengths of the functions in formatted code: from `fn` to the brace at its indent.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let Some(name) = function_name(trimmed) else { continue };
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == close).unwrap_or(0);
        found.push((name.to_string(), end));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub") || ["async", "const", "unsafe", "extern"].contains(word)
    });
    (words.next() == Some("fn"))
        .then(|| words.next())?
        .map(|name| name.split(['(', '<']).next().unwrap_or(name))
}

#[test]
fn each_seam_has_two_implementations() {
    let all = sources("crates");
    for seam in ["Containers", "Kernel", "Outside"] {
        let says = format!("impl {seam} for ");
        let found = all.iter().filter(|(path, text)| {
            let is_test = path.components().any(|part| part.as_os_str() == "tests");
            !is_test && text.lines().any(|line| line.starts_with(&says))
        });
        let found: Vec<_> = found.map(|(path, _)| shown(path)).collect();
        assert!(found.len() >= 2, "{seam} is implemented only in {found:?}");
    }
}

#[test]
fn every_dependency_has_its_line() {
    let reasons = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    for line in section.lines().take_while(|line| !line.starts_with('[')) {
        let Some(name) = line.split([' ', '=', '.']).next().filter(|name| !name.is_empty()) else {
            continue;
        };
        if !name.starts_with("coracle-") && !name.starts_with('#') {
            let row = format!("- `{name}`:");
            assert!(reasons.contains(&row), "docs/dependencies.md says nothing about {name}");
        }
    }
}

/// Tests run on a private host without a way out: what they need is installed by `make` before.
#[test]
fn nothing_under_tests_installs() {
    let installers =
        ["apt-install", "apt-get", "pip install", "\"pip\"", "npm", "scripts/test-images"];
    let mut found = Vec::new();
    for path in files(&root().join("tests")) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            let code = line.split('#').next().unwrap_or(line);
            for word in installers.iter().filter(|word| code.contains(*word)) {
                found.push(format!("{}:{}: `{word}`", shown(&path), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "a make target installs, not a test:\n{}", found.join("\n"));
}

/// Operators on times and durations panic at the ends of their ranges, and users write any number.
/// Clippy knows the types: it refuses them in every crate that runs in production, but lets integers
/// be.
#[test]
fn no_operator_panics_on_times_and_sizes() {
    let denied = "#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]";
    for (name, _) in ARROWS.iter().filter(|(name, _)| !["sim", "bench"].contains(name)) {
        let roots = ["lib.rs", "main.rs"]
            .map(|file| root().join("crates").join(name).join("src").join(file));
        let text = roots.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap();
        assert!(text.contains(denied), "{name} lets operators panic");
    }
    let config = fs::read_to_string(root().join("clippy.toml")).unwrap();
    let allowed =
        config.lines().find(|line| line.starts_with("arithmetic-side-effects-allowed = "));
    let types = allowed.unwrap().split('"').skip(1).step_by(2);
    let is_integer =
        |name: &str| name == "usize" || name == "isize" || name[1..].parse::<u8>().is_ok();
    assert!(types.clone().count() == 12 && types.clone().all(is_integer), "{config}");
    let silenced = said(&["crates"], &[("arithmetic_side_effects)]", "lets operators panic")]);
    let roots_only =
        silenced.iter().all(|line| line.contains("lib.rs") || line.contains("main.rs"));
    assert!(roots_only, "{}", silenced.join("\n"));
}
