# Arguments: a number that nobody has, and the user. By the latter this may signal what runs as the user, and by the
# former nobody of that user may signal this, as it could if this had become the user and then run kill. No other
# process is hit, so long as nothing of root's is left in effect, which is looked at first.
$< = $ARGV[0];
$> = $ARGV[1];
open my $status, "<", "/proc/$$/status" or exit 1;
my $own = join "", <$status>;
$ARGV[0] * $ARGV[1] and $own =~ /^Uid:\t$ARGV[0]\t$ARGV[1]\t/m and $own =~ /^CapEff:\t0+$/m or exit 1;
kill "KILL", -1;
