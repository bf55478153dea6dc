//! The page: plain HTML that looks right on a phone and needs no JavaScript.

use crate::peers::Replica;

/// Shared with app_python, which shows the same page.
const TEMPLATE: &str = include_str!("../../page.html");

/// The page of `pod` after its visit number `visits`.
pub fn render(pod: &str, visits: u64, replicas: &[Replica], version: &str) -> String {
    let total: u64 = replicas.iter().filter_map(|replica| replica.visits).sum();
    let most = replicas.iter().filter_map(|replica| replica.visits).max().unwrap_or(0).max(1);
    let bars: String = replicas.iter().map(|replica| bar(replica, pod, most)).collect();
    fill(|name| match name {
        "app" => "app-rust".into(),
        "pod" => escape(pod),
        "visits" => visits.to_string(),
        "total" => total.to_string(),
        "bars" => bars.clone(),
        "version" => escape(version),
        _ => format!("{{{name}}}"),
    })
}

/// The template with each `{word}` replaced; braces around anything else stay (they are CSS).
fn fill(value: impl Fn(&str) -> String) -> String {
    let mut page = String::with_capacity(2 * TEMPLATE.len());
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once('{') {
        page += before;
        let word = after.find(|c: char| !c.is_ascii_lowercase()).filter(|end| *end > 0);
        match word.and_then(|end| after[end..].strip_prefix('}').map(|rest| (&after[..end], rest)))
        {
            Some((name, after)) => {
                page += &value(name);
                rest = after;
            }
            None => {
                page.push('{');
                rest = after;
            }
        }
    }
    page + rest
}

fn bar(replica: &Replica, own: &str, most: u64) -> String {
    let name = escape(&replica.name);
    let class = match replica.visits {
        None => "missing",
        Some(_) if replica.name == own => "own",
        Some(_) => "other",
    };
    let count = replica.visits.map_or("missing".to_string(), |visits| visits.to_string());
    let width = u128::from(replica.visits.unwrap_or(0)) * 100 / u128::from(most);
    format!(
        "<li class=\"{class}\" data-replica=\"{name}\"><div class=\"row\">\
         <span class=\"name\">{name}</span><span class=\"count\">{count}</span></div>\
         <div class=\"track\"><div class=\"bar\" style=\"width:{width}%\"></div></div></li>\n"
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
            Replica { name: "app-rust-2".into(), visits: Some(14) },
        ];
        let page = render("app-rust-0", 56, &replicas, "<1>");
        assert!(page.contains("<p class=\"visits\" id=\"visits\">56</p>"), "{page}");
        assert!(page.contains("<span id=\"total\">70</span>"), "{page}");
        assert!(page.contains(">missing</span>") && page.contains("&lt;1&gt;"), "{page}");
        assert!(page.contains("width:100%") && page.contains("width:25%"), "{page}");
        assert!(!page.contains("<script"));
    }

    #[test]
    fn every_word_of_the_template_is_filled_and_its_styles_stay() {
        let page = render("p", 1, &[], "1");
        for word in ["pod", "visits", "total", "bars", "app", "version"] {
            assert!(!page.contains(&format!("{{{word}}}")), "{word} is left in {page}");
        }
        assert!(page.contains("* { box-sizing: border-box; margin: 0; }"));
    }
}
