# A web server: perl serve.pl PORT WORD
use strict;
use warnings;
use Socket;

my ($port, $word) = @ARGV;
socket(my $listener, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1);
bind($listener, sockaddr_in($port, INADDR_ANY)) or die "bind: $!";
listen($listener, 16) or die "listen: $!";
while (accept(my $client, $listener)) {
    my $head = '';
    1 while sysread($client, $head, 4096, length $head) and $head !~ /\r\n\r\n/;
    my $length = length $word;
    print {$client} "HTTP/1.1 200 OK\r\nContent-Length: $length\r\nConnection: close\r\n\r\n$word";
    close $client;
}
