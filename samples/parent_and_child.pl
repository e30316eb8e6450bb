#!/usr/bin/perl
# A process in Perl that writes to a pipe of its group, reads from it, and shares a number, through the `rack` command.
#
#     rack run -- perl samples/parent_and_child.pl
#     rack run -- perl samples/parent_and_child.pl 1000
use strict;
use warnings;

my $upto = shift // 100;
print "I am process $ENV{RACK_PID}\n";

# Write numbers into a FIFO of the group; whoever reads it need not run yet.
open(my $numbers, '|-', 'rack', 'pipe', 'write', 'numbers') or die "no pipe: $!";
print {$numbers} "$_\n" for 1 .. $upto;
close($numbers) or die "rack pipe write: $?";

# A child adds them up; it might as well be a process on another machine. What it finds, shared memory keeps.
my $child = fork() // die "no child: $!";
if ($child == 0) {
    open(my $in, '-|', 'rack', 'pipe', 'read', 'numbers') or die "no pipe: $!";
    my $sum = 0;
    $sum += $_ while <$in>;
    close($in) or die "rack pipe read: $?";
    exec('rack', 'shm', 'set', 'sum', $sum);
}
waitpid($child, 0);
die "the child failed: $?" if $?;
chomp(my $sum = `rack shm get sum`);
print "the numbers add up to $sum\n";
