# Notes each signal that arrives, by its number, a line each; SIGTERM is the last one that it waits for. SIGKILL and
# SIGSTOP cannot be caught, and 32 and 33 are the C library's own.
use POSIX;
$| = 1;
# All are blocked but while it waits: one that came just before a sleep would be noted after it.
my $all = POSIX::SigSet->new;
$all->fillset;
sigprocmask(SIG_BLOCK, $all);
for my $number (grep { !/^(9|19|17|32|33)$/ } 1 .. 64) {
    my $note = sub { print "$number\n"; exit 0 if $number == 15 };
    # No handler runs within another, where it would write what the other is writing.
    sigaction($number, POSIX::SigAction->new($note, $all)) or die "$number: $!";
}
print "ready $$\n";
while (1) { sigsuspend(POSIX::SigSet->new) }
