# Hashes, arrays and strings in Perl: the workload perl of the benchmarks. Every scalar, key and array body is a malloc.
# Prints a checksum of what it made.
use strict;
use warnings;

my $state = 1;
sub below { $state = ($state * 1103515245 + 12345) & 0x7fffffff; return ($state >> 8) % $_[0]; }

my (%index, @lines);
my $checksum = 0;
for my $round (1 .. 4) {
	for my $n (1 .. 60000) {
		my $line = join ' ', map { 'w' . below(5000) . ('x' x below(12)) } 1 .. 4;
		$lines[below(50000)] = $line;
		push @{$index{$_}}, $n for split / /, $line;
	}
	delete $index{$_} for grep { @{$index{$_}} < 3 } keys %index;
	my $text = join "\n", grep { defined } @lines;
	$text =~ s/w(\d+)x/<$1>/g;
	$checksum = ($checksum * 31 + unpack('%32C*', $text) + length $text) & 0x7fffffff;
}
print "checksum $checksum ", scalar(keys %index), "\n";
