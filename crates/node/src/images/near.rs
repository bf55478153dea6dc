//! Names that somebody may have meant.

/// So many are told.
const NEAR_MAX: usize = 3;
/// How much alike two names are at least: 1 is the same.
const ALIKE: f64 = 0.75;

/// Those of `names`, which are full, that look like `name`: the most alike first.
pub(super) fn near<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let alike = |known: &'a String| {
        let (asked, short) = (short(name), short(known));
        let whole = strsim::normalized_damerau_levenshtein(asked, short);
        let untagged = strsim::normalized_damerau_levenshtein(untagged(asked), untagged(short));
        (whole.max(untagged), known)
    };
    let mut found: Vec<_> = names.map(alike).filter(|(alike, _)| *alike >= ALIKE).collect();
    found.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    found.into_iter().take(NEAR_MAX).map(|(_, known)| known.clone()).collect()
}

/// Without what most names begin with.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

fn untagged(name: &str) -> &str {
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    name[path..].find([':', '@']).map_or(name, |end| &name[..path + end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelt_alike_or_has_another_tag_is_near() {
        let names = [
            "docker.io/library/app-python:0.1.0",
            "docker.io/library/app-rust:0.1.0",
            "ghcr.io/team/app-python:2",
            "docker.io/library/redis:7",
        ]
        .map(str::to_owned);
        let near = |name: &str| near(name, names.iter());
        assert_eq!(near("app-pyhton:0.1.0"), [names[0].clone()]);
        assert_eq!(near("redis:8"), [names[3].clone()]);
        assert_eq!(near("ghcr.io/team/app-python"), [names[2].clone()]);
        assert!(near("postgres").is_empty());
    }
}
