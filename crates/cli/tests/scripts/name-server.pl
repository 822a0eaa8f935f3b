# A name server that notes each question: perl name-server.pl LOG
# It knows three names, each of which leads astray, and says so if anybody
# connects to where they lead.
use strict;
use warnings;
use IO::Select;
use Socket;

my ($own, $private, $public) = ("\x7f\0\0\1", "\x0a\0\0\7", "\x08\x08\x08\x08");
my $turns = 0;
# Records after a name: an alias of `inner.example`, which is private; one
# public address among others; public at first, and this machine later.
my %known = (
    'alias.example.' => sub { (cname(), ["\5inner\7example\0", $private]) },
    'mixed.example.' => sub { map { ["\xc0\x0c", $_] } $own, $public, $private },
    'turning.example.' => sub { ["\xc0\x0c", $turns++ ? $own : $public] },
);

# Name, and data of the one type that is not an address.
sub cname { ["\xc0\x0c", undef, "\5inner\7example\0"] }

# A resource record that nobody may keep.
sub record {
    my ($name, $address, $alias) = @_;
    my ($type, $data) = defined $alias ? (5, $alias) : (1, $address);
    return $name . pack('n n N n', $type, 1, 0, length $data) . $data;
}

open(my $log, '>>', $ARGV[0]) or die "log: $!";
select $log;
$| = 1;
socket(my $web, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
bind($web, sockaddr_in(443, INADDR_ANY)) && listen($web, 8) or die "listen: $!";
socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die "socket: $!";
bind($socket, sockaddr_in(53, INADDR_ANY)) or die "bind: $!";
print "ready\n";
my $both = IO::Select->new($web, $socket);
while (my ($ready) = $both->can_read) {
    if ($ready == $web) {
        accept(my $client, $web) and print "knocked\n";
        next;
    }
    defined(my $peer = recv($socket, my $question, 1500, 0)) or last;
    my ($name, $at) = ('', 12);
    while (my $length = ord substr $question, $at, 1) {
        $name .= substr($question, $at + 1, $length) . '.';
        $at += $length + 1;
    }
    print "asked $name\n";
    my $type = unpack 'n', substr $question, $at + 1, 2;
    my $answers = $known{lc $name};
    my @records = $answers && $type == 1 ? $answers->() : ();
    # The same message as a reply, without what came after the question: no
    # error, or no such name.
    my $code = $answers ? 0x8180 : 0x8183;
    my $reply = substr($question, 0, 2) . pack('n n n n n', $code, 1, scalar @records, 0, 0);
    $reply .= substr($question, 12, $at + 5 - 12);
    $reply .= record(@$_) for @records;
    send($socket, $reply, 0, $peer);
}
