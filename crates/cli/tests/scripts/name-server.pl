# A name server that notes each question and answers none:
# perl name-server.pl LOG
use strict;
use warnings;
use Socket;

open(my $log, '>>', $ARGV[0]) or die "log: $!";
select $log;
$| = 1;
socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die "socket: $!";
bind($socket, sockaddr_in(53, INADDR_ANY)) or die "bind: $!";
print "ready\n";
while (defined(my $peer = recv($socket, my $question, 1500, 0))) {
    my ($name, $at) = ('', 12);
    while (my $length = ord substr $question, $at, 1) {
        $name .= substr($question, $at + 1, $length) . '.';
        $at += $length + 1;
    }
    print "asked $name\n";
    # The same message as a reply: no such name.
    substr($question, 2, 2) = pack 'n', 0x8183;
    send($socket, $question, 0, $peer);
}
