# Knocks at addresses: perl knock.pl WAIT KIND HOST PORT KIND HOST PORT ...
# Waits at most WAIT seconds for each answer. Prints one line each: what was
# knocked at, how it went, in how many seconds.
use strict;
use warnings;
use Socket qw(:DEFAULT getaddrinfo SOCK_STREAM SOCK_DGRAM);
use Time::HiRes qw(alarm time);

$| = 1;
my $wait = shift;
while (my ($kind, $host, $port) = splice @ARGV, 0, 3) {
    my $type = $kind eq 'tcp' ? SOCK_STREAM : SOCK_DGRAM;
    my $started = time;
    my ($error, @found) = getaddrinfo($host, $port, { socktype => $type });
    my $authority = $host =~ /:/ ? "[$host]:$port" : "$host:$port";
    my $outcome = "no address: $error";
    for my $address (@found) {
        socket(my $socket, $address->{family}, $type, 0) or do { $outcome = "no socket: $!"; next };
        $outcome = eval {
            local $SIG{ALRM} = sub { die "silence\n" };
            alarm $wait;
            connect($socket, $address->{addr}) or die "$!\n";
            defined send($socket, "GET / HTTP/1.1\r\nHost: $authority\r\n\r\n", 0) or die "$!\n";
            my $answer = '';
            # A refused datagram is told by the next call on its socket.
            defined recv($socket, $answer, 512, 0) or die "$!\n";
            $answer =~ s/\r?\n.*//s;
            length $answer ? "answered $answer" : "closed";
        } // $@;
        alarm 0;
        chomp $outcome;
    }
    printf "%s %s %s: %s (%.3f s)\n", $kind, $host, $port, $outcome, time - $started;
}
