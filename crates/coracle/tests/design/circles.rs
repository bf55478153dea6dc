//! No circle of files: one that needs another is not needed by it, on whatever way.
//!
//! A module and its own children are one subject told in several files: what they say to each other
//! does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{root, shown, sources, without_tests};

/// A module's path in its crate: `["worker", "start"]`.
type Module = Vec<String>;

#[test]
fn no_files_need_each_other() {
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let folders = crates.map(|entry| entry.unwrap().path().join("src"));
    let mut circles = Vec::new();
    for folder in folders.chain([root().join("bench/src")]) {
        let needs = needs(&folder);
        for circle in circles_of(&needs) {
            let arrows = circle.iter().map(|module| {
                let to = needs[module].intersection(&circle).map(|to| to.join("::"));
                format!("  {} -> {}", module.join("::"), to.collect::<Vec<_>>().join(", "))
            });
            let arrows = arrows.collect::<Vec<_>>().join("\n");
            circles.push(format!("{}:\n{arrows}", shown(&folder)));
        }
    }
    assert!(
        circles.is_empty(),
        "move what both need to a file of its own:\n{}",
        circles.join("\n")
    );
}

/// Which modules of the crate in `folder` each of its modules names.
fn needs(folder: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let files = sources(shown(folder).as_str());
    let files: BTreeMap<Module, String> = files
        .into_iter()
        .filter_map(|(path, text)| Some((module(path.strip_prefix(folder).ok()?)?, text)))
        .collect();
    let names: BTreeSet<&Module> = files.keys().collect();
    let of = |module: &Module, text: &str| {
        let paths = paths(without_tests(text));
        let found = paths.iter().filter_map(|path| file_of(module, path, &names));
        found.filter(|to| to != module && !is_kin(module, to)).collect()
    };
    files.iter().map(|(module, text)| (module.clone(), of(module, text))).collect()
}

/// `None` for tests and programs beside the crate's own.
fn module(path: &Path) -> Option<Module> {
    let mut parts: Module =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.iter().any(|part| part.ends_with("tests") || part == "bin" || part == "world") {
        return None;
    }
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    Some(parts)
}

/// Whether one is the other's parent; all are children of the crate's root.
fn is_kin(a: &Module, b: &Module) -> bool {
    let is_parent =
        |parent: &Module, child: &Module| child.split_last().map(|(_, up)| up) == Some(parent);
    is_parent(a, b) || is_parent(b, a) || a.is_empty() || b.is_empty()
}

/// The file in which what `path` names from within `from` is, or the file that hands it on.
fn file_of(from: &Module, path: &[&str], files: &BTreeSet<&Module>) -> Option<Module> {
    let mut base = match path[0] {
        "crate" => Module::new(),
        _ => from.clone(),
    };
    let mut found = None;
    for name in path {
        match *name {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            name => base.push(name.to_owned()),
        }
        match files.contains(&base) {
            true => found = Some(base.clone()),
            false => break,
        }
    }
    found
}

/// Paths that begin in the crate, those in braces one by one.
fn paths(text: &str) -> Vec<Vec<&str>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = ["crate", "super", "self"].contains(&tokens[at]);
        if begins && tokens.get(at + 1) == Some(&"::") {
            at = follow(&tokens, at, Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path, or a tree of them, from `at` on; gives where it ends.
fn follow<'a>(
    tokens: &[&'a str],
    mut at: usize,
    mut path: Vec<&'a str>,
    found: &mut Vec<Vec<&'a str>>,
) -> usize {
    let is_name = |token: &&&str| token.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    loop {
        if tokens.get(at) == Some(&"{") {
            at += 1;
            while tokens.get(at).is_some_and(|token| *token != "}") {
                at = follow(tokens, at, path.clone(), found);
                while tokens.get(at).is_some_and(|token| !["}", ","].contains(token)) {
                    at += 1; // `as` another name, `*`
                }
                at += usize::from(tokens.get(at) == Some(&","));
            }
            return at + 1;
        }
        match tokens.get(at).filter(is_name) {
            Some(name) => path.push(name),
            None => return at,
        }
        if tokens.get(at + 1) != Some(&"::") {
            found.push(path);
            return at + 1;
        }
        at += 2;
    }
}

/// Names, `::`, braces and commas; everything else one character each, comments left out.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for line in text.lines() {
        let mut rest = line.split("//").next().unwrap_or(line);
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            if !first.is_whitespace() {
                tokens.push(&rest[..length]);
            }
            rest = &rest[length..];
        }
    }
    tokens
}

/// Sets of more than one module of which each reaches all others.
fn circles_of(needs: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        needs.keys().map(|module| (module, reach(needs, module))).collect();
    let mut circles: Vec<BTreeSet<Module>> = Vec::new();
    for module in needs.keys() {
        let circle: BTreeSet<Module> = reached[module]
            .iter()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(module)))
            .cloned()
            .collect();
        if circle.len() > 1 && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

/// All modules that `from` needs, at first or at further hand.
fn reach(needs: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for to in needs.get(module).into_iter().flatten() {
            if found.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    found
}

#[test]
fn trees_of_paths_are_read() {
    let text =
        "use crate::a::{b::C, d::{self, E as F}, g::*};\nlet x = super::h::i(1); // crate::no";
    let read = paths(text).into_iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(read, ["crate::a::b::C", "crate::a::d::self", "crate::a::d::E", "super::h::i"]);
}
