# Nested calls, regular expressions, sorting with a callback, string evaluation.
use strict;
sub recurse { my $n = shift; return $n ? recurse($n - 1) : join ',', sort { $b cmp $a } map { "x$_" } 1 .. 9 }
for my $i (1 .. 300) {
    my $text = recurse($i % 12);
    $text =~ s/x(\d)/<$1>/g;
    my %seen = map { $_ => [split /,/, $text] } 1 .. 5;
    eval "sub f$i { return $i }" if $i % 10 == 0;
}
