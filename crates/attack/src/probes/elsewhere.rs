//! Attacks of the list that this command does not try on the machine of whoever runs
//! it, each with what it would need and, if there is one, the test of Stockade that
//! tries it.

use crate::probe::Probe;

pub(super) const PROBES: &[Probe] = &[
    Probe::untried(
        27,
        'D',
        "exchange folders and links while 200 sandboxes start",
        "needs minutes and a second process; not built yet",
    ),
    Probe::untried(
        42,
        'F',
        "read a hidden file by a name in other letters",
        "needs a folder that takes letters as equal; none is made yet",
    ),
    Probe::untried(
        54,
        'H',
        "send sequences to the user's terminal",
        "needs a person's terminal; `cli::g1_what_acts_on_a_terminal_does_not_reach_it` tries it",
    ),
    Probe::untried(
        55,
        'H',
        "programs for terminals work",
        "needs a person's terminal; `cli::a_shell_has_a_terminal_of_the_viewers_size_with_job_control` tries it",
    ),
    Probe::untried(
        79,
        'K',
        "carry data out in names below an allowed one",
        "needs a rule that allows a host; `gateway::g2_a_url_that_only_a_wildcard_allows_carries_no_encoded_data` tries it",
    ),
    Probe::untried(
        80,
        'K',
        "an allowed name works",
        "needs a rule that allows a host; `cli::g2_clients_of_every_kind_reach_an_allowed_host_as_they_are` tries it",
    ),
    Probe::untried(
        84,
        'L',
        "let an allowed name lead to a private address",
        "needs a rule that allows a host; `cli::g2_allowed_names_that_lead_inwards_by_an_alias_among_others_or_later_are_not_followed` tries it",
    ),
    Probe::untried(
        85,
        'L',
        "let an allowed name lead elsewhere the second time",
        "needs a rule that allows a host; `gateway::a_name_that_leads_inwards_the_second_time_is_refused_then` tries it",
    ),
    Probe::untried(
        89,
        'L',
        "name one host in the request line and another in its header",
        "needs a rule that allows a host; `gateway::g2_a_proxy_request_or_another_hosts_url_is_refused_on_any_connection` tries it",
    ),
    Probe::untried(
        90,
        'L',
        "ask for another host in the second request",
        "needs a rule that allows a host; `gateway::g2_a_host_header_other_than_the_sni_is_misdirected` tries it",
    ),
    Probe::untried(
        92,
        'L',
        "connect to one host and name another in TLS",
        "needs a rule that allows a host; `gateway::g2_the_tls_hello_must_name_the_host_that_was_looked_up` tries it",
    ),
    Probe::untried(
        93,
        'L',
        "name another host in HTTP than in TLS",
        "needs a rule that allows a host; `gateway::g2_a_host_header_other_than_the_sni_is_misdirected` tries it",
    ),
    Probe::untried(
        95,
        'L',
        "upgrade to another protocol",
        "needs a rule that allows a host; `gateway::g2_a_server_cannot_turn_a_connection_into_a_tunnel` tries it",
    ),
    Probe::untried(
        96,
        'L',
        "connect through a relay inside",
        "needs a rule that allows a host; `cli::g2_a_relay_inside_is_judged_like_whoever_asks_it` tries it",
    ),
    Probe::untried(
        97,
        'L',
        "use no token of the proxy, or another task's",
        "Stockade has no proxy that takes tokens",
    ),
    Probe::untried(
        99,
        'L',
        "hold ten thousand connections",
        "needs minutes; `gateway::ten_thousand_idle_connections_are_given_up_and_the_next_one_is_served` tries it",
    ),
    Probe::untried(
        101,
        'M',
        "push to another repository on an allowed host",
        "needs a rule that allows a host; `cli::g2_git_fetches_by_the_preset_and_pushes_by_none` tries it",
    ),
    Probe::untried(
        102,
        'M',
        "post a megabyte to an allowed host",
        "needs a rule that allows a host; `gateway::g2_what_is_sent_is_bounded_by_request_by_rule_and_by_task` tries it",
    ),
    Probe::untried(
        105,
        'N',
        "send a placeholder elsewhere",
        "needs a model request; `gateway::g3_a_placeholder_goes_to_no_allowed_host` tries it",
    ),
    Probe::untried(
        106,
        'N',
        "send a placeholder without TLS",
        "needs a model request; `gateway::g2_plain_http_needs_a_rule_that_says_so` tries it",
    ),
    Probe::untried(
        108,
        'N',
        "have a host echo the key",
        "needs a model request; `gateway::g3_an_echo_of_the_key_comes_back_as_the_placeholder` tries it",
    ),
    Probe::untried(
        127,
        'P',
        "print a gigabyte",
        "needs minutes; `cli::g7_a_gibibyte_of_output_is_passed_on_and_only_its_beginning_is_kept` tries it",
    ),
    Probe::untried(
        129,
        'P',
        "run longer than allowed",
        "needs minutes; `cli::a_task_ends_when_its_time_is_up_and_says_so` tries it",
    ),
    Probe::untried(
        132,
        'Q',
        "outlive the launcher when it is killed",
        "needs to kill what keeps this sandbox; `cli::a_killed_supervisor_leaves_nothing_behind_and_the_task_can_go_on` tries it",
    ),
    Probe::untried(
        134,
        'Q',
        "two sandboxes use the same port",
        "needs two sandboxes at once; `cli::servers_inside_reach_each_other_and_two_tasks_use_the_same_port` tries it",
    ),
    Probe::untried(
        136,
        'Q',
        "a thousand commands leave nothing",
        "needs minutes; `cli::a_thousand_commands_leave_the_task_as_it_was` tries it",
    ),
    Probe::untried(
        144,
        'S',
        "send the key elsewhere by a setting",
        "needs a model request; `agents::no_setting_sends_an_agent_to_another_host_than_its_makers` tries it",
    ),
    Probe::untried(
        145,
        'S',
        "change the record",
        "needs what lies outside of every sandbox; `audit::g5_each_of_a_thousand_edited_records_is_named` tries it",
    ),
    Probe::untried(
        147,
        'T',
        "start although a wall is missing",
        "needs a machine without the wall; `cli::a_missing_wall_ends_with_its_own_code_and_the_command_that_mends_it` tries it",
    ),
    Probe::untried(
        149,
        'T',
        "ignore a rule that cannot be kept",
        "needs rules of the user that cannot be read; `cli::a_rule_that_cannot_be_read_is_named_with_its_place_wherever_it_stands` tries it",
    ),
    Probe::untried(
        154,
        'A',
        "a user's gc disturbs no task",
        "needs a user who works meanwhile; `cli::the_users_amend_and_gc_do_not_break_a_running_task` tries it",
    ),
    Probe::untried(
        155,
        'N',
        "have the model's provider fetch something",
        "needs a model request; `gateway::every_way_to_make_the_provider_reach_out_is_refused` tries it",
    ),
    Probe::untried(
        156,
        'N',
        "send a placeholder in a prompt",
        "needs a model request; `gateway::g3_a_placeholder_in_the_body_raises_the_alarm_wherever_it_is_split` tries it",
    ),
    Probe::untried(
        157,
        'N',
        "use a credential to get another",
        "needs a host that hands out credentials; Stockade does not know such requests yet",
    ),
    Probe::untried(
        158,
        'L',
        "listen in the gateway's place",
        "needs the port of this build's gateway; `cli::g2_the_capture_port_itself_leads_nowhere_and_cannot_be_taken` tries it",
    ),
    Probe::untried(
        159,
        'S',
        "paint a question on the terminal",
        "needs a person's terminal; `cli::g4_only_the_word_of_the_card_typed_after_the_question_approves` tries it",
    ),
];
