use super::all_come_to;

#[test]
fn operators() {
    all_come_to(&[
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("7u % 4u", "3u"),
        ("1.5 * 2.0 + 0.25", "3.25"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 - 1", "integer overflow"),
        ("-(-9223372036854775807 - 1)", "integer overflow"),
        ("(-9223372036854775807 - 1) / -1", "integer overflow"),
        ("(-9223372036854775807 - 1) % -1", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("1.0 / 0.0 > 1e300", "true"),
        ("'a' + 'b'", "'ab'"),
        ("b'a' + b'b'", "[97, 98]"),
        ("[1] + [2, 3]", "[1, 2, 3]"),
        ("!true || false", "false"),
        ("1 < 2 && 2u <= 2u && 'a' < 'b' && 2.5 > 2.0", "true"),
        ("1 < 1.5 && 2u > 1 && 1.0 <= 1u", "true"),
        ("9223372036854775807 < 9223372036854775807.0", "true"),
        ("dyn(1) == 1.0 && dyn(1u) == 1 && dyn(1) != 'a'", "true"),
        ("0.0 / 0.0 == 0.0 / 0.0", "false"),
        ("0.0 / 0.0 < 1.0", "NaN values cannot be ordered"),
        ("[1, 2] == [1, 2] && {'a': 1} == {'a': 1} && [1] != [2]", "true"),
        ("1 in [1, 2] && !('c' in {'a': 1}) && 'a' in {'a': 1}", "true"),
        ("true ? 1 : 2", "1"),
        ("'a' < 'B'", "false"),
    ]);
}

#[test]
fn failures_that_one_side_makes_up_for() {
    all_come_to(&[
        ("1 / 0 > 1 || true", "true"),
        ("true || 1 / 0 > 1", "true"),
        ("1 / 0 > 1 && false", "false"),
        ("1 / 0 > 1 && true", "division by zero"),
        ("1 / 0 > 1 || false", "division by zero"),
        ("dyn(1) && true", "no such overload: _&&_(int, bool)"),
        ("dyn('a') ? 1 : 2", "no such overload: _?_:_(string)"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0, 2].all(x, 1 / x == 1)", "false"),
        ("[0, 1].all(x, 1 / x == 1)", "division by zero"),
        ("[0, 1].exists_one(x, 1 / x == 1)", "division by zero"),
    ]);
}

#[test]
fn fields_and_elements() {
    all_come_to(&[
        ("self.name", "'boat'"),
        ("self.ratio", "2.0"),
        ("self.foo__dash__bar", "'dashed'"),
        ("self.when", "2024-02-29T12:30:15.5Z"),
        ("self.wait", "5400000000000ns"),
        ("self.data", "[104, 105]"),
        ("self.absent", "no such key: absent"),
        ("has(self.absent)", "false"),
        ("has(self.name)", "true"),
        ("self.labels.app", "'web'"),
        ("self.labels['tier']", "'front'"),
        ("self.labels['none']", "no such key: none"),
        ("has(self.labels.none)", "false"),
        ("self.items[1]", "1"),
        ("self.items[3]", "index out of bounds: 3"),
        ("self.items[-1]", "index out of bounds: -1"),
        ("self.ports[1].port", "2"),
        ("any.m.k.d[0]", "1"),
        ("any.l[1]", "'two'"),
        ("any.f + 1.0", "2.5"),
        ("any.big > 1.0", "true"),
        ("any.z == null && has(any.z)", "true"),
        ("any.z.more", "no such key: more"),
        ("any.l.more", "no such overload: select(list)"),
        ("any.l['a']", "unsupported index type 'string' in list"),
        ("any.nothing", "no such key: nothing"),
        ("any.n > 'a'", "no such overload: _>_(int, string)"),
        ("any.s + any.s", "'texttext'"),
        ("self.either + 1", "6"),
        ("{1: 'a'}[1] + {2u: 'b'}[2u] + {true: 'c'}[true]", "'abc'"),
        ("dyn({1: 'a'})[1.0]", "'a'"),
        ("{'a': 1, 'a': 2}", "Failed with repeated key"),
        ("any.`n` == 1", "true"),
    ]);
}

#[test]
fn lists_that_are_sets_or_have_keys() {
    all_come_to(&[
        ("self.tags == self.tags", "true"),
        ("self.ports == self.ports", "true"),
        ("self.tags + self.tags", "['x', 'y']"),
        ("(self.ports + self.ports).size()", "2"),
        ("self.tags + ['x']", "['x', 'y', 'x']"),
        ("self.words + self.words", "['b', 'a', 'b', 'a']"),
    ]);
}

#[test]
fn comprehensions() {
    all_come_to(&[
        ("self.items.all(x, x > 0)", "true"),
        ("self.items.exists(x, x > 2)", "true"),
        ("self.items.exists_one(x, x > 2)", "true"),
        ("self.items.existsOne(x, x > 1)", "false"),
        ("self.items.map(x, x * 2)", "[6, 2, 4]"),
        ("self.items.map(x, x > 1, x * 2)", "[6, 4]"),
        ("self.items.filter(x, x > 1)", "[3, 2]"),
        ("self.labels.all(k, k.size() > 2)", "true"),
        ("self.labels.map(k, self.labels[k])", "['web', 'front']"),
        ("[[1, 2], [3]].map(l, l.map(x, x + l.size()))", "[[3, 4], [4]]"),
        ("[1, 2].map(x, [3, 4].exists(y, y == x + 2))", "[true, true]"),
        ("any.l.filter(x, x != null)", "[1, 'two']"),
        ("any.m.exists(k, k == 'k')", "true"),
        ("any.n.all(x, true)", "got 'int', expected iterable type"),
        ("self.items.all(i, v, v > i - 1)", "true"),
        ("self.items.exists(i, v, i == 2 && v == 2)", "true"),
        ("self.labels.existsOne(k, v, v == 'web')", "true"),
        ("self.items.transformList(i, v, i * 10 + v)", "[3, 11, 22]"),
        ("self.items.transformList(i, v, v > 1, v)", "[3, 2]"),
        ("self.labels.transformList(k, v, k + v)", "['appweb', 'tierfront']"),
        ("self.labels.transformMap(k, v, v + '!')", "{'app': 'web!', 'tier': 'front!'}"),
        ("self.labels.transformMap(k, v, k == 'app', v)", "{'app': 'web'}"),
        ("['a', 'b'].transformMapEntry(i, v, {v: i})", "{'a': 0, 'b': 1}"),
        ("['a', 'a'].transformMapEntry(i, v, {v: i})", "Failed with repeated key"),
        ("[1, 2].all(self, self > 0)", "true"),
    ]);
}

#[test]
fn optionals() {
    all_come_to(&[
        ("self.?name", "some('boat')"),
        ("self.?absent", "none"),
        ("self.?absent.orValue('x')", "'x'"),
        ("self.?name.orValue('x')", "'boat'"),
        ("any.?m.k.?d[0]", "some(1)"),
        ("any.?x.k.d", "none"),
        ("self.items[?0].value()", "3"),
        ("self.items[?9]", "none"),
        ("self.labels[?'app'].hasValue()", "true"),
        ("self.?absent.value()", "optional.none() dereference"),
        ("self.?absent.or(self.?name)", "some('boat')"),
        ("[?self.?name, ?self.?absent, 'z']", "['boat', 'z']"),
        ("{?'a': self.?name, ?'b': self.?absent}", "{'a': 'boat'}"),
        ("self.?replicas.optMap(r, r + 1)", "some(4)"),
        ("self.?absent.optMap(r, r + 'a')", "none"),
        ("self.?name.optFlatMap(n, optional.ofNonZeroValue(n))", "some('boat')"),
        ("optional.ofNonZeroValue('')", "none"),
        ("optional.of(1) == optional.of(1) && optional.none() != optional.of(1)", "true"),
        ("oldSelf.hasValue()", "false"),
        ("oldSelf.optMap(o, o.replicas <= self.replicas).orValue(true)", "true"),
        ("oldSelf.?name.orValue('new')", "'new'"),
        ("has(oldSelf.name)", "false"),
    ]);
}

#[test]
fn conversions_types_and_sizes() {
    all_come_to(&[
        ("int('42') + int(1.9) + int(2u)", "45"),
        ("int('x')", "type conversion error from 'string' to 'int'"),
        ("int(1e30)", "integer overflow"),
        ("uint(-1)", "unsigned integer overflow"),
        ("uint('7')", "7u"),
        ("double('1.5') + double(1)", "2.5"),
        ("bool('true') && !bool('0')", "true"),
        ("bool('yes')", "type conversion error from 'string' to 'bool'"),
        ("string(1) + string(2u) + string(true) + string(1.5)", "'12true1.5'"),
        ("string(1234567.0)", "'1.234567e+06'"),
        ("string(100000.0)", "'100000'"),
        ("string(1e-7)", "'1e-07'"),
        ("string(b'hi')", "'hi'"),
        ("string(b'\\xff')", "invalid UTF-8 in bytes, cannot convert to string"),
        ("string(duration('90s'))", "'90s'"),
        ("string(duration('-1500ms'))", "'-1.5s'"),
        ("string(timestamp('2024-01-01T00:00:00Z'))", "'2024-01-01T00:00:00Z'"),
        ("bytes('é').size()", "2"),
        ("size('é') + size([1]) + size({1: 1}) + 'abc'.size()", "6"),
        ("type(1) == int && type('a') == string && type([]) == list", "true"),
        ("type(self.when) == google.protobuf.Timestamp", "true"),
        ("type(null) == null_type && type(type(1)) == type", "true"),
    ]);
}

#[test]
fn time() {
    all_come_to(&[
        ("duration('1h30m') == self.wait", "true"),
        ("duration('1h').getMinutes() + duration('2h').getHours()", "62"),
        ("duration('1.5s').getMilliseconds()", "500"),
        ("self.when.getFullYear()", "2024"),
        ("self.when.getMonth()", "1"),
        ("self.when.getDate() + self.when.getDayOfMonth()", "57"),
        ("self.when.getDayOfWeek()", "4"),
        ("self.when.getDayOfYear()", "59"),
        ("self.when.getHours()", "12"),
        ("self.when.getHours('+02:00')", "14"),
        ("self.when.getHours('-02:30')", "10"),
        ("self.when.getHours('Asia/Tokyo')", "21"),
        ("self.when.getHours('No/Where')", "unknown time zone No/Where"),
        ("self.when.getMinutes() + self.when.getSeconds()", "45"),
        ("self.when.getMilliseconds()", "500"),
        ("self.when + duration('1h') > self.when", "true"),
        ("(self.when + duration('1h')) - self.when", "3600000000000ns"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
        ("duration('292h') + duration('2562047h')", "duration overflow"),
        ("timestamp('9999-12-31T23:59:59.5Z')", "9999-12-31T23:59:59.5Z"),
        ("timestamp('2024-01-01T00:30:00+01:00')", "2023-12-31T23:30:00Z"),
        ("int(timestamp('1969-12-31T23:59:59.5Z'))", "-1"),
        ("timestamp(0)", "1970-01-01T00:00:00Z"),
        (
            "duration(self.name)",
            "type conversion error from 'string' to 'google.protobuf.Duration'",
        ),
        (
            "timestamp(self.name)",
            "type conversion error from 'string' to 'google.protobuf.Timestamp'",
        ),
    ]);
}
