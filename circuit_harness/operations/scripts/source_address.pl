my $prober = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => 9, Type => SOCK_DGRAM) or exit 1;
print $prober->sockhost, "\n";
