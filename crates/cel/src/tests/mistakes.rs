use super::environment;
use crate::{Environment, Issue, Type};

fn told(source: &str) -> String {
    environment().compile(source).err().map(|it| Issue::show_all(&it)).unwrap_or_default()
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    for (source, expected) in [
        ("self.x", "1:5: undefined field 'x'\n | self.x\n | ....^"),
        ("x + 1", "1:1: undeclared reference to 'x' (in container '')\n | x + 1\n | ^"),
        (
            "self.f(1)",
            "1:7: undeclared reference to 'f' (in container '')\n | self.f(1)\n | ......^",
        ),
        (
            "self.name > 1",
            "1:11: found no matching overload for '_>_' applied to '(string, int)'\n | self.name > \
             1\n | ..........^",
        ),
        (
            "self.name.contains(1)",
            "1:19: found no matching overload for 'contains' applied to 'string.(int)'\n | \
             self.name.contains(1)\n | ..................^",
        ),
        (
            "1 == 1.0",
            "1:3: found no matching overload for '_==_' applied to '(int, double)'\n | 1 == 1.0\n | \
             ..^",
        ),
        (
            "self.on && 1",
            "1:9: found no matching overload for '_&&_' applied to '(bool, int)'\n | self.on && 1\n \
             | ........^",
        ),
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^"),
        (
            "{1: 'a', 'b': 'c'}",
            "1:10: expected type 'int' but found 'string'\n | {1: 'a', 'b': \
         'c'}\n | .........^",
        ),
        (
            "self.name.x",
            "1:10: type 'string' does not support field selection\n | self.name.x\n | \
         .........^",
        ),
        (
            "self.name.all(x, true)",
            "1:5: expression of type 'string' cannot be range of a comprehension (must be list, map, \
             or dynamic)\n | self.name.all(x, true)\n | ....^",
        ),
        (
            "self.items['a']",
            "1:11: found no matching overload for '_[_]' applied to '(list(int), \
         string)'\n | self.items['a']\n | ..........^",
        ),
        ("duration('x')", "1:10: invalid duration argument\n | duration('x')\n | .........^"),
        (
            "'a'.matches('(')",
            "1:13: invalid matches argument\n | 'a'.matches('(')\n | ............^",
        ),
        (
            "Object{a: 1}",
            "1:7: undeclared reference to 'Object' (in container '')\n | Object{a: 1}\n \
         | ......^",
        ),
        (
            "self.items.all(x, x)",
            "1:15: found no matching overload for '_&&_' applied to '(bool, int)'\n | \
             self.items.all(x, x)\n | ..............^",
        ),
        ("{[1]: 2}", "1:2: unsupported key type: list(int)\n | {[1]: 2}\n | .^"),
        (
            "self.on ? 1 : 'a'",
            "1:9: found no matching overload for '_?_:_' applied to '(bool, int, \
         string)'\n | self.on ? 1 : 'a'\n | ........^",
        ),
    ] {
        assert_eq!(told(source), format!("ERROR: <input>:{expected}"), "{source}");
    }
}

#[test]
fn all_mistakes_are_told_in_order_and_once() {
    let shown = told("self.x == 1 ||\n  y > self.z.w");
    let lines: Vec<&str> = shown.lines().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(
        lines,
        [
            "ERROR: <input>:1:5: undefined field 'x'",
            "ERROR: <input>:2:3: undeclared reference to 'y' (in container '')",
            "ERROR: <input>:2:11: undefined field 'z'",
        ]
    );
}

#[test]
fn the_type_of_the_result_is_known() {
    for (source, expected) in [
        ("self.replicas > 1", "bool"),
        ("self.items.map(x, string(x))", "list(string)"),
        ("self.?name", "optional_type(string)"),
        ("any.x", "dyn"),
        ("any.x > 1", "bool"),
        ("any.x + 1", "int"),
        ("[]", "list(dyn)"),
        ("self.on ? [] : [1]", "list(int)"),
        ("self.labels.transformMap(k, v, size(v))", "map(string, int)"),
        ("self.?name.optMap(x, size(x)).orValue(0)", "int"),
        ("optional.none()", "optional_type(dyn)"),
        ("quantity('1')", "kubernetes.Quantity"),
        ("type(1)", "type(int)"),
    ] {
        let program = environment().compile(source).unwrap();
        assert_eq!(program.result_type().to_string(), expected, "{source}");
    }
}

#[test]
fn a_program_knows_which_variables_it_names() {
    let program = environment().compile("self.items.all(oldSelf, oldSelf > 0)").unwrap();
    assert!(program.names("self"));
    assert!(!program.names("oldSelf"), "a comprehension's own is another");
    let dotted = Environment::new().with("authorizer.requestResource", Type::Bool);
    assert!(
        dotted.compile("authorizer.requestResource").unwrap().names("authorizer.requestResource")
    );
}
