//! Which of several nodes is best for a pod: each rule gives 0 to 100, and they are weighed as
//! upstream's are by default.

use coracle_api::sums::ASSUMED;
use k8s_openapi::api::core::v1::{PreferredSchedulingTerm, Taint};

use super::ask::Ask;
use super::likes::likings;
use super::nodes::{Nodes, Place};
use super::request::Amounts;
use super::selectors::{holds, tolerates};
use super::spread::Spread;

/// What the best gets.
const BEST: i64 = 100;

/// Sizes of images between which it matters that one is there.
const IMAGE_MIN: i64 = 23 << 20;
const IMAGE_MAX: i64 = 1000 << 20;

/// A rule: the scores of the places, 0 to 100 each.
type Rule = fn(&Nodes, &Ask<'_>, &[&Place]) -> Vec<i64>;

/// What each rule weighs.
const RULES: [(Rule, i64); 7] = [
    (by_taints, 3),
    (by_affinity, 2),
    (by_spread, 2),
    (by_company, 2),
    (by_room, 1),
    (by_balance, 1),
    (by_images, 1),
];

/// The best of `places`; of those that are as good, the first.
pub(super) fn best<'a>(nodes: &Nodes, ask: &Ask<'_>, places: &[&'a Place]) -> Option<&'a Place> {
    if places.len() < 2 {
        return places.first().copied();
    }
    let mut totals = vec![0_i64; places.len()];
    for (rule, weight) in RULES {
        for (total, score) in totals.iter_mut().zip(rule(nodes, ask, places)) {
            *total = total.saturating_add(score.saturating_mul(weight));
        }
    }
    let most = totals.iter().max()?;
    let at = totals.iter().position(|total| total == most)?;
    places.get(at).copied()
}

/// `part` of `whole` in hundredths.
fn percent(part: i64, whole: i64) -> i64 {
    let whole = i128::from(whole.max(1));
    i64::try_from(i128::from(part) * i128::from(BEST) / whole).unwrap_or(BEST)
}

/// The most gets 100, nothing gets nothing.
fn up_to_the_most(counts: &[i64]) -> Vec<i64> {
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().map(|count| percent(*count, most)).collect()
}

/// Taints that would rather not have the pod.
fn by_taints(_: &Nodes, ask: &Ask<'_>, places: &[&Place]) -> Vec<i64> {
    let unwanted =
        |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerates(ask.tolerations(), taint);
    let count = |place: &&Place| place.taints.iter().filter(unwanted).count() as i64;
    let counts: Vec<_> = places.iter().map(count).collect();
    up_to_the_most(&counts).into_iter().map(|score| BEST - score).collect()
}

/// The pod's preferred node affinity.
fn by_affinity(_: &Nodes, ask: &Ask<'_>, places: &[&Place]) -> Vec<i64> {
    let spec = ask.pod.spec.as_ref();
    let rules = spec.and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let terms = rules
        .and_then(|rules| rules.preferred_during_scheduling_ignored_during_execution.as_deref());
    let weigh = |place: &&Place| {
        let holding = terms.unwrap_or_default().iter().filter(|term: &&PreferredSchedulingTerm| {
            holds(&term.preference, &place.labels, place.name())
        });
        holding.fold(0_i64, |sum, term| sum.saturating_add(term.weight.into()))
    };
    up_to_the_most(&places.iter().map(weigh).collect::<Vec<_>>())
}

/// Constraints that should hold: the less crowded, the better.
fn by_spread(nodes: &Nodes, ask: &Ask<'_>, places: &[&Place]) -> Vec<i64> {
    let spread = Spread::preferred(nodes, ask.object, ask.pod);
    if spread.constraints.is_empty() {
        return vec![0; places.len()];
    }
    let crowds = spread.crowds(nodes, places);
    let most = crowds.iter().flatten().copied().max().unwrap_or(0);
    let least = crowds.iter().flatten().copied().min().unwrap_or(0);
    let score = |crowd: &Option<i64>| match crowd {
        None => 0,
        Some(_) if most == 0 => BEST,
        Some(crowd) => percent(most.saturating_add(least).saturating_sub(*crowd), most),
    };
    crowds.iter().map(score).collect()
}

/// What pods would like of each other.
fn by_company(nodes: &Nodes, ask: &Ask<'_>, places: &[&Place]) -> Vec<i64> {
    let Some(likings) = likings(nodes, ask, places) else { return vec![0; places.len()] };
    let most = likings.iter().copied().max().unwrap_or(0).max(0);
    let least = likings.iter().copied().min().unwrap_or(0).min(0);
    let range = most.saturating_sub(least);
    let score = |liking: &i64| percent(liking.saturating_sub(least), range);
    likings.iter().map(score).collect()
}

fn of(amounts: &Amounts, name: &str) -> i64 {
    amounts.get(name).copied().unwrap_or(0)
}

/// Where the most is left, also of what is only assumed to be taken.
fn by_room(_: &Nodes, ask: &Ask<'_>, places: &[&Place]) -> Vec<i64> {
    let score = |place: &&Place| {
        let there = ASSUMED.iter().filter(|(name, _)| of(&place.allocatable, name) > 0);
        let scores = there.map(|(name, assumed)| {
            let all = of(&place.allocatable, name);
            let own = of(&ask.request.amounts, name);
            let taken = of(&place.used, name)
                .saturating_add(of(&place.used, assumed))
                .saturating_add(own)
                .saturating_add(ask.request.assumed.get(name).copied().unwrap_or(0));
            percent(all.saturating_sub(taken).max(0), all)
        });
        let scores: Vec<i64> = scores.collect();
        let sum = scores.iter().fold(0_i64, |sum, score| sum.saturating_add(*score));
        sum / (scores.len() as i64).max(1)
    };
    places.iter().map(score).collect()
}

/// Where about as much of the one is taken as of the other. A pod that asks for nothing changes no
/// balance (kubernetes#129138).
fn by_balance(_: &Nodes, ask: &Ask<'_>, places: &[&Place]) -> Vec<i64> {
    const WHOLE: i64 = 1_000_000;
    if ASSUMED.iter().all(|(name, _)| of(&ask.request.amounts, name) == 0) {
        return vec![0; places.len()];
    }
    let score = |place: &&Place| {
        let there = ASSUMED.iter().filter(|(name, _)| of(&place.allocatable, name) > 0);
        let taken = there.map(|(name, _)| {
            let taken = of(&place.used, name).saturating_add(of(&ask.request.amounts, name));
            let all = i128::from(of(&place.allocatable, name));
            i64::try_from(i128::from(taken) * i128::from(WHOLE) / all).unwrap_or(WHOLE).min(WHOLE)
        });
        let deviation = match taken.collect::<Vec<_>>().as_slice() {
            [one, other] => one.abs_diff(*other) / 2,
            _ => 0,
        };
        let rest = WHOLE.saturating_sub(i64::try_from(deviation).unwrap_or(WHOLE));
        percent(rest, WHOLE)
    };
    places.iter().map(score).collect()
}

/// Where the pod's images are, but for small ones and those that are on few of the nodes.
fn by_images(nodes: &Nodes, ask: &Ask<'_>, places: &[&Place]) -> Vec<i64> {
    let spec = ask.pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let app = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let wanted: Vec<String> =
        init.iter().chain(app).filter_map(|it| it.image.as_deref()).map(tagged).collect();
    let holders: Vec<i64> = wanted
        .iter()
        .map(|image| nodes.iter().filter(|place| image_size(place, image).is_some()).count() as i64)
        .collect();
    let score = |place: &&Place| {
        let sizes = wanted.iter().zip(&holders).map(|(image, holders)| {
            let size = image_size(place, image).unwrap_or(0);
            size.saturating_mul(*holders) / (nodes.len() as i64).max(1)
        });
        let most = IMAGE_MAX.saturating_mul((wanted.len() as i64).max(1));
        let sum = sizes.fold(0_i64, i64::saturating_add).clamp(IMAGE_MIN, most);
        percent(sum.saturating_sub(IMAGE_MIN), most.saturating_sub(IMAGE_MIN))
    };
    places.iter().map(score).collect()
}

/// The image with its tag.
fn tagged(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or_default();
    if name.contains(':') || name.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

/// The size of an image that the node has.
fn image_size(place: &Place, wanted: &str) -> Option<i64> {
    let images = place.node.status.as_ref()?.images.as_ref()?;
    let is_wanted = |names: &Vec<String>| names.iter().any(|name| name == wanted);
    let found = images.iter().find(|image| image.names.as_ref().is_some_and(is_wanted))?;
    Some(found.size_bytes.unwrap_or(0).max(0))
}
