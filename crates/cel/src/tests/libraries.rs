use super::all_come_to;

#[test]
fn strings() {
    all_come_to(&[
        ("'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')", "true"),
        ("'héllo'.charAt(1)", "'é'"),
        ("'abc'.charAt(3)", "''"),
        ("'abc'.charAt(4)", "index out of range: 4"),
        ("'héllo'.indexOf('l')", "2"),
        ("'héllo'.indexOf('l', 3)", "3"),
        ("'hello'.indexOf('x')", "-1"),
        ("'hello'.indexOf('')", "0"),
        ("'hello'.lastIndexOf('l')", "3"),
        ("'hello'.lastIndexOf('l', 2)", "2"),
        ("'hello'.lastIndexOf('l', 9)", "index out of range: 9"),
        ("self.words.join()", "'ba'"),
        ("self.words.join('-')", "'b-a'"),
        ("any.l.join('-')", "no such overload: join(list, string)"),
        ("'TacoCat'.lowerAscii() + 'tacoCÆt'.upperAscii()", "'tacocatTACOCÆT'"),
        ("'hello hello'.replace('he', 'we')", "'wello wello'"),
        ("'hello hello'.replace('he', 'we', 1)", "'wello hello'"),
        ("'ab'.replace('', '-')", "'-a-b-'"),
        ("'a,b,c'.split(',')", "['a', 'b', 'c']"),
        ("'a,b,c'.split(',', 2)", "['a', 'b,c']"),
        ("'a,b,c'.split(',', 0)", "[]"),
        ("'abc'.split('')", "['a', 'b', 'c']"),
        ("'abc'.split('', 2)", "['a', 'bc']"),
        ("'tacocat'.substring(4)", "'cat'"),
        ("'tacocat'.substring(0, 4)", "'taco'"),
        ("'tacocat'.substring(8)", "index out of range: 8"),
        ("'tacocat'.substring(3, 1)", "invalid substring range. start: 3, end: 1"),
        ("'  trim\\n '.trim()", "'trim'"),
        ("strings.quote('a\"b\\n')", "'\"a\\\"b\\n\"'"),
        ("'%s is %d, %.2f'.format(['x', dyn(3), 1.5])", "'x is 3, 1.50'"),
        ("'%s %s'.format([dyn([1, dyn('a')]), {'k': true}])", "'[1, a] {k: true}'"),
        ("'%x %X %o %b %%'.format([255, dyn('hi'), 8, true])", "'ff 6869 10 1 %'"),
        ("'%e'.format([1234.5])", "'1.234500e+03'"),
        ("'%d'.format([])", "index 0 out of range"),
        (
            "'%q'.format([1])",
            "could not parse formatting clause: unrecognized formatting clause \"q\"",
        ),
        ("'%d'.format(['a'])", "error during formatting: %d clause cannot be used on string"),
    ]);
}

#[test]
fn regular_expressions() {
    all_come_to(&[
        ("'abc123'.matches('^[a-z]+[0-9]+$')", "true"),
        ("matches('abc', 'b')", "true"),
        ("'ünï'.matches('^\\\\pL+$')", "true"),
        ("'abc 123'.find('[0-9]+')", "'123'"),
        ("'abc'.find('[0-9]+')", "''"),
        ("'123 abc 456'.findAll('[0-9]+')", "['123', '456']"),
        ("'123 abc 456'.findAll('[0-9]+', 1)", "['123']"),
        ("'a'.matches(self.name)", "false"),
        ("'a'.matches('(' + self.name)", "error parsing regexp: unclosed group: `(boat`"),
    ]);
}

#[test]
fn lists_and_sets() {
    all_come_to(&[
        ("[1, 2, 2].isSorted() && !self.items.isSorted() && ['a', 'b'].isSorted()", "true"),
        ("self.items.sum()", "6"),
        ("[1.5, 2.5].sum()", "4.0"),
        ("[duration('1m'), duration('1s')].sum()", "61000000000ns"),
        ("self.items.min() + self.items.max()", "4"),
        ("self.words.min()", "'a'"),
        ("self.items.filter(x, x > 5).min()", "min called on empty list"),
        ("self.items.filter(x, x > 5).sum()", "0"),
        ("[1, 2, 2].indexOf(2)", "1"),
        ("[1, 2, 2].lastIndexOf(2)", "2"),
        ("['a'].indexOf('b')", "-1"),
        ("[1, 2, 3, 4].slice(1, 3)", "[2, 3]"),
        ("[1].slice(0, 2)", "cannot slice(0, 2), list is length 1"),
        ("[[1], [2, 3]].flatten()", "[1, 2, 3]"),
        ("[dyn([1]), [[2]]].flatten(2)", "[1, 2]"),
        ("[1, 2, 1].distinct()", "[1, 2]"),
        ("lists.range(3)", "[0, 1, 2]"),
        ("lists.range(-3)", "[]"),
        ("self.items.reverse()", "[2, 1, 3]"),
        ("self.items.sort()", "[1, 2, 3]"),
        ("self.ports.sortBy(p, -p.port).map(p, p.name)", "['b', 'a']"),
        ("self.items.first().value() + self.items.last().value()", "5"),
        ("[].first()", "none"),
        ("[1, dyn('a')].sort()", "list elements must have the same type"),
        ("sets.contains([1, 2, 3], [3, 1])", "true"),
        ("sets.equivalent([1, 2], [2, 1, 1])", "true"),
        ("sets.intersects([1, 2], [3])", "false"),
    ]);
}

#[test]
fn urls() {
    all_come_to(&[
        ("url('https://u@example.com:80/a b?k=1&k=2&e').getHost()", "'example.com:80'"),
        ("url('https://example.com:80/').getHostname()", "'example.com'"),
        ("url('https://[::1]:80/').getHostname() + url('https://[::1]:80/').getPort()", "'::180'"),
        ("url('HTTPS://example.com/').getScheme()", "'https'"),
        ("url('https://example.com/a b').getEscapedPath()", "'/a%20b'"),
        ("url('/path?k=a%20b+c').getQuery()", "{'k': ['a b c']}"),
        ("isURL('https://a:80') && isURL('/x') && !isURL('../x') && !isURL('')", "true"),
        ("isURL('https://a:port/') || isURL('https://a b/') || isURL('/%zz')", "false"),
        ("url('/a') == url('/a')", "true"),
    ]);
}

#[test]
fn addresses() {
    all_come_to(&[
        ("ip('10.0.0.1').family() + ip('::1').family()", "10"),
        (
            "isIP('10.0.0.1') && !isIP('10.0.0.256') && !isIP('010.0.0.1') && !isIP('::ffff:1.2.3.4')",
            "true",
        ),
        ("ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1')", "true"),
        ("ip('127.0.0.1').isLoopback() && ip('0.0.0.0').isUnspecified()", "true"),
        (
            "ip('169.254.1.1').isLinkLocalUnicast() && ip('224.0.0.1').isLinkLocalMulticast()",
            "true",
        ),
        ("ip('8.8.8.8').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast()", "true"),
        ("ip('10.0.0.1') == ip('10.0.0.1')", "true"),
        ("string(ip('::1'))", "'::1'"),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true"),
        ("cidr('10.0.0.0/8').containsIP(ip('11.1.2.3'))", "false"),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", "true"),
        ("cidr('10.0.0.0/16').containsCIDR(cidr('10.0.0.0/8'))", "false"),
        ("cidr('10.1.2.3/8').masked()", "10.0.0.0/8"),
        ("cidr('10.1.2.3/8').ip()", "10.1.2.3"),
        ("cidr('10.1.2.3/8').prefixLength()", "8"),
        ("isCIDR('10.0.0.0/33') || isCIDR('10.0.0.0') || isCIDR('10.0.0.0/08')", "false"),
    ]);
}

#[test]
fn quantities_versions_and_formats() {
    all_come_to(&[
        ("quantity('1Gi').isGreaterThan(quantity('1G'))", "true"),
        ("quantity('500m').isInteger() || !quantity('2k').isInteger()", "false"),
        ("quantity('2k').asInteger()", "2000"),
        ("quantity('500m').asInteger()", "cannot convert value to integer"),
        ("quantity('500m').asApproximateFloat()", "0.5"),
        ("quantity('1k').add(quantity('1')).compareTo(quantity('1001'))", "0"),
        ("quantity('1k').sub(1).isLessThan(quantity('1k'))", "true"),
        ("quantity('-1').sign()", "-1"),
        ("quantity('1k') == quantity('1000')", "true"),
        ("isQuantity('1.5Gi') && !isQuantity('1.5 Gi')", "true"),
        ("semver('1.2.3').major() + semver('1.2.3').minor() + semver('1.2.3').patch()", "6"),
        ("semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))", "true"),
        ("semver('1.2.3-rc.2').isGreaterThan(semver('1.2.3-rc.1'))", "true"),
        ("semver('1.2.3-1').compareTo(semver('1.2.3-a'))", "-1"),
        ("isSemver('1.2') || isSemver('v1.2.3') || isSemver('01.2.3')", "false"),
        ("isSemver('v01.2', true) && semver('v01.2', true) == semver('1.2.0')", "true"),
        ("format.dns1123Label().validate('Bad_Name').hasValue()", "true"),
        ("format.dns1123Label().validate('good').hasValue()", "false"),
        ("format.dns1123LabelPrefix().validate('good-').hasValue()", "false"),
        (
            "format.named('uuid').value().validate('x').value()",
            "['does not match the UUID format']",
        ),
        ("format.named('nothing').hasValue()", "false"),
        ("format.datetime().validate('2024-01-01T00:00:00Z').hasValue()", "false"),
        ("format.date().validate('2024-13-01').hasValue()", "true"),
        ("format.byte().validate('aGk=').hasValue()", "false"),
        ("format.uri().validate('https://a/').hasValue()", "false"),
    ]);
}
