use super::{LIMIT, compile, evaluate, given};
use crate::EvalError;

/// Worked out by hand from the rules of cel-go's `interpreter/runtimecost.go`.
#[test]
fn what_upstream_counts_is_counted() {
    for (source, cost) in [
        ("true", 0),
        ("self.replicas", 2),
        ("has(self.name)", 1),
        ("has(self.labels.app)", 2),
        ("self.labels.app", 3),
        ("self.items[0]", 3),
        ("self.items[self.replicas - 3]", 6),
        ("self.replicas > 1", 3),
        ("self.replicas > 1 && self.on", 5),
        ("self.on || self.replicas > 1", 2),
        ("self.on ? 1 : self.replicas", 2),
        ("[1, 2, 3]", 10),
        ("[1, 2, 3][0]", 12),
        ("{'a': 1}", 30),
        ("self.name == 'boat'", 3),
        ("self.name.startsWith('b')", 3),
        ("self.name.contains('b')", 3),
        ("self.name + 'abcdefghijkl'", 4),
        ("self.name.matches('^[a-z]+$')", 4),
        ("self.items.size()", 3),
        ("self.items.sum()", 5),
        ("3 in self.items", 5),
        ("[1, 2, 3].all(x, true)", 20),
        ("[1, 2, 3].exists(x, false)", 23),
        ("[1].map(x, x)", 34),
        ("self.name.lowerAscii()", 3),
        ("self.name.replace('b', 'c')", 3),
        ("quantity('1')", 1),
        ("self.?name.orValue('x')", 3),
    ] {
        assert_eq!(evaluate(source).1, cost, "{source}");
    }
}

#[test]
fn an_evaluation_ends_where_its_cost_does() {
    let (of_self, any) = given();
    let program = compile("self.items.map(x, self.items.map(y, x * y)).size() > 0");
    let given = [("self", &of_self), ("any", &any)];
    let whole = program.evaluate(&given, LIMIT);
    assert!(whole.value.is_ok());
    for limit in 0..whole.cost {
        let cut = program.evaluate(&given, limit);
        assert_eq!(cut.value.err(), Some(EvalError::CostExceeded), "{limit}");
    }
    assert!(program.evaluate(&given, whole.cost).value.is_ok());
}

#[test]
fn no_failure_makes_up_for_the_cost() {
    let (of_self, any) = given();
    let program = compile("lists.range(1000000).all(x, x < 0) || true");
    let cut = program.evaluate(&[("self", &of_self), ("any", &any)], 1000);
    assert_eq!(
        cut.value.err().unwrap().to_string(),
        "operation cancelled: actual cost limit exceeded"
    );
}
