# A program on a terminal: says which signals it gets and which lines it reads, and ends with 6 at the line `end`, with 9
# when the terminal hangs up.
use POSIX ":signal_h";
$| = 1;
my %does = (
    2  => sub { print "got int\n" },
    3  => sub { print "got quit\n" },
    1  => sub { print "got hup\n"; exit 9 },
    28 => sub { print "size ", `stty size` },
);
# Perl's own deferred signals would wait for the end of the read. No handler runs within another.
sigaction($_, POSIX::SigAction->new($does{$_}, POSIX::SigSet->new(keys %does), 0)) for keys %does;
print "here\n";
while (1) {
    my $count = sysread STDIN, my $line, 1000;
    next unless defined $count;
    exit 1 unless $count;
    print "read $line";
    exit 6 if $line eq "end\n";
}
