use stockade_types::{
    EffectKind::{InfraRead, MsgSend, NetSession, Pay},
    Mark,
};

use super::{Program, Target, program, row};

pub(super) const PROGRAMS: &[Program] = &[
    program(
        &[
            "mail", "mailx", "mutt", "neomutt", "sendmail", "msmtp", "swaks", "s-nail", "ssmtp",
            "exim", "smtp-cli", "himalaya", "alpine",
        ],
        &[row("", MsgSend)
            .unless(&["--version", "--help"])
            .on(Target::Last)],
    )
    .values(&["-s", "-a", "-c", "-b", "-r", "-F", "-f"]),
    program(
        &[
            "slack",
            "slackcat",
            "slack-cli",
            "telegram-send",
            "telegram-cli",
            "signal-cli",
            "discord",
            "matrix-commander",
            "ntfy",
            "pushover",
            "apprise",
            "toot",
            "twurl",
            "t",
            "irssi",
            "weechat",
            "zulip-send",
            "wall",
            "write",
            "twilio",
        ],
        &[row("", MsgSend).unless(&["--version", "--help"])],
    ),
    program(
        &[
            "jira",
            "linear",
            "acli",
            "trello",
            "notion",
            "asana",
            "todoist",
            "pd",
            "sentry-cli",
        ],
        &[
            row("", MsgSend).unless(&[
                "list",
                "view",
                "show",
                "--version",
                "--help",
                "ls",
                "search",
                "info",
            ]),
            row("", InfraRead).when(&["list", "view", "show", "ls", "search", "info"]),
        ],
    ),
    program(
        &[
            "stripe",
            "paypal",
            "plaid",
            "coinbase",
            "bitcoin-cli",
            "lncli",
            "cast",
            "solana",
            "near",
            "eth",
            "starkli",
            "sui",
            "aptos",
        ],
        &[
            row("", Pay).unless(&[
                "--version",
                "--help",
                "listen",
                "logs",
                "balance",
                "getbalance",
                "call",
                "list",
            ]),
            row("listen", NetSession).marks(&[Mark::Public]),
        ],
    ),
];
