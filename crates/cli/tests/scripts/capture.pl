# Tells every packet that leaves a network namespace: unshare --net perl capture.pl
# The namespace gets one interface, `out`, to which every address leads. What is
# sent to it is printed, a line each, once standard input has ended; and so is what
# asks a name server on the loopback interface, which might ask others.
use strict;
use warnings;
use IO::Select;
use Socket qw(inet_ntop AF_INET AF_INET6);

# packet(7), by numbers.
my ($packet, $raw, $all, $outgoing) = (17, 3, pack('n', 3), 4);
my ($level, $statistics, $buffer_force) = (263, 6, 33);

sub ip { system('ip', @_) == 0 or die "ip @_ failed\n" }
ip(split ' ') for 'link set lo up', 'link add out type veth peer name in',
    'link set in up', 'link set out arp off up', 'addr add 192.0.2.1/24 dev out', 'route add default dev out';
# A machine may have no IPv6.
system("ip -6 addr add 2001:db8::1/64 dev out nodad 2>/dev/null && ip -6 route add default dev out");
`ip -o link show out` =~ /^(\d+):/ or die "there is no interface\n";
my $out = $1;

socket(my $seen, $packet, $raw, unpack('S', $all)) or die "socket: $!\n";
setsockopt($seen, 1, $buffer_force, 64 << 20) or die "setsockopt: $!\n";

# Protocol, source, destination and ports of an Ethernet frame.
sub look {
    my $frame = shift;
    my $type = unpack('x12 n', $frame);
    my ($family, $protocol, $from, $to, $data);
    if ($type == 0x0800) {
        ($family, $protocol) = (AF_INET, unpack('x23 C', $frame));
        ($from, $to) = unpack('x26 a4 a4', $frame);
        $data = substr($frame, 14 + 4 * (ord(substr($frame, 14, 1)) & 15));
    } elsif ($type == 0x86dd) {
        ($family, $protocol) = (AF_INET6, unpack('x20 C', $frame));
        ($from, $to) = unpack('x22 a16 a16', $frame);
        $data = substr($frame, 54);
        # Hop-by-hop options, which reports of multicast groups have.
        ($protocol, $data) = (ord($data), substr($data, 8 + 8 * ord(substr($data, 1, 1)))) if $protocol == 0;
    } else {
        return sprintf('type %04x', $type);
    }
    my @ports = $protocol == 6 || $protocol == 17 ? unpack('n n', $data) : (ord($data), ord($data));
    return ($protocol, inet_ntop($family, $from), $ports[0], inet_ntop($family, $to), $ports[1]);
}

# What the kernel says by itself on an interface that comes up: who is there (135),
# which routers (133), which groups (131, 132, 143).
my %kernels = map { $_ => 1 } 131, 132, 133, 135, 143;

my %told;
sub note {
    my ($frame, $from) = @_;
    my ($interface, $direction) = unpack('x4 i x2 C', $from);
    return if $direction != $outgoing || length($frame) < 34;
    my @what = look($frame);
    my $asks = @what > 1 && $what[0] =~ /^(6|17)$/ && $what[4] == 53;
    return if $interface != $out && !$asks;
    return if @what > 1 && $what[0] == 58 && $kernels{$what[2]};
    $told{join ' ', @what > 1 ? ('protocol', $what[0], 'to', @what[3, 4]) : @what}++;
}

$| = 1;
print "ready\n";
my $both = IO::Select->new($seen, \*STDIN);
my $open = 1;
while ($open) {
    for my $ready ($both->can_read) {
        if ($ready == $seen) {
            my $from = recv($seen, my $frame, 2048, 0);
            note($frame, $from) if defined $from;
        } else {
            $open = 0 if !sysread(STDIN, my $text, 64);
        }
    }
}
# What was sent before the end is there already.
while (defined(my $from = recv($seen, my $frame, 2048, 0x40))) { note($frame, $from) }
my (undef, $lost) = unpack('II', getsockopt($seen, $level, $statistics));
print "$lost packets were not looked at\n" if $lost;
print "$_, $told{$_} times\n" for sort keys %told;
