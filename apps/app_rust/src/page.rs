//! The page: plain HTML that looks right on a phone and needs no JavaScript.

use crate::peers::Replica;

/// Height of a bar in the chart and the distance to the next, in its own units.
const BAR: usize = 22;
const STEP: usize = 30;

/// The page of `pod` after its visit number `visits`.
pub fn render(pod: &str, visits: u64, replicas: &[Replica], version: &str) -> String {
    let pod = escape(pod);
    let version = escape(version);
    let total: u64 = replicas.iter().filter_map(|replica| replica.visits).sum();
    let chart = chart(replicas, &pod);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{pod}: {visits} visits</title>
<style>
:root {{ color-scheme: light dark; --bar: #b7410e; --other: #d9a58c; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 0 auto; padding: 2rem 1rem; }}
h1 {{ font-size: 1.25rem; margin: 0; }}
.visits {{ font-size: 4.5rem; font-weight: 700; line-height: 1.1; margin: .25rem 0 0; }}
svg {{ width: 100%; height: auto; }}
svg text {{ fill: currentColor; font-size: 14px; }}
footer {{ margin-top: 2rem; opacity: .7; font-size: .875rem; }}
</style>
</head>
<body>
<main>
<h1>{pod}</h1>
<p class="visits" id="visits">{visits}</p>
<p>visits of this replica, <span id="total">{total}</span> of all that answered</p>
{chart}
</main>
<footer>app-rust <span id="version">{version}</span></footer>
</body>
</html>
"#
    )
}

fn chart(replicas: &[Replica], own: &str) -> String {
    let max = replicas.iter().filter_map(|replica| replica.visits).max().unwrap_or(0).max(1);
    let height = replicas.len() * STEP;
    let mut rows = String::new();
    for (index, replica) in replicas.iter().enumerate() {
        let name = escape(&replica.name);
        let y = index * STEP;
        let text = y + 16;
        let color = if name == own { "var(--bar)" } else { "var(--other)" };
        let (width, label) = match replica.visits {
            Some(visits) => ((visits * 200).div_ceil(max), visits.to_string()),
            None => (0, "missing".to_string()),
        };
        let after = 128 + width;
        rows += &format!(
            "<g data-replica=\"{name}\"><text x=\"0\" y=\"{text}\">{name}</text>\
             <rect x=\"120\" y=\"{y}\" width=\"{width}\" height=\"{BAR}\" rx=\"3\" fill=\"{color}\"/>\
             <text class=\"count\" x=\"{after}\" y=\"{text}\">{label}</text></g>\n"
        );
    }
    format!(
        "<svg viewBox=\"0 0 400 {height}\" role=\"img\" aria-label=\"Visits of each replica\">\n{rows}</svg>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_replica_and_names_those_missing() {
        let replicas = [
            Replica { name: "app-rust-0".into(), visits: Some(56) },
            Replica { name: "app-rust-1".into(), visits: None },
        ];
        let page = render("app-rust-0", 56, &replicas, "<1>");
        assert!(page.contains("<p class=\"visits\" id=\"visits\">56</p>"), "{page}");
        assert!(page.contains(">missing</text>") && page.contains("&lt;1&gt;"), "{page}");
        assert!(!page.contains("<script"));
    }
}
