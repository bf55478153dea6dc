//! `docs/commands.md`, from the command line's own definition.

use clap::{Arg, Command};

const HEAD: &str = "# Commands\n\nWhat `coracle --help` says, of all commands; a test holds that it is so \
                    (`RENEW=1 cargo test -p coracle manual` writes it anew).\n";

/// The whole text.
pub fn manual(root: &Command) -> String {
    let mut root = root.clone();
    root.build();
    let mut text = HEAD.to_owned();
    tell(&root, &mut text);
    text
}

fn tell(command: &Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    *text += &format!("\n## `{name}`\n\n{about}.\n\n```\n{usage}\n```\n");
    let is_own = |arg: &&Arg| {
        let is_common = arg.is_global_set() && command.get_name() != "coracle";
        !arg.is_hide_set() && !is_common && arg.get_id() != "help"
    };
    let lines: Vec<_> = command.get_arguments().filter(is_own).map(argument).collect();
    if !lines.is_empty() {
        *text += &format!("\n{}\n", lines.join("\n"));
    }
    let below = command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help");
    below.for_each(|below| tell(below, text));
}

fn argument(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    format!("- `{short}{arg}`: {help}")
}
