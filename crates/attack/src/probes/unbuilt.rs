//! Attacks of the list that nobody can try yet, each with the reason.

use crate::probe::Probe;

const RULES: &str = "needs a rule that allows a host; the tests of the rules have such";
const BINDINGS: &str =
    "needs a host that hands out credentials; Stockade does not know such requests yet";
const MODEL: &str = "needs a model request; the tests of the gateway make them";
const JUDGED: &str = "needs approvals; Stockade has none yet";
const TERMINAL: &str = "needs a person's terminal in between; the tests of terminals have one";
const TWO: &str = "needs two sandboxes at once; the tests of tasks have them";

pub(super) const PROBES: &[Probe] = &[
    Probe::unbuilt(
        27,
        'D',
        "exchange folders and links while 200 sandboxes start",
        "needs minutes and a second process; not built yet",
    ),
    Probe::unbuilt(
        42,
        'F',
        "read a hidden file by a name in other letters",
        "needs a folder that takes letters as equal; none is made yet",
    ),
    Probe::unbuilt(54, 'H', "send sequences to the user's terminal", TERMINAL),
    Probe::unbuilt(55, 'H', "programs for terminals work", TERMINAL),
    Probe::unbuilt(
        79,
        'K',
        "carry data out in names below an allowed one",
        RULES,
    ),
    Probe::unbuilt(80, 'K', "an allowed name works", RULES),
    Probe::unbuilt(
        84,
        'L',
        "let an allowed name lead to a private address",
        RULES,
    ),
    Probe::unbuilt(
        85,
        'L',
        "let an allowed name lead elsewhere the second time",
        RULES,
    ),
    Probe::unbuilt(
        89,
        'L',
        "name one host in the request line and another in its header",
        RULES,
    ),
    Probe::unbuilt(90, 'L', "ask for another host in the second request", RULES),
    Probe::unbuilt(
        92,
        'L',
        "connect to one host and name another in TLS",
        RULES,
    ),
    Probe::unbuilt(93, 'L', "name another host in HTTP than in TLS", RULES),
    Probe::unbuilt(95, 'L', "upgrade to another protocol", RULES),
    Probe::unbuilt(96, 'L', "connect through a relay inside", RULES),
    Probe::unbuilt(
        97,
        'L',
        "use no token of the proxy, or another task's",
        "Stockade has no proxy that takes tokens",
    ),
    Probe::unbuilt(
        99,
        'L',
        "hold ten thousand connections",
        "needs minutes; the tests of the gateway hold its limits",
    ),
    Probe::unbuilt(
        101,
        'M',
        "push to another repository on an allowed host",
        RULES,
    ),
    Probe::unbuilt(102, 'M', "post a megabyte to an allowed host", RULES),
    Probe::unbuilt(105, 'N', "send a placeholder elsewhere", MODEL),
    Probe::unbuilt(106, 'N', "send a placeholder without TLS", MODEL),
    Probe::unbuilt(108, 'N', "have a host echo the key", MODEL),
    Probe::unbuilt(
        127,
        'P',
        "print a gigabyte",
        "needs minutes; the tests of tasks hold the limit of what is kept",
    ),
    Probe::unbuilt(
        129,
        'P',
        "run longer than allowed",
        "needs minutes; the tests of tasks hold the limit",
    ),
    Probe::unbuilt(
        132,
        'Q',
        "outlive the launcher when it is killed",
        "needs the launcher's process; the tests of tasks kill it",
    ),
    Probe::unbuilt(134, 'Q', "two sandboxes use the same port", TWO),
    Probe::unbuilt(
        136,
        'Q',
        "a thousand commands leave nothing",
        "a measurement; the benches make it",
    ),
    Probe::unbuilt(144, 'S', "send the key elsewhere by a setting", MODEL),
    Probe::unbuilt(
        145,
        'S',
        "change the record",
        "it lies outside of every sandbox; the tests of audit change it",
    ),
    Probe::unbuilt(
        147,
        'T',
        "start although a wall is missing",
        "needs a machine without the wall; the tests take each away",
    ),
    Probe::unbuilt(
        149,
        'T',
        "ignore a rule that cannot be kept",
        "needs a rule that cannot be read; the tests of the rules have such",
    ),
    Probe::unbuilt(
        154,
        'A',
        "a user's gc disturbs no task",
        "needs a user who works meanwhile; the tests of git have one",
    ),
    Probe::unbuilt(155, 'N', "have the model's provider fetch something", MODEL),
    Probe::unbuilt(156, 'N', "send a placeholder in a prompt", MODEL),
    Probe::unbuilt(157, 'N', "use a credential to get another", BINDINGS),
    Probe::unbuilt(
        158,
        'L',
        "listen in the gateway's place",
        "needs the number of its port; the tests of the network know it",
    ),
    Probe::unbuilt(159, 'S', "paint a question on the terminal", JUDGED),
];
